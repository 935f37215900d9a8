//! Where a receiver takes its frames from: whatever its name means, or one segment only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use shm_frame::{
    Canceller, End, Error, Followed, Follower, Name, ReceiverOptions, WaitMode, Waited,
};

use crate::buffer::{Pixels, Target};
use crate::detached;
use crate::error::Failure;
use crate::frame::misfit;

/// How long to wait at a time. In between Python looks for signals, such as Ctrl-C.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// How long a name may mean something that is no segment: a sender that knows only the header makes
/// its file first and fills it then.
const UNFINISHED: Duration = Duration::from_secs(1);

/// How a receiver takes frames.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) name: Arc<Name>,
    pub(crate) mode: WaitMode,
    pub(crate) follow: bool,
    pub(crate) copy: bool,
    pub(crate) read_only: bool,
}

#[derive(Debug)]
pub(crate) struct Source {
    kind: Kind,
    canceller: Canceller,
    missing: Option<Missing>,
}

/// Why there is no segment to take frames from.
#[derive(Debug)]
struct Missing {
    failure: Failure,
    /// When no sender that comes later can change it. None: any can.
    hopeless_from: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Follow(Follower),
    Once(shm_frame::Receiver),
}

/// A frame that was taken. Without pixels: it was copied into the caller's array.
pub(crate) struct Taken {
    pub(crate) info: shm_frame::Frame,
    pub(crate) pixels: Option<Pixels>,
    pub(crate) meta: Vec<u8>,
}

/// What came of waiting.
#[expect(clippy::large_enum_variant, reason = "a frame on its way to Python")]
pub(crate) enum Step {
    Taken(Taken),
    Nothing,
    /// The segment ended. A source that follows goes on.
    Ended(End),
}

impl Source {
    pub(crate) fn open(options: &Options) -> Result<Self, Failure> {
        let failed = |error| Failure::receiving(&error);
        let receiving = ReceiverOptions::new().read_only(options.read_only);
        let (kind, canceller) = if options.follow {
            let mut follower = Follower::with_options(&options.name, &receiving);
            follower.set_wait_mode(options.mode);
            let canceller = follower.canceller();
            (Kind::Follow(follower), canceller)
        } else {
            let mut receiver =
                shm_frame::Receiver::open_with(&options.name, &receiving).map_err(failed)?;
            receiver.set_wait_mode(options.mode);
            let canceller = receiver.canceller();
            (Kind::Once(receiver), canceller)
        };
        let mut source = Self {
            kind,
            canceller,
            missing: None,
        };
        // Attaches at once if there is a sender, so that frames from now on count as seen or
        // skipped.
        if let Kind::Follow(follower) = &mut source.kind
            && let Followed::Missing(error) = follower.wait(Duration::ZERO).map_err(failed)?
        {
            source.is_missing(&error);
            source.must_hope()?;
        }
        Ok(source)
    }

    pub(crate) fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Why there is no segment to take frames from.
    pub(crate) fn missing(&self) -> Option<&Failure> {
        self.missing.as_ref().map(|missing| &missing.failure)
    }

    /// Whether a look for news takes well under a microsecond.
    pub(crate) fn is_attached(&self) -> bool {
        match &self.kind {
            Kind::Follow(follower) => follower.is_attached(),
            Kind::Once(_) => true,
        }
    }

    fn is_missing(&mut self, error: &Error) {
        let now = Instant::now();
        let hopeless_from = match error {
            Error::NotFound { .. } | Error::Ended { .. } | Error::Busy { .. } => None,
            Error::NotASegment { .. } => Some(now + UNFINISHED),
            _ => Some(now),
        };
        self.missing = Some(Missing {
            failure: Failure::receiving(error),
            hopeless_from,
        });
    }

    /// Refuses to wait for what no sender will change.
    fn must_hope(&self) -> Result<(), Failure> {
        match &self.missing {
            Some(Missing {
                failure,
                hopeless_from: Some(from),
            }) if Instant::now() >= *from => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// Waits for a frame for so long at most, and takes it. `attached`: the interpreter, for copies
    /// that are worth leaving it.
    pub(crate) fn step(
        &mut self,
        time: Duration,
        copy: bool,
        mut target: Option<&mut Target>,
        attached: Option<Python<'_>>,
    ) -> Result<Step, Failure> {
        let failed = |error| Failure::receiving(&error);
        // A single look needs no clock.
        let begun = (!time.is_zero()).then(Instant::now);
        loop {
            let left = time.saturating_sub(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
            match &mut self.kind {
                Kind::Once(receiver) => {
                    return match receiver.wait(left).map_err(failed)? {
                        Waited::Frame => take(receiver, copy, target, attached),
                        Waited::Ended(end) => Ok(Step::Ended(end)),
                        Waited::Timeout | Waited::Cancelled => Ok(Step::Nothing),
                    };
                }
                Kind::Follow(follower) => match follower.wait(left).map_err(failed)? {
                    Followed::Frame(receiver) => {
                        return take(receiver, copy, target.take(), attached);
                    }
                    Followed::Attached(_) => self.missing = None,
                    Followed::Ended(_) => {}
                    Followed::Missing(error) => self.is_missing(&error),
                    Followed::Timeout | Followed::Cancelled => {
                        self.must_hope()?;
                        return Ok(Step::Nothing);
                    }
                },
            }
        }
    }
}

/// Takes the frame that a wait found.
fn take(
    receiver: &mut shm_frame::Receiver,
    copy: bool,
    target: Option<&mut Target>,
    attached: Option<Python<'_>>,
) -> Result<Step, Failure> {
    let taken = match target {
        Some(target) => take_into(receiver, target, attached),
        None if copy => take_copy(receiver, attached),
        None => match receiver.lease_owned() {
            Ok(Some(lease)) => Ok(Some(Taken {
                info: lease.frame(),
                meta: lease.meta().to_vec(),
                pixels: Some(Pixels::Leased(lease)),
            })),
            Ok(None) => take_copy(receiver, attached),
            Err(error) => Err(error.into()),
        },
    };
    match taken {
        Ok(Some(taken)) => Ok(Step::Taken(taken)),
        // It was overwritten meanwhile, or the segment ended, which the next wait tells.
        Ok(None) | Err(Refused::Error(Error::Ended { .. })) => Ok(Step::Nothing),
        Err(Refused::Error(error)) => Err(Failure::receiving(&error)),
        Err(Refused::Misfit(failure)) => Err(failure),
    }
}

/// Why a frame was not taken.
enum Refused {
    Error(Error),
    /// It is not of the shape of the caller's array.
    Misfit(Failure),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn take_copy(
    receiver: &mut shm_frame::Receiver,
    attached: Option<Python<'_>>,
) -> Result<Option<Taken>, Refused> {
    let (mut pixels, mut meta) = (Vec::new(), Vec::new());
    // Its size is not known yet.
    let info = detached(attached, usize::MAX, || {
        receiver.copy_with_meta(&mut pixels, &mut meta)
    })?;
    Ok(info.map(|info| Taken {
        info,
        pixels: Some(Pixels::Copied(pixels)),
        meta,
    }))
}

fn take_into(
    receiver: &mut shm_frame::Receiver,
    target: &mut Target,
    attached: Option<Python<'_>>,
) -> Result<Option<Taken>, Refused> {
    let bytes = target.shape.bytes();
    // Under a lease the shape is known before the array is written.
    if let Some(lease) = receiver.lease_owned()? {
        let info = lease.frame();
        if !target.fits(info.shape) {
            return Err(Refused::Misfit(misfit(receiver.name(), info.shape, target)));
        }
        detached(attached, bytes, || lease.copy_to_slice(target.bytes()))?;
        let meta = lease.meta().to_vec();
        return Ok(lease.is_intact().then_some(Taken {
            info,
            pixels: None,
            meta,
        }));
    }
    let mut meta = Vec::new();
    let copied = detached(attached, bytes, || {
        receiver.copy_to_slice_with_meta(target.bytes(), &mut meta)
    });
    match copied {
        Ok(Some(info)) if target.fits(info.shape) => Ok(Some(Taken {
            info,
            pixels: None,
            meta,
        })),
        Ok(Some(info)) => Err(Refused::Misfit(misfit(receiver.name(), info.shape, target))),
        Ok(None) => Ok(None),
        Err(Error::Length { shape, .. }) => {
            Err(Refused::Misfit(misfit(receiver.name(), shape, target)))
        }
        Err(error) => Err(error.into()),
    }
}
