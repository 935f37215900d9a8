//! Hand an image from one process to another on the same Linux machine, through POSIX shared
//! memory, whole and now.
//!
//! A [`Sender`] keeps rewriting a named segment; any number of [`Receiver`]s take the newest whole
//! frame out of it, each at its own pace. It is not a queue: what nobody took in time is skipped,
//! and counted. There is no broker, no daemon and no other machine.
//!
//! # What is guaranteed
//!
//! Between a sender and receivers of this crate:
//!
//! - A frame that was received is whole, and newer than the one before.
//! - Nobody waits for anybody: a receiver that is slow, stopped or dead costs at most one slot, and
//!   a dead sender nothing.
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
//! - A process that may write the segment and means harm can show any picture, or none.
//! - Time stamps by the monotonic clock compare only within one time namespace.
//!
//! # The layout
//!
//! All numbers are little-endian. A segment is the file `/dev/shm/NAME`:
//!
//! | bytes | what |
//! |---|---|
//! | `i * stride`, for each slot `i` | 24 bytes of header, then the pixels, row after row |
//! | the last 4096 | the control page |
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
//! 1. Load `latest`, and store its slot in the own entry of the lease table.
//! 2. The slot's sequence must be `2 * frame`. Else empty the entry and begin again.
//! 3. Read in place; then empty the entry.
//!
//! Why each step is where it is, and which fence holds it there, is told in `src/slots.rs`.
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
//! loan.publish();
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
    Canceller, Followed, Follower, Frame, Lease, Notifier, OwnedLease, Receiver, Via, WaitMode,
    Waited,
};
#[cfg(not(loom))]
pub use sender::{Extras, Loan, LoanMemory, OwnedLoan, Sender, SenderOptions, Sent};
