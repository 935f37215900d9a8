//! Hand an image from one process to another on the same Linux machine, through POSIX shared memory, whole and now.
//! (Doc to come.)

mod error;
mod header;
mod layout;
mod name;
mod slots;
mod sync;

#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod receiver;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod sender;

pub use error::Error;
pub use header::{FrameHeader, Shape};
pub use name::Name;
#[cfg(not(loom))]
pub use receiver::{End, Frame, Lease, Path, Receiver, Wait};
#[cfg(not(loom))]
pub use sender::{Loan, Sender, SenderOptions, Sent};
