//! What functions return, and the words for it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error as _;
use std::ffi::{CStr, CString, c_char};

use shm_frame::{End, Error};

/// The numbers of `include/shm_frame.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Status {
    Ok = 0,
    Timeout = 1,
    NoSender = 2,
    Ended = 3,
    Cancelled = 4,
    Invalid = -1,
    NoRoom = -2,
    NotASegment = -3,
    Denied = -4,
    Live = -5,
    TakenOver = -6,
    Lost = -7,
    Forked = -8,
    System = -9,
}

impl Status {
    pub(crate) const fn is_error(self) -> bool {
        (self as i32) < 0
    }
}

thread_local! {
    static WORDS: RefCell<Cow<'static, CStr>> = const { RefCell::new(Cow::Borrowed(c"")) };
}

/// The words of the last status in this thread.
pub(crate) fn words() -> *const c_char {
    // A destructor of another thread-local value may ask when these words are gone.
    WORDS
        .try_with(|words| words.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

/// Sets the words of this thread. What they were is no longer valid.
pub(crate) fn say(status: Status, words: impl Into<Cow<'static, CStr>>) -> Status {
    let _ = WORDS.try_with(|slot| slot.replace(words.into()));
    status
}

/// Sets words that were made up just now.
pub(crate) fn tell(status: Status, words: impl Into<String>) -> Status {
    say(status, c_words(&words.into()))
}

pub(crate) fn c_words(words: &str) -> CString {
    // A name may hold anything but NUL, and so may what the system says.
    CString::new(words.replace('\0', "?")).unwrap_or_default()
}

/// An argument that cannot be.
pub(crate) fn invalid(words: impl Into<String>) -> Status {
    tell(Status::Invalid, words)
}

/// Which end an error came up at. Each has its own remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Receiver,
}

/// Sets the words for an error of the library.
pub(crate) fn failed(role: Role, error: &Error) -> Status {
    tell(status(role, error), text(role, error))
}

/// What a function returns for an error of the library.
pub(crate) fn status(role: Role, error: &Error) -> Status {
    match error {
        // A receiver is given no shape and no bytes but those of the segment.
        Error::Shape { .. } | Error::MetaTooLong { .. } if role == Role::Receiver => {
            Status::NotASegment
        }
        Error::Name { .. }
        | Error::Shape { .. }
        | Error::Length { .. }
        | Error::Layout { .. }
        | Error::MetaTooLong { .. } => Status::Invalid,
        Error::NoRoom { .. } | Error::NoMemory { .. } | Error::TooManyMappings { .. } => {
            Status::NoRoom
        }
        Error::NotFound { .. } => Status::NoSender,
        Error::Ended { .. } => Status::Ended,
        Error::NotASegment { .. }
        | Error::NotAFile { .. }
        | Error::Version { .. }
        | Error::TooLarge { .. } => Status::NotASegment,
        Error::Denied { .. } | Error::ReadOnly { .. } => Status::Denied,
        Error::Live { .. } | Error::PlainLive { .. } => Status::Live,
        Error::TakenOver { .. } => Status::TakenOver,
        Error::Lost { .. } => Status::Lost,
        Error::Forked { .. } => Status::Forked,
        // Busy, System, and what comes in later versions of the library.
        _ => Status::System,
    }
}

/// The facts, their causes, and what a program in C can do.
pub(crate) fn text(role: Role, error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    match remedy(role, error) {
        Some(remedy) => format!("{text}: {remedy}"),
        None => text,
    }
}

fn remedy(role: Role, error: &Error) -> Option<&'static str> {
    use Role::{Receiver, Sender};
    Some(match (role, error) {
        (Sender, Error::Shape { .. }) => "set format to SHMF_BGR8 or another SHMF_FORMAT()",
        (Sender, Error::MetaTooLong { .. }) => "give shmf_sender_loan() as much meta_room",
        (Sender, Error::Layout { .. }) => "set slots and capacity of the options accordingly",
        (Sender, Error::NoRoom { .. }) => {
            "free some, set a smaller capacity or fewer slots, or start the container with a larger --shm-size"
        }
        (_, Error::TooManyMappings { .. }) => {
            "release frames, and destroy senders and receivers, that are not needed any more"
        }
        (_, Error::NotFound { .. }) => "start its sender",
        (_, Error::NotASegment { .. } | Error::NotAFile { .. }) => {
            "use another name, or remove what has this one"
        }
        (_, Error::Version { .. }) => {
            "build sender and receiver with the same version of shm-frame"
        }
        (Sender, Error::Denied { .. }) => "use another name",
        (Receiver, Error::Denied { .. }) => {
            "let its sender set a mode that lets this user read, such as 0644, in its options"
        }
        (_, Error::ReadOnly { .. }) => "mount it so that it can be written",
        (Sender, Error::Live { .. } | Error::PlainLive { .. }) => {
            "use another name, or set replace in the options"
        }
        (Sender, Error::TakenOver { .. }) => "destroy this sender",
        (Sender, Error::Lost { .. }) => "publish the next frame",
        (Sender, Error::Forked { .. }) => "create a sender after the fork",
        (_, Error::Busy { .. }) => "try again",
        _ => return None,
    })
}

/// How a segment ended.
pub(crate) fn end_text(end: End) -> &'static CStr {
    match end {
        End::Closed => c"the sender ended",
        End::Dead => c"the sender died",
        End::Replaced => c"the segment was replaced or removed",
        End::Broken => c"another process truncated or overwrote the segment",
    }
}
