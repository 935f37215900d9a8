//! The latest frame, read in place.

use super::attached::Attached;
use super::frame::Frame;
use crate::Error;
use crate::protocol::layout::ControlPage;
use crate::protocol::slots::{self, Held};

/// A slot in this receiver's lease entry, until dropped.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    pub(super) attached: &'a Attached,
    pub(super) control: &'a ControlPage,
    pub(super) entry: usize,
    pub(super) held: Held,
    /// When the frame was found, by the monotonic clock.
    pub(super) found_ns: u64,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        slots::release(self.control, self.entry);
    }
}

/// The latest frame, read in place. No sender writes where it is until the lease is dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    pub(super) hold: Hold<'a>,
    pub(super) frame: Frame,
}

impl Lease<'_> {
    /// What is known of the frame.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// The pixels: height x width x channels, row after row.
    pub fn pixels(&self) -> &[u8] {
        self.hold
            .attached
            .segment
            .slots
            .pixels(&self.hold.held, self.frame.shape)
    }

    /// Copies the pixels over what is in `pixels`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`] if there is none for it.
    pub fn copy_to(&self, pixels: &mut Vec<u8>) -> Result<(), Error> {
        let slots = &self.hold.attached.segment.slots;
        slots.copy(self.hold.held.slot(), self.frame.shape, pixels)
    }

    /// Whether what was read is the frame. If not, somebody truncated or overwrote the segment meanwhile, and parts of it
    /// were read as zeros: ask before using a result.
    pub fn is_intact(&self) -> bool {
        self.hold.attached.segment.intact()
    }
}
