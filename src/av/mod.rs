//! Films and recordings, by FFmpeg's libraries: libavformat, libavcodec and libswscale.
//!
//! | what | where |
//! |---|---|
//! | owners of the libraries' objects, which free them | `owned` |
//! | an open file as FFmpeg's input or output | `io` |
//! | reads a film: frames with their times | `reader` |
//! | a decoded frame as pixels | `picture`, `scale`, `turn` |
//! | writes a recording | `writer` |
//!
//! This uses the plain bindings. Their safe wrapper, `ffmpeg-the-third`, panics when a file has a
//! value that it does not know, and it cannot read from or write to an open file.
#![expect(
    unsafe_code,
    reason = "FFmpeg is a C library, and all calls of it are here"
)]

mod io;
mod owned;
mod picture;
mod reader;
mod scale;
mod turn;
mod writer;

use std::ffi::CStr;
use std::fmt;

use ffmpeg_sys_the_third::{
    AV_LOG_QUIET, AVERROR, AVERROR_EOF, AVERROR_EXIT, AVERROR_INVALIDDATA, AVPixFmtDescriptor,
    AVRational, av_log_set_level, av_strerror,
};
use nix::libc::{self, c_int};

use crate::late;

pub(crate) use self::io::Cancel;
pub(crate) use self::picture::{Decoded, Picture, Wanted};
pub(crate) use self::reader::Reader;
pub(crate) use self::writer::{Container, Writer};

/// An error that FFmpeg reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Error(c_int);

impl Error {
    const END: Self = Self(AVERROR_EOF);
    const INTERRUPTED: Self = Self(AVERROR_EXIT);
    const INVALID: Self = Self(AVERROR_INVALIDDATA);
    const AGAIN: Self = Self(AVERROR(libc::EAGAIN));
    const NO_MEMORY: Self = Self(AVERROR(libc::ENOMEM));
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 128];
        // SAFETY: the buffer has that length, and gets a text with its 0.
        unsafe { av_strerror(self.0, text.as_mut_ptr().cast(), text.len()) };
        let text = CStr::from_bytes_until_nul(&text).unwrap_or(c"unknown error");
        f.write_str(&text.to_string_lossy())
    }
}

impl std::error::Error for Error {}

/// The result of a call of FFmpeg's: a negative number is an error.
fn check(code: c_int) -> Result<c_int, Error> {
    if code < 0 { Err(Error(code)) } else { Ok(code) }
}

/// Has FFmpeg's libraries loaded, which takes a twentieth of a second the first time, and silences
/// their log: our errors carry the cause. To be called before anything else of them, and before a
/// stream begins that must not wait for it.
pub(crate) fn load() -> anyhow::Result<()> {
    // Each after those that it needs, which may be where only this program looks.
    for library in ["avutil", "swscale", "avcodec", "avformat"] {
        late::load(library)?;
    }
    // SAFETY: stores a number.
    unsafe { av_log_set_level(AV_LOG_QUIET) };
    Ok(())
}

/// Converts ticks of a time base to ns. Saturates.
fn nanoseconds(ticks: i64, base: AVRational) -> i64 {
    let ns = i128::from(ticks) * i128::from(base.num) * 1_000_000_000;
    let ns = ns / i128::from(base.den).max(1);
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Converts ns to ticks of a time base, rounded down. Saturates.
fn ticks(ns: i64, base: AVRational) -> i64 {
    let unit = i128::from(base.num).max(1) * 1_000_000_000;
    let ticks = (i128::from(ns) * i128::from(base.den)).div_euclid(unit);
    i64::try_from(ticks).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
}

/// A positive rational number as a float.
fn positive(number: AVRational) -> Option<f64> {
    (number.num > 0 && number.den > 0).then(|| f64::from(number.num) / f64::from(number.den))
}

/// The name of a format of pixels.
fn name_of(format: &AVPixFmtDescriptor) -> String {
    // SAFETY: a static text.
    let name = unsafe { CStr::from_ptr(format.name) };
    name.to_string_lossy().into_owned()
}
