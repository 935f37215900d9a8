//! Where everything stands in a segment.
//!
//! `docs/format.md` has the table; here it is as types, with the offsets asserted, and as bytes.

#[cfg(not(loom))]
use std::mem::offset_of;

use super::header::FrameHeader;
use super::sync::{AtomicU32, AtomicU64, Unused};

/// Slots and the control page begin and end on these.
pub(crate) const PAGE: usize = 4096;
/// As many as the control page has room for. (The model checker pays for every word.)
pub(crate) const MAX_SLOTS: usize = if cfg!(loom) { 4 } else { 16 };
/// Two slots must stay free of leases: the latest frame's, and the one being written.
pub(crate) const MAX_LEASES: usize = MAX_SLOTS - 2; // bug: max-leases
/// The lock of the first lease entry: holding the byte is owning the entry. A receiver that may
/// write the segment has it alone; one that may only read shares it, and sees to it that nobody
/// else does.
pub(crate) const ENTRY_LOCKS: usize = 2;
/// Shared by the receivers that lease by locks. While nobody has it, the sender asks about none of
/// the next ones.
pub(crate) const LESSEES_LOCK: usize = 17;
/// The lock of the first slot: shared by receivers that read it in place and may not write a lease
/// entry.
pub(crate) const SLOT_LOCKS: usize = 32;
/// The longest time in ns from one look of the sender at [`LESSEES_LOCK`] to the next one: 0.1 s.
pub(crate) const LOOK_NS: u64 = 100_000_000;
/// The first eight bytes of a control page, little-endian.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"shmframe");
/// The only version of the control page so far.
pub(crate) const VERSION: u32 = 1;

/// The sender's own bytes begin on a multiple of this, from the slot's start.
const META_ALIGN: usize = 8;

/// Bytes that a frame of so many bytes of pixels and of the sender's own needs after its header, at
/// most.
pub(crate) fn room_for(pixels: usize, meta: usize) -> Option<usize> {
    if meta == 0 {
        return Some(pixels);
    }
    pixels.checked_add(META_ALIGN)?.checked_add(meta)
}

/// [`ControlPage::state`]: the sender publishes here, or died without a word.
pub(crate) const OPEN: u32 = 0;
/// [`ControlPage::state`]: the sender ended. What `latest` names is its last frame.
pub(crate) const CLOSED: u32 = 1;
/// [`ControlPage::state`]: the sender goes on in a new segment of the same name.
pub(crate) const MOVED: u32 = 2;

/// The last page of a segment. Every word may be changed at any time by whoever may write the
/// segment.
///
/// The sender writes all of it but [`asked`](Self::asked) and the leases, which belong to
/// receivers.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct ControlPage {
    /// [`MAGIC`]. Stored last when a segment is made, with Release.
    pub(crate) magic: AtomicU64,
    /// [`VERSION`].
    pub(crate) version: AtomicU32,
    /// The sender's process, for messages only.
    pub(crate) pid: AtomicU32,
    /// Random, not 0, and the same in every segment that one sender makes.
    pub(crate) session: AtomicU64,
    /// 1 to [`MAX_SLOTS`].
    pub(crate) slots: AtomicU32,
    /// What the sender can do that the first ones of this version could not: [`MINDS_LOCKS`].
    pub(crate) features: AtomicU32,
    /// Bytes from one slot to the next: a page multiple.
    pub(crate) stride: AtomicU64,
    /// Bytes of header and pixels that a slot has room for.
    pub(crate) capacity: AtomicU64,
    _constants_end: [Unused; 16],

    /// `frame << 8 | slot` of the newest whole frame, 0 for none.
    pub(crate) latest: AtomicU64,
    /// Counts publications and endings. The futex that receivers sleep on.
    pub(crate) wake: AtomicU32,
    /// [`OPEN`], [`CLOSED`] or [`MOVED`].
    pub(crate) state: AtomicU32,
    /// Counts receivers that asked to be woken: when it changes, the sender looks whether anybody
    /// sleeps.
    pub(crate) asked: AtomicU32,
    _words_end: [Unused; 44],

    pub(crate) slot: [SlotWords; MAX_SLOTS],
    pub(crate) lease: [LeaseWord; MAX_LEASES],
}

/// What the control page says of one slot. A cache line each, so that a receiver that looks at one
/// slot does not take the line of another from the sender.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct SlotWords {
    /// `2 * frame`: holds that frame, whole. `2 * frame - 1`: that frame is being written, or was
    /// given up. 0: never used.
    pub(crate) sequence: AtomicU64,
    /// `CLOCK_MONOTONIC` in ns before the first byte was written.
    pub(crate) begin_ns: AtomicU64,
    /// `CLOCK_MONOTONIC` in ns after the last byte was written.
    pub(crate) publish_ns: AtomicU64,
    /// Unix time in ns at which the picture was taken; 0: not known.
    pub(crate) captured_ns: AtomicU64,
    /// Bytes of the sender's own after the pixels, from the next multiple of 8 of the slot on; 0:
    /// none.
    pub(crate) meta_len: AtomicU32,
    _line_end: [Unused; 28],
}

/// One receiver's hold on one slot. A cache line each, likewise.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct LeaseWord {
    /// `slot + 1`, 0 for none. Only the owner of the entry writes it.
    pub(crate) slot_plus_1: AtomicU32,
    _line_end: [Unused; 60],
}

#[cfg(not(loom))]
const _: () = {
    assert!(offset_of!(ControlPage, magic) == 0);
    assert!(offset_of!(ControlPage, version) == 8);
    assert!(offset_of!(ControlPage, pid) == 12);
    assert!(offset_of!(ControlPage, session) == 16);
    assert!(offset_of!(ControlPage, slots) == 24);
    assert!(offset_of!(ControlPage, features) == 28);
    assert!(offset_of!(ControlPage, stride) == 32);
    assert!(offset_of!(ControlPage, capacity) == 40);
    assert!(offset_of!(ControlPage, latest) == 64);
    assert!(offset_of!(ControlPage, wake) == 72);
    assert!(offset_of!(ControlPage, state) == 76);
    assert!(offset_of!(ControlPage, asked) == 80);
    assert!(offset_of!(ControlPage, slot) == 128);
    assert!(size_of::<SlotWords>() == 64);
    assert!(offset_of!(SlotWords, begin_ns) == 8);
    assert!(offset_of!(SlotWords, publish_ns) == 16);
    assert!(offset_of!(SlotWords, captured_ns) == 24);
    assert!(offset_of!(SlotWords, meta_len) == 32);
    assert!(offset_of!(ControlPage, lease) == 1152);
    assert!(size_of::<LeaseWord>() == 64);
    assert!(size_of::<ControlPage>() == 2048 && size_of::<ControlPage>() <= PAGE);
};

/// [`ControlPage::features`]: the sender asks about [`LESSEES_LOCK`] and the locks of slots, so
/// that frames can be leased by locks.
pub(crate) const MINDS_LOCKS: u32 = 1;

/// The bytes of a control page, copied out of a file: where nothing is mapped, or not yet.
pub(crate) struct PageBytes(Box<[u8; PAGE]>);

/// The constants of a control page that make sense together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    pub(crate) geometry: Geometry,
    pub(crate) session: u64,
    pub(crate) pid: u32,
    pub(crate) features: u32,
}

/// Why a control page is none that this library can use.
pub(crate) enum NoClaims {
    /// It is of another version.
    Version(u32),
    /// Its numbers do not fit together.
    Nonsense(String),
}

/// What a control page says of one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotBytes {
    pub(crate) sequence: u64,
    pub(crate) begin_ns: u64,
}

#[cfg(not(loom))]
impl PageBytes {
    /// The page of these bytes.
    pub(crate) fn new(bytes: Box<[u8; PAGE]>) -> Self {
        Self(bytes)
    }

    fn u32(&self, at: usize) -> u32 {
        let bytes = self.0[at..].first_chunk();
        u32::from_le_bytes(*bytes.expect("offsets lie in the page"))
    }

    fn u64(&self, at: usize) -> u64 {
        let bytes = self.0[at..].first_chunk();
        u64::from_le_bytes(*bytes.expect("offsets lie in the page"))
    }

    /// Whether this is a control page at all.
    pub(crate) fn has_magic(&self) -> bool {
        self.u64(offset_of!(ControlPage, magic)) == MAGIC
    }

    /// Its constants, if they fit a segment of `len` bytes.
    pub(crate) fn claims(&self, len: usize) -> Result<Claims, NoClaims> {
        let version = self.u32(offset_of!(ControlPage, version));
        if version != VERSION {
            return Err(NoClaims::Version(version));
        }
        let slots = self.u32(offset_of!(ControlPage, slots));
        let stride = self.u64(offset_of!(ControlPage, stride));
        let capacity = self.u64(offset_of!(ControlPage, capacity));
        let session = self.u64(offset_of!(ControlPage, session));
        let geometry = || {
            let (slots, stride, capacity) = (
                slots.try_into().ok()?,
                stride.try_into().ok()?,
                capacity.try_into().ok()?,
            );
            Geometry::checked(slots, stride, capacity, len)
        };
        match geometry() {
            Some(geometry) if session != 0 => Ok(Claims {
                geometry,
                session,
                pid: self.u32(offset_of!(ControlPage, pid)),
                features: self.u32(offset_of!(ControlPage, features)),
            }),
            _ => Err(NoClaims::Nonsense(format!(
                "its control page claims {slots} slots {stride} bytes apart with room for {capacity}, session {session:x}, in {len} bytes"
            ))),
        }
    }

    /// What it says of slot `slot`, which is below [`MAX_SLOTS`].
    pub(crate) fn slot(&self, slot: usize) -> SlotBytes {
        let at = offset_of!(ControlPage, slot) + slot * size_of::<SlotWords>();
        SlotBytes {
            sequence: self.u64(at + offset_of!(SlotWords, sequence)),
            begin_ns: self.u64(at + offset_of!(SlotWords, begin_ns)),
        }
    }
}

#[cfg(test)]
impl ControlPage {
    /// A page of zeros, on the heap.
    pub(crate) fn zeroed() -> Box<Self> {
        fn unused<const N: usize>() -> [Unused; N] {
            std::array::from_fn(|_| Unused::new(0))
        }
        Box::new(Self {
            magic: AtomicU64::new(0),
            version: AtomicU32::new(0),
            pid: AtomicU32::new(0),
            session: AtomicU64::new(0),
            slots: AtomicU32::new(0),
            features: AtomicU32::new(0),
            stride: AtomicU64::new(0),
            capacity: AtomicU64::new(0),
            _constants_end: unused(),
            latest: AtomicU64::new(0),
            wake: AtomicU32::new(0),
            state: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            _words_end: unused(),
            slot: std::array::from_fn(|_| SlotWords {
                sequence: AtomicU64::new(0),
                begin_ns: AtomicU64::new(0),
                publish_ns: AtomicU64::new(0),
                captured_ns: AtomicU64::new(0),
                meta_len: AtomicU32::new(0),
                _line_end: unused(),
            }),
            lease: std::array::from_fn(|_| LeaseWord {
                slot_plus_1: AtomicU32::new(0),
                _line_end: unused(),
            }),
        })
    }
}

/// The numbers that fix a segment's layout: read once, checked, and kept privately from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) slots: usize,
    pub(crate) stride: usize,
    pub(crate) capacity: usize,
}

impl Geometry {
    /// For `slots` frames of up to `pixels` bytes after the header.
    pub(crate) fn new(slots: usize, pixels: usize) -> Option<Self> {
        let capacity = pixels.checked_add(FrameHeader::LEN)?;
        let stride = capacity.checked_next_multiple_of(PAGE)?;
        Self::checked(
            slots,
            stride,
            capacity,
            slots.checked_mul(stride)?.checked_add(PAGE)?,
        )
    }

    /// For a segment that is one frame and no control page.
    pub(crate) fn plain(len: usize) -> Self {
        Self {
            slots: 1,
            stride: len,
            capacity: len,
        }
    }

    /// What a control page claims, if a segment of `len` bytes can be so.
    pub(crate) fn checked(
        slots: usize,
        stride: usize,
        capacity: usize,
        len: usize,
    ) -> Option<Self> {
        let sound = (1..=MAX_SLOTS).contains(&slots)
            && len.is_multiple_of(PAGE)
            && isize::try_from(len).is_ok()
            && stride.is_multiple_of(PAGE)
            && slots.checked_mul(stride)?.checked_add(PAGE)? == len
            && (FrameHeader::LEN..=stride).contains(&capacity);
        sound.then_some(Self {
            slots,
            stride,
            capacity,
        })
    }

    /// Bytes of the slots, and where the control page begins.
    pub(crate) fn slots_len(&self) -> usize {
        self.slots * self.stride
    }

    /// Bytes of the segment.
    pub(crate) fn len(&self) -> usize {
        self.slots_len() + PAGE
    }

    /// Where the sender's own bytes begin in a slot, after `pixels` bytes of pixels, and how many
    /// there is room for. `None`: not even for a first one.
    pub(crate) fn meta(&self, pixels: usize) -> Option<(usize, usize)> {
        let at = FrameHeader::LEN
            .checked_add(pixels)?
            .checked_next_multiple_of(META_ALIGN)?;
        let room = self.capacity.checked_sub(at).filter(|&room| room > 0)?;
        Some((at, room))
    }

    /// Bytes that a slot has for pixels.
    pub(crate) fn room(&self) -> usize {
        self.capacity - FrameHeader::LEN
    }

    /// Lease entries in use.
    pub(crate) fn leases(&self) -> usize {
        leases(self.slots)
    }
}

/// Lease entries of a segment with that many slots: as many as can be held while one slot stays
/// free to write.
pub(crate) fn leases(slots: usize) -> usize {
    slots.saturating_sub(2) // bug: leases
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_geometry_covers_its_frames() {
        let geometry = Geometry::new(4, 640 * 404 * 3).unwrap();
        assert_eq!(
            geometry,
            Geometry {
                slots: 4,
                stride: 778_240,
                capacity: 775_704
            }
        );
        assert_eq!(geometry.len(), 4 * 778_240 + 4096);
        assert_eq!(geometry.leases(), 2);
    }

    #[test]
    fn no_geometry_without_slots_or_beyond_the_address_space() {
        assert_eq!(Geometry::new(0, 1), None);
        assert_eq!(Geometry::new(17, 1), None);
        assert_eq!(Geometry::new(1, usize::MAX), None);
        assert_eq!(Geometry::new(16, usize::MAX / 16), None);
    }

    proptest! {
        #[test]
        fn a_geometry_that_is_accepted_is_in_bounds(
            slots in 0..20_usize, stride in (0..9_usize).prop_map(|n| n * PAGE / 2), capacity in 0..40_000_usize,
            len in (0..99_usize).prop_map(|n| n * PAGE / 2),
        ) {
            if let Some(geometry) = Geometry::checked(slots, stride, capacity, len) {
                prop_assert_eq!(geometry.len(), len);
                prop_assert!(geometry.room() + FrameHeader::LEN <= geometry.stride);
                prop_assert!(geometry.slots_len() + PAGE <= len);
            }
        }

        #[test]
        fn a_frame_with_meta_fits_where_room_was_made_for_both(
            slots in 1..=16_usize, pixels in 1..40_000_usize, meta in 0..10_000_usize,
        ) {
            let geometry = Geometry::new(slots, room_for(pixels, meta).unwrap()).unwrap();
            prop_assert!(pixels <= geometry.room());
            match geometry.meta(pixels) {
                None => prop_assert_eq!(meta, 0, "no room"),
                Some((at, room)) => {
                    prop_assert!(at.is_multiple_of(META_ALIGN), "aligned");
                    prop_assert!(at >= FrameHeader::LEN + pixels, "after the pixels");
                    prop_assert!(room >= meta && at + room <= geometry.stride, "in its slot");
                }
            }
        }

        #[test]
        fn no_room_for_meta_is_beyond_the_capacity(slots in 1..=16_usize, room in 0..40_000_usize, pixels: usize) {
            let geometry = Geometry::new(slots, room).unwrap();
            for pixels in [pixels, pixels % 50_000] {
                if let Some((at, room)) = geometry.meta(pixels) {
                    prop_assert_eq!(at + room, geometry.capacity);
                    prop_assert!(pixels < geometry.room());
                }
            }
        }

        #[test]
        fn numbers_of_any_size_are_judged_without_overflow(slots: usize, stride: usize, capacity: usize, len: usize) {
            let _ = Geometry::checked(slots, stride, capacity, len);
            let _ = Geometry::new(slots, capacity);
            let _ = room_for(stride, len);
        }
    }
}
