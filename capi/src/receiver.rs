//! `shmf_receiver` and `shmf_frame`.

use std::ffi::{CString, c_char, c_void};
use std::mem::offset_of;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, ptr};

use shm_frame::{
    Canceller, Error, Followed, Follower, Frame, OwnedLease, Receiver, ReceiverOptions, Via,
    WaitMode,
};

use crate::options::{self, Growing};
use crate::status::{Role, Status, c_words, end_text, failed, invalid, say, status, text};
use crate::{CShape, exclusive, read_name};

/// How long a file that is no segment is given to become one: a sender without a control page makes
/// it in two steps.
const GRACE: Duration = Duration::from_millis(500);

/// `shmf_receiver_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CReceiverOptions {
    size: usize,
    wait_mode: u32,
    read_only: u32,
}

// SAFETY: numbers without padding between them, and the size comes first.
unsafe impl Growing for CReceiverOptions {
    const NAME: &str = "shmf_receiver_options";
}

impl CReceiverOptions {
    fn wait_mode(self) -> Result<WaitMode, Status> {
        match self.wait_mode {
            0 => Ok(WaitMode::Sleep),
            1 => Ok(WaitMode::Predict),
            2 => Ok(WaitMode::Spin),
            other => Err(invalid(format!(
                "wait_mode is {other}: set SHMF_SLEEP, SHMF_PREDICT or SHMF_SPIN"
            ))),
        }
    }
}

/// `shmf_receiver`.
#[derive(Debug)]
pub(crate) struct CReceiver {
    /// Used by any thread, while another one uses the rest.
    canceller: Canceller,
    receiving: Receiving,
}

#[derive(Debug)]
struct Receiving {
    follower: Follower,
    obstacle: Option<Obstacle>,
    spare: Spare,
}

/// Why there is no segment to receive from.
#[derive(Debug)]
struct Obstacle {
    status: Status,
    words: CString,
    /// When to give up waiting for it to go away.
    patient_until: Instant,
}

impl Obstacle {
    fn new(why: &Error) -> Self {
        let status = match status(Role::Receiver, why) {
            // What a dead sender left behind is no news.
            Status::Ended => Status::NoSender,
            status => status,
        };
        let patience = match status {
            Status::NotASegment => GRACE,
            _ => Duration::ZERO,
        };
        Self {
            status,
            words: c_words(&text(Role::Receiver, why)),
            patient_until: Instant::now() + patience,
        }
    }

    /// Whether it won't go away by itself.
    fn stays(&self) -> bool {
        self.status.is_error() && Instant::now() >= self.patient_until
    }

    fn tell(&self) -> Status {
        say(self.status, self.words.clone())
    }
}

impl Receiving {
    fn receive(&mut self, timeout: Duration) -> Result<Taken, Status> {
        let deadline = Instant::now().checked_add(timeout);
        let mut left = timeout;
        loop {
            let slice = match &self.obstacle {
                Some(_) => left.min(GRACE),
                None => left,
            };
            match self.follower.wait(slice) {
                Ok(Followed::Frame(receiver)) => match Taken::new(receiver, &self.spare) {
                    Ok(Some(taken)) => return Ok(taken),
                    // Its end is told by the next wait.
                    Ok(None) | Err(Error::Ended { .. }) => {}
                    Err(error) => return Err(failed(Role::Receiver, &error)),
                },
                Ok(Followed::Attached(_)) => self.obstacle = None,
                Ok(Followed::Ended(end)) => return Err(say(Status::Ended, end_text(end))),
                Ok(Followed::Cancelled) => {
                    let words = c"shmf_receiver_cancel() was called";
                    return Err(say(Status::Cancelled, words));
                }
                Ok(Followed::Missing(why)) => {
                    let obstacle = self.obstacle.insert(Obstacle::new(&why));
                    if obstacle.stays() {
                        return Err(obstacle.tell());
                    }
                }
                Ok(Followed::Timeout) => match &self.obstacle {
                    Some(obstacle) if obstacle.stays() => return Err(obstacle.tell()),
                    Some(obstacle) if left.is_zero() => {
                        return Err(say(Status::NoSender, obstacle.words.clone()));
                    }
                    None if left.is_zero() => {
                        return Err(say(Status::Timeout, c"no new frame in time"));
                    }
                    _ => {}
                },
                Err(error) => return Err(failed(Role::Receiver, &error)),
            }
            if let Some(deadline) = deadline {
                left = deadline.saturating_duration_since(Instant::now());
            }
        }
    }
}

/// Memory of copies, used again: the system takes longer to hand out fresh memory than the copy
/// takes.
type Spare = Arc<Mutex<Option<Buffers>>>;

#[derive(Debug, Default)]
struct Buffers {
    pixels: Vec<u8>,
    meta: Vec<u8>,
}

/// A frame, and what keeps it.
#[repr(C)]
struct Taken {
    /// First, so that a pointer to it is one to all.
    frame: CFrame,
    kept: Kept,
}

enum Kept {
    Leased(OwnedLease),
    Copied(Buffers, Spare),
}

impl Taken {
    fn new(receiver: &mut Receiver, spare: &Spare) -> Result<Option<Self>, Error> {
        if let Some(lease) = receiver.lease_owned()? {
            return Ok(Some(Self {
                frame: CFrame::new(lease.frame(), lease.pixels(), lease.meta()),
                kept: Kept::Leased(lease),
            }));
        }
        let taken = spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffers = taken.unwrap_or_default();
        let copied = receiver.copy_with_meta(&mut buffers.pixels, &mut buffers.meta)?;
        Ok(copied.map(|frame| Self {
            frame: CFrame::new(frame, &buffers.pixels, &buffers.meta),
            kept: Kept::Copied(buffers, Arc::clone(spare)),
        }))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Kept::Copied(buffers, spare) = &mut self.kept {
            let buffers = std::mem::take(buffers);
            spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .replace(buffers);
        }
    }
}

/// `shmf_frame`. A C program reads it, and passes it back by the pointer that it was given.
#[repr(C)]
pub(crate) struct CFrame {
    pixels: *const c_void,
    pixels_len: usize,
    meta: *const c_void,
    meta_len: usize,
    shape: CShape,
    via: i32,
    number: u64,
    session: u64,
    skipped: u64,
    captured_ns: u64,
    begun_ns: u64,
    published_ns: u64,
    sent_ms: i64,
    received_ms: i64,
    delay_ns: i64,
    found: bool,
}

// As `capi/tests/layout.c` has it of the header.
const _: () = {
    assert!(size_of::<CFrame>() == 128);
    assert!(offset_of!(CFrame, meta_len) == 24);
    assert!(offset_of!(CFrame, via) == 44);
    assert!(offset_of!(CFrame, captured_ns) == 72);
    assert!(offset_of!(CFrame, delay_ns) == 112);
    assert!(offset_of!(CFrame, found) == 120);
    assert!(offset_of!(Taken, frame) == 0);
    assert!(size_of::<CReceiverOptions>() == 16);
};

impl fmt::Debug for CFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CFrame")
            .field("number", &self.number)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl CFrame {
    fn new(frame: Frame, pixels: &[u8], meta: &[u8]) -> Self {
        Self {
            pixels: pixels.as_ptr().cast(),
            pixels_len: pixels.len(),
            meta: match meta {
                [] => ptr::null(),
                meta => meta.as_ptr().cast(),
            },
            meta_len: meta.len(),
            shape: CShape::new(frame.shape),
            via: match frame.via {
                Via::Copied => 1,
                Via::Plain => 2,
                Via::LeasedReadOnly => 3,
                _ => 0,
            },
            number: frame.number,
            session: frame.session,
            skipped: frame.skipped,
            captured_ns: frame.captured_ns.unwrap_or(0),
            begun_ns: frame.begun_ns,
            published_ns: frame.published_ns,
            sent_ms: frame.sent_ms,
            received_ms: frame.received_ms,
            delay_ns: frame.delay_ns,
            found: frame.found,
        }
    }
}

/// Makes a receiver.
///
/// # Safety
///
/// `name` is null or a C string, `options` null or options, and `receiver` null or to be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_receiver_open(
    name: *const c_char,
    options: *const CReceiverOptions,
    receiver: *mut *mut CReceiver,
) -> Status {
    let open = || {
        // SAFETY: null or to be written, by this call alone.
        let receiver = unsafe { exclusive(receiver, "receiver") }?;
        *receiver = ptr::null_mut();
        // SAFETY: null or a C string.
        let name = unsafe { read_name(Role::Receiver, name) }?;
        // SAFETY: null or options.
        let options: Option<CReceiverOptions> = unsafe { options::read(options) }?;
        let read_only = options.is_some_and(|options| options.read_only != 0);
        let receiving = ReceiverOptions::new().read_only(read_only);
        let mut follower = Follower::with_options(&name, &receiving);
        if let Some(options) = options {
            follower.set_wait_mode(options.wait_mode()?);
        }
        *receiver = Box::into_raw(Box::new(CReceiver {
            canceller: follower.canceller(),
            receiving: Receiving {
                follower,
                obstacle: None,
                spare: Spare::default(),
            },
        }));
        Ok(Status::Ok)
    };
    open().unwrap_or_else(|status: Status| status)
}

/// Waits for a frame.
///
/// # Safety
///
/// `receiver` is null or a receiver that no other thread uses but by `shmf_receiver_cancel`, and
/// `frame` null or to be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_receiver_receive(
    receiver: *mut CReceiver,
    timeout_ns: i64,
    frame: *mut *const CFrame,
) -> Status {
    let receive = || {
        // SAFETY: null or to be written, by this call alone.
        let frame = unsafe { exclusive(frame, "frame") }?;
        *frame = ptr::null();
        if receiver.is_null() {
            return Err(invalid("receiver is NULL"));
        }
        // SAFETY: no other thread uses this part. The rest is not part of the reference.
        let receiving = unsafe { &mut (*receiver).receiving };
        let timeout = u64::try_from(timeout_ns).map_or(Duration::MAX, Duration::from_nanos);
        let taken = receiving.receive(timeout)?;
        *frame = Box::into_raw(Box::new(taken)).cast_const().cast();
        Ok(Status::Ok)
    };
    receive().unwrap_or_else(|status: Status| status)
}

/// Ends a wait.
///
/// # Safety
///
/// `receiver` is null or a receiver that stays until this call returns.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_receiver_cancel(receiver: *const CReceiver) {
    if !receiver.is_null() {
        // SAFETY: all threads share this part. The rest is not part of the reference.
        unsafe { &(*receiver).canceller }.cancel();
    }
}

/// Ends the receiver.
///
/// # Safety
///
/// `receiver` is null or a receiver that no other thread uses, now or later.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_receiver_destroy(receiver: *mut CReceiver) {
    if !receiver.is_null() {
        // SAFETY: `shmf_receiver_open` made it by `Box::into_raw`, and nobody uses it after this.
        drop(unsafe { Box::from_raw(receiver) });
    }
}

/// Whether what was read is the frame.
///
/// # Safety
///
/// `frame` is null or a frame.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_frame_is_intact(frame: *const CFrame) -> bool {
    // SAFETY: a frame is the beginning of a `Taken`, which nobody writes until it is released.
    let taken = unsafe { frame.cast::<Taken>().as_ref() };
    taken.is_some_and(|taken| match &taken.kept {
        Kept::Leased(lease) => lease.is_intact(),
        Kept::Copied(..) => true,
    })
}

/// Lets go of a frame.
///
/// # Safety
///
/// `frame` is null or a frame that nobody uses, now or later.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_frame_release(frame: *const CFrame) {
    if !frame.is_null() {
        // SAFETY: `shmf_receiver_receive` made it as a `Taken` by `Box::into_raw`, and nobody uses
        // it after this.
        drop(unsafe { Box::from_raw(frame.cast_mut().cast::<Taken>()) });
    }
}
