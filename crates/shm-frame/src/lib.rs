//! Hand an image from one process to another on the same Linux machine, through POSIX shared
//! memory, whole and now.
//!
//! A [`Sender`] keeps rewriting a named segment; any number of [`Receiver`]s take the newest whole
//! frame out of it, each at its own pace. It is not a queue: a frame that nobody took in time is
//! skipped, and counted. There is no broker, no daemon and no other machine.
//!
//! | you want to | use |
//! |---|---|
//! | send pixels that you have | [`Sender::publish`], [`Sender::publish_with`] |
//! | write pixels where they are sent from | [`Sender::loan`], [`Sender::into_loan`] |
//! | wait for the next frame | [`Receiver::wait`], [`Receiver::wait_any`] |
//! | read a frame in place | [`Receiver::lease`], [`Receiver::lease_owned`] |
//! | have a frame for yourself | [`Receiver::copy`], [`Receiver::copy_to_slice`] |
//! | start the two sides in any order, and restart them | [`Follower`] |
//! | wait in an event loop, as tokio's | [`Notifier`] |
//! | end a wait from another thread | [`Canceller`] |
//! | see what there is | [`list`], [`clean`] |
//!
//! # What is guaranteed
//!
//! Between a sender and receivers of this crate:
//!
//! - A frame that was received is whole, with all that came with it, and newer than the one before.
//! - Nobody waits for anybody: a receiver that is slow, stopped or dead costs at most the slots
//!   that it leases, and a dead sender nothing. All slots but two can be leased, so the sender
//!   always has one to write.
//! - A [`Lease`] is not written while it is held.
//! - Whatever stands in the segment, and whatever is done to its file, ends in an error or a value
//!   of [`End`]: not in a read outside it, not in SIGBUS.
//!
//! # What is not
//!
//! - A sender that knows only the 24-byte header cannot be proven to send whole frames
//!   ([`Via::Plain`]): between two looks at its flag it may have written any number of frames.
//! - A program that knows only the header and reads beside a sender that writes may see a torn
//!   frame, as ever.
//! - Time stamps by the monotonic clock compare only within one time namespace.
//! - SIGBUS has a handler of this crate from the first segment on, which calls the one that was
//!   there before. A thread that blocks SIGBUS is killed when memory is taken away under it, and so
//!   is the process if a later `sigaction` replaced the handler.
//!
//! # Who is trusted
//!
//! A process that may *write* the segment, by default one of the same user, can show any picture,
//! or none, and can change pixels under a lease: [`Lease`] says what that means. It can make no
//! other process crash, read elsewhere, or wait. A receiver that does not trust the sender copies,
//! and judges the copy.
//!
//! A process that may only *read* the segment can see the frames, and can slow the sender down a
//! little: it may keep locks that anybody may take, and so make changes of the name wait (never a
//! publication), and sleep on the segment in so many threads that others wake up 0.1 s late.
//!
//! # Forks
//!
//! A child of a fork inherits its parent's senders, receivers and leases, and they stay the
//! parent's: dropped in the child, they do nothing; a sender fails with [`Error::Forked`]; a
//! receiver opens its segment anew when it is next used. A child that lives on keeps no lock of its
//! parent's, so that a dead parent is seen to be dead.
//!
//! # Pixels
//!
//! A frame is height x width x elements, row after row without padding, interleaved, little-endian.
//! A [`Format`] says what an [`Element`] is (OpenCV's eight depths), how many a pixel has (1 to 4)
//! and in which [`Order`]; [`Lease::elements`] and [`Loan::elements_mut`] give them as numbers.
//! With each frame go the time at which the picture was taken, if the sender knows it, and bytes of
//! the sender's own, JSON by convention: [`Extras`], [`Frame::captured_ns`], [`Lease::meta`].
//!
//! # The layout
//!
//! All numbers are little-endian. A segment is the file `/dev/shm/NAME`:
//!
//! | bytes | what |
//! |---|---|
//! | `i * stride`, for each slot `i` | 24 bytes of header, pixels, the sender's own bytes |
//! | the last 4096 | the control page |
//!
//! The sender's own bytes begin at the next multiple of 8.
//!
//! The header, [`FrameHeader`], is the whole of what older programs know, and slot 0 all that they
//! see. `docs/format.md` has every offset of the control page.
//!
//! # The protocol
//!
//! Frames count from 1. A slot's *sequence* is `2 * frame` when it holds that frame whole, `2 *
//! frame - 1` while it is being written. `latest` is `frame << 8 | slot`.
//!
//! To publish:
//!
//! 1. Choose a slot that is not the latest and in nobody's lease, and make its sequence odd.
//! 2. Write header and pixels.
//! 3. Make the sequence even, then store `latest`, then count the wake word up, then wake those who
//!    sleep on it, if there are any.
//!
//! To copy:
//!
//! 1. Load `latest`; the slot's sequence must be `2 * frame`.
//! 2. Copy header and pixels.
//! 3. The sequence must still be `2 * frame`. Else throw the copy away and begin again.
//!
//! To lease:
//!
//! 1. Load `latest`, and store its slot in an entry of the lease table that nobody else owns.
//! 2. The slot's sequence must be `2 * frame`. Else empty the entry and begin again.
//! 3. Read in place; then empty the entry.
//!
//! Why each step is where it is, and which fence holds it there, is told in
//! `src/protocol/slots.rs`.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use shm_frame::{Format, Name, Receiver, Sender, SenderOptions, Shape, Size, Waited};
//!
//! # fn main() -> Result<(), shm_frame::Error> {
//! # let name = format!("/shm-frame-doc-{}", std::process::id());
//! # let name = name.as_str();
//! let name = Name::new(name)?;
//! let shape = Shape::new(Size { width: 640, height: 480 }, Format::BGR8)?;
//! let options = SenderOptions::new().capacity(shape.bytes());
//! let mut sender = Sender::create(&name, &options)?;
//!
//! // In another process:
//! let mut receiver = Receiver::open(&name)?;
//!
//! // Fill a slot in place, without a copy; or `sender.publish(shape, &pixels)` with one.
//! let mut loan = sender.loan(shape)?;
//! loan.pixels().fill(128);
//! loan.publish()?;
//!
//! if receiver.wait(Duration::from_secs(1))? == Waited::Frame
//!     && let Some(lease) = receiver.lease()?
//! {
//!     assert_eq!(lease.frame().number, 1);
//!     assert!(lease.pixels().iter().all(|&byte| byte == 128));
//!     assert!(lease.is_intact());
//! }
//! # Ok(())
//! # }
//! ```
#![cfg_attr(loom, expect(dead_code, reason = "the model has no operating system"))]

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    target_pointer_width = "64"
)))]
compile_error!("shm-frame is for Linux on 64-bit little-endian processors");

mod end;
mod error;
mod name;
mod protocol;

// All below talk to the operating system, which the model checker does not know.
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod futex;
#[cfg(not(loom))]
mod inventory;
#[cfg(not(loom))]
mod receiver;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod sender;

pub use end::End;
pub use error::{Error, Holder};
#[cfg(not(loom))]
pub use inventory::{Cleaned, Listed, ListedControl, Listing, clean, list};
pub use name::Name;
pub use protocol::format::{
    Channels, Element, F16, Format, Order, ParseFormatError, Scalar, Shape, Size,
};
pub use protocol::header::FrameHeader;
#[cfg(not(loom))]
pub use receiver::{
    Canceller, Followed, Follower, Frame, Lease, Notifier, OwnedLease, Receiver, ReceiverOptions,
    Via, WaitMode, Waited,
};
#[cfg(not(loom))]
pub use sender::{Extras, Loan, LoanMemory, OwnedLoan, Sender, SenderOptions, Sent};
