//! The library's errors as Python's exceptions, with remedies in the words of a Python program.

use std::error::Error as _;
use std::fmt;

use pyo3::PyErr;
use pyo3::prelude::*;
use pyo3::types::PyType;
use shm_frame::{Error, Name};

/// Classes of `shm_frame._errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Busy,
    Closed,
    Denied,
    Ended,
    Forked,
    Invalid,
    Live,
    LoanOpen,
    Lost,
    NoRoom,
    NotASegment,
    NotFound,
    System,
    TakenOver,
    TimedOut,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::Busy => "BusyError",
            Self::Closed => "ClosedError",
            Self::Denied => "DeniedError",
            Self::Ended => "EndedError",
            Self::Forked => "ForkedError",
            Self::Invalid => "InvalidError",
            Self::Live => "LiveError",
            Self::LoanOpen => "LoanOpenError",
            Self::Lost => "LostError",
            Self::NoRoom => "NoRoomError",
            Self::NotASegment => "NotASegmentError",
            Self::NotFound => "NotFoundError",
            Self::System => "SystemCallError",
            Self::TakenOver => "TakenOverError",
            Self::TimedOut => "TimedOutError",
        }
    }
}

/// For whom an error is worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Receiver,
    Cleaner,
}

/// An exception that is not raised yet.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    text: String,
    errno: Option<i32>,
}

impl Failure {
    pub(crate) fn new(class: Class, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            errno: None,
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(Class::Invalid, text)
    }

    pub(crate) fn forked(what: &str, name: &Name) -> Self {
        let text = format!(
            "the {what} of segment {name} belongs to the process that this one was forked from: \
             make one here"
        );
        Self::new(Class::Forked, text)
    }

    /// An error of the library, with its cause and what to do about it.
    pub(crate) fn of(role: Role, error: &Error) -> Self {
        let mut text = error.to_string();
        let mut errno = None;
        if let Some(cause) = error.source() {
            text = format!("{text}: {cause}");
            errno = cause
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::raw_os_error);
        }
        if let Some(remedy) = remedy(role, error) {
            // These say what the file is, after a colon of their own.
            let mark = match error {
                Error::NotASegment { .. } | Error::NotAFile { .. } => ';',
                _ => ':',
            };
            text = format!("{text}{mark} {remedy}");
        }
        Self {
            class: class(error),
            text,
            errno,
        }
    }

    pub(crate) fn sending(error: &Error) -> Self {
        Self::of(Role::Sender, error)
    }

    pub(crate) fn receiving(error: &Error) -> Self {
        Self::of(Role::Receiver, error)
    }

    /// The exception.
    pub(crate) fn raised(&self, py: Python<'_>) -> PyErr {
        self.instance(py)
            .map_or_else(|error| error, PyErr::from_value)
    }

    pub(crate) fn instance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py
            .import("shm_frame._errors")?
            .getattr(self.class.name())?
            .cast_into::<PyType>()?;
        let exception = class.call1((&self.text,))?;
        if let Some(errno) = self.errno {
            exception.setattr("errno", errno)?;
        }
        Ok(exception)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn class(error: &Error) -> Class {
    match error {
        Error::NoRoom { .. } | Error::NoMemory { .. } | Error::TooManyMappings { .. } => {
            Class::NoRoom
        }
        Error::NotFound { .. } => Class::NotFound,
        Error::NotASegment { .. } | Error::NotAFile { .. } | Error::Version { .. } => {
            Class::NotASegment
        }
        Error::Denied { .. } | Error::ReadOnly { .. } => Class::Denied,
        Error::Live { .. } | Error::PlainLive { .. } => Class::Live,
        Error::Lost { .. } => Class::Lost,
        Error::Ended { .. } => Class::Ended,
        Error::Forked { .. } => Class::Forked,
        Error::TakenOver { .. } => Class::TakenOver,
        Error::Busy { .. } => Class::Busy,
        Error::System { .. } => Class::System,
        // Name, Shape, TooLarge, MetaTooLong, Length and Layout: values that cannot be.
        _ => Class::Invalid,
    }
}

fn remedy(role: Role, error: &Error) -> Option<String> {
    let sending = role == Role::Sender;
    let remedy = match error {
        Error::Live { .. } | Error::PlainLive { .. } => {
            "stop it, use another name, or take over with replace=True"
        }
        Error::NotFound { .. } => "start its sender",
        Error::NotASegment { .. } if sending => {
            "remove it, use another name, or replace it with replace=True"
        }
        Error::NotASegment { .. } | Error::NotAFile { .. } => "remove it, or use another name",
        Error::Version { .. } => "use the same version at both ends",
        Error::Denied { .. } => match role {
            Role::Sender => "use another name",
            Role::Receiver => "run as that user, or make its sender with mode=0o644",
            Role::Cleaner => "run as that user",
        },
        Error::TakenOver { .. } => "use another name",
        Error::Forked { .. } => "make one here",
        Error::MetaTooLong { .. } if sending => "make the loan with meta_room=N",
        Error::NoRoom { needed, .. } => return Some(more_room(*needed)),
        Error::NoMemory { .. } => "free some, or send smaller frames",
        Error::TooManyMappings { .. } => "let go of frames, or close receivers",
        Error::ReadOnly { .. } => "mount it read-write, as mount -o remount,rw /dev/shm does",
        Error::Busy { .. } => "try again",
        Error::Layout { .. } => "use a smaller capacity, or fewer slots",
        // The text says what is allowed, or a system call's error says what happened.
        _ => return None,
    };
    Some(remedy.to_owned())
}

/// Room for the segment twice, since the next one is made before the last one goes.
fn more_room(needed: u64) -> String {
    let mib = needed.saturating_mul(2).div_ceil(1 << 20);
    let mib = mib.checked_next_multiple_of(16).unwrap_or(mib);
    format!(
        "free some (shm_frame.clean() removes what dead senders left), or start the container with \
         --shm-size={mib}m"
    )
}
