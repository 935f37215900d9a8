//! An open file as FFmpeg's input or output. So the file is opened once, its name can be any bytes,
//! and a signal ends a read that waits.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{ptr, slice};

use ffmpeg_sys_the_third::{
    AVERROR, AVERROR_EOF, AVERROR_EXIT, AVIOContext, AVIOInterruptCB, AVSEEK_FORCE, AVSEEK_SIZE,
    av_freep, av_malloc, avio_alloc_context, avio_context_free, avio_flush,
};
use nix::libc::{self, c_int};

use super::Error;
use crate::{input, stop};

/// Bytes that FFmpeg reads or writes at once.
const BUFFER: usize = 64 << 10;

/// Ends the reading of a film: on request, or when a signal asks for the end of the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) || stop::requested()
    }

    /// FFmpeg calls this while it waits, and gives up on request. It must not be called after this
    /// object and its clones are gone.
    pub(super) fn callback(&self) -> AVIOInterruptCB {
        AVIOInterruptCB {
            callback: Some(interrupted),
            opaque: Arc::as_ptr(&self.0).cast_mut().cast(),
        }
    }
}

unsafe extern "C" fn interrupted(requested: *mut c_void) -> c_int {
    // SAFETY: the pointer of `callback`, whose owner outlives what calls this.
    let requested = unsafe { &*requested.cast::<AtomicBool>() };
    (requested.load(Ordering::Relaxed) || stop::requested()).into()
}

/// A file and FFmpeg's context for it. Drop it after the format's context that uses it.
#[derive(Debug)]
pub(super) struct Io {
    context: *mut AVIOContext,
    /// A raw pointer, since the callbacks use it, too.
    file: *mut Stream,
}

// SAFETY: context and file are not bound to the thread that made them, and this is their one owner.
unsafe impl Send for Io {}

#[derive(Debug)]
struct Stream {
    file: File,
    cancel: Cancel,
    /// The first error. FFmpeg reports only its number.
    error: Option<io::Error>,
}

impl Io {
    /// A file to read.
    pub(super) fn reader(file: File, cancel: Cancel) -> Result<Self, Error> {
        Self::new(file, cancel, false)
    }

    /// A file to write.
    pub(super) fn writer(file: File) -> Result<Self, Error> {
        Self::new(file, Cancel::default(), true)
    }

    fn new(mut file: File, cancel: Cancel, writes: bool) -> Result<Self, Error> {
        let seeks = file.stream_position().is_ok();
        let file = Box::into_raw(Box::new(Stream {
            file,
            cancel,
            error: None,
        }));
        let mut io = Self {
            context: ptr::null_mut(),
            file,
        };
        // SAFETY: takes a number.
        let buffer = unsafe { av_malloc(BUFFER) };
        if buffer.is_null() {
            return Err(Error::NO_MEMORY);
        }
        let (read, write): (Option<ReadCall>, Option<WriteCall>) = if writes {
            (None, Some(write))
        } else {
            (Some(read), None)
        };
        let seek: Option<SeekCall> = if seeks { Some(seek) } else { None };
        let length = c_int::try_from(BUFFER).map_err(|_| Error::NO_MEMORY)?;
        // SAFETY: buffer and file live as long as the context, which is freed before them.
        io.context = unsafe {
            avio_alloc_context(
                buffer.cast(),
                length,
                writes.into(),
                file.cast(),
                read,
                write,
                seek,
            )
        };
        if io.context.is_null() {
            let mut buffer = buffer;
            // SAFETY: the buffer was allocated there, and has no owner.
            unsafe { av_freep((&raw mut buffer).cast()) };
            return Err(Error::NO_MEMORY);
        }
        Ok(io)
    }

    /// For the context of the format.
    pub(super) fn as_mut_ptr(&mut self) -> *mut AVIOContext {
        self.context
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) {
        // SAFETY: the context is valid.
        unsafe { avio_flush(self.context) };
    }

    /// Takes the first error of a read, write or seek.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.stream().error.take()
    }

    /// The file itself.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.stream().file
    }

    fn stream(&mut self) -> &mut Stream {
        // SAFETY: valid until `drop`; callbacks use it during calls of FFmpeg's alone.
        unsafe { &mut *self.file }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if !self.context.is_null() {
            // SAFETY: the context is valid.
            let context = unsafe { &mut *self.context };
            // SAFETY: the buffer is the context's own; FFmpeg may have replaced it.
            unsafe { av_freep((&raw mut context.buffer).cast()) };
            // SAFETY: what used the context was dropped before.
            unsafe { avio_context_free(&raw mut self.context) };
        }
        // SAFETY: from `Box::into_raw`, and the callbacks are gone.
        drop(unsafe { Box::from_raw(self.file) });
    }
}

type ReadCall = unsafe extern "C" fn(*mut c_void, *mut u8, c_int) -> c_int;
type WriteCall = unsafe extern "C" fn(*mut c_void, WriteBuffer, c_int) -> c_int;
type SeekCall = unsafe extern "C" fn(*mut c_void, i64, c_int) -> i64;
#[cfg(ffmpeg_7_0)]
type WriteBuffer = *const u8;
#[cfg(not(ffmpeg_7_0))]
type WriteBuffer = *mut u8;

/// Reads as much as there is. Waits if there is nothing yet.
unsafe extern "C" fn read(file: *mut c_void, buffer: *mut u8, length: c_int) -> c_int {
    // SAFETY: the pointer that `new` gave to the context, which nobody else uses meanwhile.
    let stream = unsafe { &mut *file.cast::<Stream>() };
    // SAFETY: FFmpeg's buffer of that length.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer, usize::try_from(length).unwrap_or(0)) };
    while !stream.cancel.is_requested() {
        return match input::read(&stream.file, buffer) {
            Ok(None) => continue,
            Ok(Some(0)) => AVERROR_EOF,
            Ok(Some(read)) => c_int::try_from(read).unwrap_or(length),
            Err(error) => stream.fail(error),
        };
    }
    AVERROR_EXIT
}

unsafe extern "C" fn write(file: *mut c_void, buffer: WriteBuffer, length: c_int) -> c_int {
    // SAFETY: as in `read`.
    let stream = unsafe { &mut *file.cast::<Stream>() };
    // SAFETY: FFmpeg's buffer of that length.
    let buffer = unsafe { slice::from_raw_parts(buffer, usize::try_from(length).unwrap_or(0)) };
    match stream.file.write_all(buffer) {
        Ok(()) => length,
        Err(error) => stream.fail(error),
    }
}

unsafe extern "C" fn seek(file: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: as in `read`.
    let stream = unsafe { &mut *file.cast::<Stream>() };
    let to = match whence & !AVSEEK_FORCE {
        AVSEEK_SIZE => return stream.size(),
        libc::SEEK_SET => SeekFrom::Start(offset.max(0).unsigned_abs()),
        libc::SEEK_CUR => SeekFrom::Current(offset),
        libc::SEEK_END => SeekFrom::End(offset),
        _ => return AVERROR(libc::EINVAL).into(),
    };
    match stream.file.seek(to) {
        Ok(position) => i64::try_from(position).unwrap_or(i64::MAX),
        Err(error) => stream.fail(error).into(),
    }
}

impl Stream {
    fn size(&mut self) -> i64 {
        match self.file.metadata() {
            Ok(metadata) => i64::try_from(metadata.len()).unwrap_or(i64::MAX),
            Err(error) => self.fail(error).into(),
        }
    }

    /// Keeps the first error, and gives its number.
    fn fail(&mut self, error: io::Error) -> c_int {
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        self.error.get_or_insert(error);
        AVERROR(number)
    }
}
