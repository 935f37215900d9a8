//! Objects of FFmpeg's libraries that are freed when they are dropped.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use ffmpeg_sys_the_third::{
    AVCodecContext, AVDictionary, AVFormatContext, AVFrame, AVPacket, av_dict_free, av_dict_set,
    av_frame_alloc, av_frame_free, av_packet_alloc, av_packet_free, avcodec_free_context,
    avformat_close_input,
};
use std::ffi::CStr;

use super::{Error, check};

/// How an object of FFmpeg's is freed.
pub(super) trait Free {
    /// # Safety
    ///
    /// The object is valid, and not used afterwards.
    unsafe fn free(object: *mut Self);
}

/// An object of FFmpeg's that has one owner.
#[derive(Debug)]
pub(super) struct Owned<T: Free>(NonNull<T>);

// SAFETY: FFmpeg's objects are not bound to the thread that made them, and this one has one owner.
unsafe impl<T: Free> Send for Owned<T> {}

impl<T: Free> Owned<T> {
    /// Takes the result of an allocation. Null: there was no memory.
    ///
    /// # Safety
    ///
    /// The object is valid until it is freed, and nobody else frees or changes it.
    pub(super) unsafe fn new(object: *mut T) -> Result<Self, Error> {
        NonNull::new(object).map(Self).ok_or(Error::NO_MEMORY)
    }

    /// For calls that take a pointer.
    pub(super) fn as_mut_ptr(&mut self) -> *mut T {
        self.0.as_ptr()
    }

    /// For calls that take a pointer and don't write.
    pub(super) fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl<T: Free> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `new` asked for a valid object, and this borrow keeps calls that change it away.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Free> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and the object has no other owner.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Free> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object is valid, and this was its last use.
        unsafe { T::free(self.0.as_ptr()) };
    }
}

impl Free for AVFrame {
    unsafe fn free(mut object: *mut Self) {
        // SAFETY: upheld by the caller.
        unsafe { av_frame_free(&raw mut object) };
    }
}

impl Free for AVPacket {
    unsafe fn free(mut object: *mut Self) {
        // SAFETY: upheld by the caller.
        unsafe { av_packet_free(&raw mut object) };
    }
}

impl Free for AVCodecContext {
    unsafe fn free(mut object: *mut Self) {
        // SAFETY: upheld by the caller.
        unsafe { avcodec_free_context(&raw mut object) };
    }
}

impl Free for AVFormatContext {
    unsafe fn free(mut object: *mut Self) {
        // SAFETY: upheld by the caller. Frees contexts for output, too: an input's own parts are
        // missing there.
        unsafe { avformat_close_input(&raw mut object) };
    }
}

/// An empty frame.
pub(super) fn frame() -> Result<Owned<AVFrame>, Error> {
    // SAFETY: takes nothing.
    let frame = unsafe { av_frame_alloc() };
    // SAFETY: the frame was just made.
    unsafe { Owned::new(frame) }
}

/// An empty packet.
pub(super) fn packet() -> Result<Owned<AVPacket>, Error> {
    // SAFETY: takes nothing.
    let packet = unsafe { av_packet_alloc() };
    // SAFETY: the packet was just made.
    unsafe { Owned::new(packet) }
}

/// Options of a call. The call removes those that it knows.
#[derive(Debug)]
pub(super) struct Options(*mut AVDictionary);

impl Options {
    pub(super) fn new(options: &[(&CStr, &CStr)]) -> Result<Self, Error> {
        let mut new = Self(ptr::null_mut());
        for (key, value) in options {
            // SAFETY: both are copied.
            check(unsafe { av_dict_set(&raw mut new.0, key.as_ptr(), value.as_ptr(), 0) })?;
        }
        Ok(new)
    }

    /// For calls that take options.
    pub(super) fn as_mut_ptr(&mut self) -> *mut *mut AVDictionary {
        &raw mut self.0
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: null or a dictionary that is ours.
        unsafe { av_dict_free(&raw mut self.0) };
    }
}
