//! A segment's mappings. Everything unsafe about shared memory is here and in the two files beside
//! this one.
//!
//! Two facts carry it. A mapping is `len` readable bytes until it is dropped, whatever happens to
//! the file ([`guard`](super::guard)). And what other processes may change at any time is only ever
//! seen as atomics, copied by raw pointer, or borrowed under a token of the protocol that says who
//! may touch it: [`Held`] or [`Writing`].

#![expect(unsafe_code, reason = "shared memory")]

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use memmap2::{MmapOptions, MmapRaw};
use nix::libc;

use super::copy;
use super::guard::{Guard, MAX_MAPPINGS};
use super::way::{Way, Ways};
use crate::clock::monotonic_ns;
use crate::protocol::format::Scalar;
use crate::protocol::layout::{ControlPage, Geometry, PAGE};
use crate::protocol::slots::{Held, Writing};
use crate::protocol::sync::{AtomicU32, Ordering, fence};
use crate::{Error, FrameHeader, Name, Shape};

/// How a mapping may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

#[derive(Debug)]
struct Mapping {
    guard: Guard,
    raw: MmapRaw,
}

impl Mapping {
    fn new(
        file: impl AsFd,
        name: &Name,
        at: usize,
        len: usize,
        access: Access,
    ) -> Result<Self, Error> {
        // By way of a description of its own: a mapping keeps that alive, and the file's locks with
        // it.
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let own = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .custom_flags(libc::O_CLOEXEC)
            .open(path);
        // Without /proc a child of a fork that has the mapping keeps its parent's locks alive.
        let own = own.as_ref().map_or_else(|_| file.as_fd(), AsFd::as_fd);
        let mut options = MmapOptions::new();
        options.offset(at as u64).len(len);
        let file = own.as_raw_fd();
        let raw = match access {
            Access::Read => options.map_raw_read_only(file),
            Access::Write => options.map_raw(file),
        }
        .map_err(|source| name.failed("mmap", source))?;
        let writable = access == Access::Write;
        // SAFETY: a shared mapping, of this access, that is dropped after its guard: fields drop in
        // their order. All that is read from it may be any bytes, zeros too.
        let guard = unsafe { Guard::new(raw.as_ptr() as usize, raw.len(), writable) }
            .ok_or(Error::TooManyMappings { max: MAX_MAPPINGS })?;
        Ok(Self { guard, raw })
    }
}

/// Where pixels are copied to.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    bytes: TargetBytes<'a>,
    /// Bytes were copied there, which may be torn.
    written: bool,
}

#[derive(Debug)]
enum TargetBytes<'a> {
    Vec(&'a mut Vec<u8>),
    Slice(&'a mut [u8]),
}

impl<'a> Target<'a> {
    /// Whatever is in it is replaced.
    pub(crate) fn vec(pixels: &'a mut Vec<u8>) -> Self {
        Self {
            bytes: TargetBytes::Vec(pixels),
            written: false,
        }
    }

    /// As long as the pixels.
    pub(crate) fn slice(pixels: &'a mut [u8]) -> Self {
        Self {
            bytes: TargetBytes::Slice(pixels),
            written: false,
        }
    }

    /// Leaves no bytes of a copy that failed: they may be torn.
    pub(crate) fn clear(&mut self) {
        match &mut self.bytes {
            TargetBytes::Vec(pixels) => pixels.clear(),
            TargetBytes::Slice(pixels) if self.written => pixels.fill(0),
            TargetBytes::Slice(_) => {}
        }
        self.written = false;
    }

    /// What was copied.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.bytes {
            TargetBytes::Vec(pixels) => pixels,
            TargetBytes::Slice(pixels) => pixels,
        }
    }
}

/// The slots of a segment, or the only frame of one without a control page.
#[derive(Debug)]
pub(crate) struct Slots {
    mapping: Mapping,
    geometry: Geometry,
    access: Access,
    /// How copies out of them are made.
    ways: Mutex<Ways>,
}

/// The six words that a header is.
type HeaderWords = [AtomicU32; FrameHeader::LEN / 4];

impl Slots {
    pub(crate) fn map(
        file: impl AsFd,
        name: &Name,
        geometry: Geometry,
        access: Access,
    ) -> Result<Self, Error> {
        let mapping = Mapping::new(file, name, 0, geometry.slots_len(), access)?;
        Ok(Self {
            mapping,
            geometry,
            access,
            ways: Mutex::default(),
        })
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Has the system bring all pages in, so that the first frames take no longer than the others:
    /// in large pages, if it has some for those who ask. Where it cannot, or where there is too
    /// little memory, each page is brought in when it is touched.
    pub(crate) fn populate(&self) {
        // Linux has it since 5.14. It raises no signal where memory is missing (madvise(2)).
        let populate = match self.access {
            Access::Read => libc::MADV_POPULATE_READ,
            Access::Write => libc::MADV_POPULATE_WRITE,
        };
        for advice in [libc::MADV_HUGEPAGE, populate] {
            // SAFETY: the range is that of the mapping. Neither advice changes what is in it.
            unsafe {
                libc::madvise(
                    self.mapping.raw.as_mut_ptr().cast(),
                    self.geometry.slots_len(),
                    advice,
                )
            };
        }
    }

    /// Whether memory was missing when it was touched: see [`Guard::hit`].
    pub(crate) fn truncated(&self) -> bool {
        self.mapping.guard.hit()
    }

    fn start(&self, slot: usize) -> *mut u8 {
        assert!(
            slot < self.geometry.slots,
            "slot {slot} of {}",
            self.geometry.slots
        );
        // SAFETY: slot < slots, and the mapping has slots * stride bytes.
        unsafe {
            self.mapping
                .raw
                .as_mut_ptr()
                .add(slot * self.geometry.stride)
        }
    }

    fn pixels_start(&self, slot: usize, shape: Shape) -> *mut u8 {
        assert!(
            shape.bytes() <= self.geometry.room(),
            "{shape} in {} bytes",
            self.geometry.room()
        );
        // SAFETY: a slot has a header's bytes, and after it room for at least shape.bytes().
        unsafe { self.start(slot).add(FrameHeader::LEN) }
    }

    #[expect(clippy::cast_ptr_alignment, reason = "a slot begins on a page")]
    fn header_words(&self, slot: usize) -> &HeaderWords {
        // SAFETY: a slot begins on a page and has at least a header's bytes, which are only ever
        // accessed as atomics.
        unsafe { &*self.start(slot).cast::<HeaderWords>() }
    }

    /// Has the processor fetch the beginning of a slot, which is about to be read or written,
    /// without waiting for it.
    pub(crate) fn fetch(&self, slot: usize) {
        let start = self.start(slot);
        // The header, and pixels enough to begin with.
        for line in 0..2 {
            copy::fetch(start.wrapping_add(64 * line), self.writable());
        }
    }

    pub(crate) fn writable(&self) -> bool {
        self.access == Access::Write
    }

    /// The header of a slot, which may be torn.
    pub(crate) fn header(&self, slot: usize) -> FrameHeader {
        let mut bytes = [0; FrameHeader::LEN];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(self.header_words(slot)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        // What is read after this must not move above it: in a segment without a control page, the
        // header is all there is to tell a whole frame by.
        fence(Ordering::Acquire);
        FrameHeader::decode(&bytes)
    }

    /// Step 7 but for the pixels: the slot's frame is not valid, then whose it will be.
    pub(crate) fn begin(&self, writing: &Writing, header: FrameHeader) {
        let words = self.header_words(writing.slot());
        words[FrameHeader::FRAME_VALID_AT / 4].store(0, Ordering::Relaxed);
        // frame_valid must not move below, for programs that know only the header.
        fence(Ordering::Release);
        for (bytes, word) in header.encode().as_chunks::<4>().0.iter().zip(words) {
            word.store(u32::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Step 9: the frame is valid, for programs that know only the header.
    pub(crate) fn finish(&self, writing: &Writing) {
        fence(Ordering::SeqCst);
        self.header_words(writing.slot())[FrameHeader::FRAME_VALID_AT / 4]
            .store(1, Ordering::Relaxed);
    }

    /// The pixels of the slot that is being written.
    pub(crate) fn pixels_mut<'a>(&'a self, writing: &'a mut Writing, shape: Shape) -> &'a mut [u8] {
        assert!(self.access == Access::Write, "slots mapped for reading");
        let start = self.pixels_start(writing.slot(), shape);
        // SAFETY: the room was checked, and the mapping is writable. `writing` is the only token of
        // this slot, and borrowed for as long as the slice. Its slot is odd, not the latest and in
        // no lease: no receiver has a reference to it, and those that copy it meanwhile throw the
        // copy away.
        unsafe { std::slice::from_raw_parts_mut(start, shape.bytes()) }
    }

    /// Steps 7 and 8: copies pixels into the slot that is being written, by that way.
    ///
    /// # Panics
    ///
    /// If there are not as many as the shape has.
    pub(crate) fn write(&self, writing: &mut Writing, shape: Shape, pixels: &[u8], way: Way) {
        assert_eq!(pixels.len(), shape.bytes());
        let target = self.pixels_mut(writing, shape).as_mut_ptr();
        // SAFETY: both are shape.bytes() long, and `target` came from a unique borrow.
        unsafe { copy::copy_by(way, target, pixels.as_ptr(), pixels.len()) };
    }

    /// The pixels of a slot that its receiver holds.
    pub(crate) fn pixels<'a>(&'a self, held: &'a Held, shape: Shape) -> &'a [u8] {
        let start = self.pixels_start(held.slot(), shape);
        // SAFETY: the room was checked. `held` is in the lease table until it is released, which
        // needs it by value: a cooperating sender does not write this slot, and zero pages that
        // replace lost ones are the end of the sender's part.
        unsafe { std::slice::from_raw_parts(start, shape.bytes()) }
    }

    /// Copies the pixels of a slot, which may be torn, over what is in `target`.
    ///
    /// # Errors
    ///
    /// [`Error::NoMemory`]: a sparse file has room for any shape, and its pages are not memory.
    /// [`Error::Length`] if the target is a slice of another length.
    pub(crate) fn copy(
        &self,
        slot: usize,
        shape: Shape,
        target: &mut Target<'_>,
    ) -> Result<(), Error> {
        let start = self.pixels_start(slot, shape);
        match &mut target.bytes {
            TargetBytes::Vec(pixels) => {
                pixels.clear();
                pixels
                    .try_reserve_exact(shape.bytes())
                    .map_err(|_| Error::NoMemory { shape })?;
                // SAFETY: the room was checked on one side and reserved on the other.
                unsafe { self.copy_out(pixels.as_mut_ptr(), start, shape.bytes()) };
                // SAFETY: that many bytes were reserved and copied.
                unsafe { pixels.set_len(shape.bytes()) };
            }
            TargetBytes::Slice(pixels) if pixels.len() == shape.bytes() => {
                target.written = true;
                // SAFETY: the room was checked on one side, and the length on the other.
                unsafe { self.copy_out(pixels.as_mut_ptr(), start, shape.bytes()) };
            }
            TargetBytes::Slice(pixels) => {
                let got = pixels.len();
                return Err(Error::Length { shape, got });
            }
        }
        Ok(())
    }

    /// Copies out of a slot, the way that has been the faster one.
    ///
    /// # Safety
    ///
    /// As for [`copy::copy`].
    unsafe fn copy_out(&self, dst: *mut u8, src: *const u8, len: usize) {
        // While another thread copies, its times will do.
        let Ok(mut ways) = self.ways.try_lock() else {
            // SAFETY: this function's own contract.
            return unsafe { copy::copy(dst, src, len) };
        };
        let choice = ways.choose_to_read(len);
        if !choice.is_timed() {
            drop(ways);
            // SAFETY: this function's own contract.
            return unsafe { copy::copy_by(choice.way, dst, src, len) };
        }
        let began_ns = monotonic_ns();
        // SAFETY: this function's own contract.
        unsafe { copy::copy_by(choice.way, dst, src, len) };
        ways.took(choice, monotonic_ns().saturating_sub(began_ns));
    }

    /// Where the sender's own bytes begin in a slot with pixels of this shape. `None`: there is no
    /// room for so many.
    fn meta_start(&self, slot: usize, shape: Shape, len: usize) -> Option<*mut u8> {
        let (at, room) = self.geometry.meta(shape.bytes())?;
        // SAFETY: at + room is the capacity, which is no more than a slot has.
        (len <= room).then(|| unsafe { self.start(slot).add(at) })
    }

    /// Copies the sender's own bytes into the slot that is being written. `false`: there is no room
    /// for them.
    pub(crate) fn write_meta(&self, writing: &mut Writing, shape: Shape, meta: &[u8]) -> bool {
        assert!(self.access == Access::Write, "slots mapped for reading");
        if meta.is_empty() {
            return true;
        }
        let Some(start) = self.meta_start(writing.slot(), shape, meta.len()) else {
            return false;
        };
        // SAFETY: the room was checked, the mapping is writable, and the token says that nobody but
        // copying receivers reads here.
        unsafe { copy::copy(start, meta.as_ptr(), meta.len()) };
        true
    }

    /// The sender's own bytes in a slot that its receiver holds. `None`: so many do not fit in it.
    pub(crate) fn meta<'a>(&'a self, held: &'a Held, shape: Shape, len: usize) -> Option<&'a [u8]> {
        if len == 0 {
            return Some(&[]);
        }
        let start = self.meta_start(held.slot(), shape, len)?;
        // SAFETY: the room was checked, and `held` keeps the sender from writing, as for the
        // pixels.
        Some(unsafe { std::slice::from_raw_parts(start, len) })
    }

    /// Copies the sender's own bytes of a slot, which may be torn, over those in `target`. `false`:
    /// so many do not fit in the slot, or in memory.
    pub(crate) fn copy_meta(
        &self,
        slot: usize,
        shape: Shape,
        len: usize,
        target: &mut Vec<u8>,
    ) -> bool {
        target.clear();
        if len == 0 {
            return true;
        }
        let Some(start) = self.meta_start(slot, shape, len) else {
            return false;
        };
        if target.try_reserve_exact(len).is_err() {
            return false;
        }
        // SAFETY: the room was checked on one side and reserved on the other.
        unsafe { copy::copy(target.as_mut_ptr(), start, len) };
        // SAFETY: that many bytes were reserved and copied.
        unsafe { target.set_len(len) };
        true
    }
}

/// The control page of a segment.
#[derive(Debug)]
pub(crate) struct Control {
    mapping: Mapping,
    access: Access,
}

impl Control {
    pub(crate) fn map(
        file: impl AsFd,
        name: &Name,
        at: usize,
        access: Access,
    ) -> Result<Self, Error> {
        let mapping = Mapping::new(file, name, at, PAGE, access)?;
        Ok(Self { mapping, access })
    }

    /// Its words, to look at. They may be written if [`writable`](Self::writable).
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page")]
    pub(crate) fn page(&self) -> &ControlPage {
        // SAFETY: the mapping is a page, begins on one, and the type is atomics throughout, valid
        // for any bytes.
        unsafe { &*self.mapping.raw.as_ptr().cast::<ControlPage>() }
    }

    pub(crate) fn writable(&self) -> bool {
        self.access == Access::Write
    }

    /// Has the processor fetch a lease entry, to be written by its owner or read by the sender.
    pub(crate) fn fetch_lease(&self, entry: usize, write: bool) {
        copy::fetch(std::ptr::from_ref(&self.page().lease[entry]).cast(), write);
    }

    /// Has the processor fetch the word that says which frame is the latest, to be written.
    pub(crate) fn fetch_latest(&self) {
        copy::fetch(std::ptr::from_ref(&self.page().latest).cast(), true);
    }

    /// Has the processor fetch what the page says of a slot, to be written by its sender or read by
    /// others.
    pub(crate) fn fetch(&self, slot: usize, write: bool) {
        copy::fetch(std::ptr::from_ref(&self.page().slot[slot]).cast(), write);
    }

    /// Whether memory was missing when it was touched: see [`Guard::hit`].
    pub(crate) fn truncated(&self) -> bool {
        self.mapping.guard.hit()
    }
}

/// Bytes as elements of a type that any bytes are a value of. `None`: they are not aligned for it,
/// or no whole number of them.
pub(crate) fn elements<T: Scalar>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: a Scalar is valid for any bytes, which is why that trait is sealed.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

/// The same, to be written.
pub(crate) fn elements_mut<T: Scalar>(bytes: &mut [u8]) -> Option<&mut [T]> {
    // SAFETY: as above, and any value of a Scalar is bytes without padding.
    let (before, elements, after) = unsafe { bytes.align_to_mut::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}
