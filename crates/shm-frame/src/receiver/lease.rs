//! The latest frame, read in place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::attached::{Shared, Taken};
use super::frame::Frame;
use crate::protocol::format::Scalar;
use crate::protocol::slots::{self, Held, Latest};
use crate::protocol::sync::Ordering;
use crate::segment::mapping::{Target, elements};
use crate::{Error, Shape};

/// How a lease keeps its segment.
pub(super) trait Keep: Deref<Target = Shared> {
    /// Whether the lease can outlive its receiver, which then has to be told when the entry is free
    /// again.
    const LIVES_ON: bool;
}

impl Keep for &Shared {
    const LIVES_ON: bool = false;
}

impl Keep for Arc<Shared> {
    const LIVES_ON: bool = true;
}

/// A slot in a lease entry, until dropped.
pub(super) struct Hold<S: Keep> {
    shared: S,
    // Small, so that a lease is moved without a call.
    meta_len: u32,
    entry: u8,
    held: Held,
}

impl<S: Keep> Hold<S> {
    pub(super) fn new(shared: S, taken: Taken) -> Self {
        if S::LIVES_ON {
            // Relaxed: only the receiver, in this thread, looks for free entries.
            shared.busy.fetch_or(1 << taken.entry, Ordering::Relaxed);
        }
        Self {
            shared,
            meta_len: 0,
            entry: taken.entry,
            held: taken.held,
        }
    }

    /// Says how many of the sender's own bytes there are. `false`: so many do not fit.
    #[inline]
    pub(super) fn set_meta_len(&mut self, shape: Shape, len: u32) -> bool {
        self.meta_len = len;
        let slots = &self.shared.segment.slots;
        slots.meta(&self.held, shape, len as usize).is_some()
    }

    fn pixels(&self, shape: Shape) -> &[u8] {
        self.shared.segment.slots.pixels(&self.held, shape)
    }

    fn elements<T: Scalar>(&self, shape: Shape) -> Option<&[T]> {
        if shape.format().element() != T::ELEMENT {
            return None;
        }
        elements(self.pixels(shape))
    }

    fn meta(&self, shape: Shape) -> &[u8] {
        let slots = &self.shared.segment.slots;
        slots
            .meta(&self.held, shape, self.meta_len as usize)
            .unwrap_or_default()
    }

    /// Whether what was read came from the segment, and this process holds the slot: in a child of
    /// a fork nobody may. (Where the lease is an entry of the table, the slot's sequence says
    /// nothing: the sender marks it for a moment whenever it looks for a free one.)
    fn is_intact(&self, frame: &Frame) -> bool {
        let segment = &self.shared.segment;
        segment.is_ours()
            && segment.intact()
            && (!self.shared.leases_by_lock() || self.is_still_held(frame))
    }

    /// Whether the slot still has the frame: other readers can bring about that a lease by lock is
    /// lost.
    fn is_still_held(&self, frame: &Frame) -> bool {
        let Some(control) = self.shared.control() else {
            return false;
        };
        let slot = self.held.slot();
        let number = frame.number;
        slots::still_held(control, Latest::new(number, slot), || {
            let header = self.shared.segment.slots.header(slot);
            let begun_ns = control.slot[slot].begin_ns.load(Ordering::Relaxed);
            header.frame_valid == 1 && begun_ns == frame.begun_ns
        })
    }

    fn copy(&self, shape: Shape, mut target: Target<'_>) -> Result<(), Error> {
        let slots = &self.shared.segment.slots;
        slots.copy(self.held.slot(), shape, &mut target)
    }
}

impl<S: Keep> Drop for Hold<S> {
    fn drop(&mut self) {
        if !self.shared.segment.is_ours() {
            // The lease of the process that this one was forked from, which may go on reading.
            return;
        }
        if self.shared.leases_by_lock() {
            slots::release_lock(self.shared.segment.file(), self.held.slot());
        } else if let Some(control) = self.shared.control() {
            slots::release(control, self.entry.into());
        }
        if S::LIVES_ON {
            self.shared.give(self.entry);
        }
    }
}

/// The latest frame, read in place. No sender writes where it is until the lease is dropped.
///
/// # Trust
///
/// Rust promises that the bytes behind a `&[u8]` do not change. Senders of this crate keep that
/// promise for a lease; the operating system does not enforce it: a process that may write the
/// segment and means harm can change pixels while they are read. Like a memory-mapped file (the
/// crate `memmap2` says the same of its maps), a lease is sound as long as all processes that may
/// write the segment are trusted. By default those are the processes of one user. A receiver that
/// does not trust them [copies](crate::Receiver::copy): the copy is its own.
///
/// A receiver that may only read the segment ([`Via::LeasedReadOnly`](crate::Via)) holds a frame by
/// a lock, and so can any other process that may read it. One that takes all these locks can make
/// the sender write a frame that is leased. [`is_intact`](Self::is_intact) finds that out.
pub struct Lease<'a> {
    pub(super) hold: Hold<&'a Shared>,
    pub(super) frame: Frame,
}

/// A [`Lease`] that borrows nothing: it keeps the memory that it reads by itself, can be sent to
/// another thread, and may outlive its receiver. Each takes one of the segment's `slots - 2` lease
/// entries until it is dropped.
///
/// What [`Lease`] says of trust is true here, too.
pub struct OwnedLease {
    pub(super) hold: Hold<Arc<Shared>>,
    pub(super) frame: Frame,
}

macro_rules! lease {
    ($($lease:tt)*) => {
        impl $($lease)* {
            /// What is known of the frame.
            pub fn frame(&self) -> Frame {
                self.frame
            }

            /// The pixels: height x width x elements, row after row.
            pub fn pixels(&self) -> &[u8] {
                self.hold.pixels(self.frame.shape)
            }

            /// The pixels as elements, in the same order. `None`: the frame's elements are of
            /// another type.
            ///
            /// Pixels begin at a multiple of 8, so they are aligned for every type of element.
            pub fn elements<T: Scalar>(&self) -> Option<&[T]> {
                self.hold.elements(self.frame.shape)
            }

            /// The bytes that the sender added to the frame: JSON by convention; empty if there are
            /// none.
            pub fn meta(&self) -> &[u8] {
                self.hold.meta(self.frame.shape)
            }

            /// Copies the pixels over what is in `pixels`.
            ///
            /// # Errors
            ///
            /// [`Error::NoMemory`] if there is none for it.
            pub fn copy_to(&self, pixels: &mut Vec<u8>) -> Result<(), Error> {
                self.hold.copy(self.frame.shape, Target::vec(pixels))
            }

            /// Copies the pixels into a slice of as many bytes.
            ///
            /// # Errors
            ///
            /// [`Error::Length`] if there are more or less bytes.
            pub fn copy_to_slice(&self, pixels: &mut [u8]) -> Result<(), Error> {
                self.hold.copy(self.frame.shape, Target::slice(pixels))
            }

            /// Whether the bytes that were read are the frame. If not, another process truncated or
            /// overwrote the segment meanwhile, and parts of it were read as zeros, or it made this
            /// lease be lost: ask before using a result. In a child of a fork it is not: the parent
            /// has the lease, and may end it at any time.
            pub fn is_intact(&self) -> bool {
                self.hold.is_intact(&self.frame)
            }
        }

        impl fmt::Debug for $($lease)* {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("Lease")
                    .field("frame", &self.frame)
                    .field("entry", &self.hold.entry)
                    .field("slot", &self.hold.held.slot())
                    .finish_non_exhaustive()
            }
        }
    };
}

lease!(Lease<'_>);
lease!(OwnedLease);
