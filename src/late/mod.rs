//! Libraries that are loaded when one of their functions is first called.
//!
//! A program that is linked against OpenCV and FFmpeg loads some 250 libraries before its first
//! line: `docs/performance.md` says how long that takes. `--help` and `--list` need none of them,
//! and most of what else the commands do needs OpenCV's core and imgproc alone. GNU's linker and
//! LLVM's have no option for it, so this defines every function of those libraries itself: a jump
//! to an address, which is at first the address of what loads the library, finds the function, and
//! writes its address there. It is what the dynamic linker does for a lazily bound function, a
//! library at a time, and what [Implib.so](https://github.com/yugr/Implib.so) generates. The linker
//! finds each of them here first, and then needs the library no more (`--as-needed`, which rustc
//! passes).
//!
//! Nobody who calls sees a difference, except in time, and if the library is gone: a call cannot
//! fail, so it ends the process then. So what calls one of the libraries calls [`load`] before,
//! which can fail; and early, if a stream must not wait for it.
//!
//! `build.rs` writes the list of functions, out of the libraries that it is built against. What is
//! written here:
//!
//! | what | where |
//! |---|---|
//! | each function and each table, with what is known of it | `records.s` |
//! | the jump, and what keeps the caller's arguments | `x86_64.s`, `aarch64.s` |
//! | loads a library, finds a function | this file |
//! | the same where everything is linked | `linked.rs` |
//!
//! On other processors, in a build for another machine, with libraries from elsewhere, and with
//! `SHM_FRAME_LINK` set, everything is linked as usual, and `load` has nothing to do.
#![expect(unsafe_code, reason = "the dynamic linker's work")]

use std::arch::global_asm;
use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::{process, ptr};

use anyhow::{Context, Result, anyhow, ensure};
use libloading::os::unix::{Library, RTLD_LAZY};

use crate::stdio;

// The names of the libraries, and how many tables they have.
include!(concat!(env!("OUT_DIR"), "/late.rs"));

#[cfg(target_arch = "x86_64")]
global_asm!(
    include_str!("records.s"),
    include_str!("x86_64.s"),
    include_str!(concat!(env!("OUT_DIR"), "/late.s")),
    "    .text",
    options(raw, att_syntax)
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    include_str!("records.s"),
    include_str!("aarch64.s"),
    include_str!(concat!(env!("OUT_DIR"), "/late.s")),
    "    .text",
    options(raw)
);

/// A function, by `late_function`.
#[repr(C)]
struct Record {
    /// Where its callers go: at first to what calls `shm_frame_late_find`.
    function: AtomicPtr<c_void>,
    name: Text,
    /// Which of `NAMES` has it.
    library: usize,
}

/// A table of virtual functions, or what is known of a type, by `late_table`: objects that the
/// bindings copy point to the one, and exceptions are compared with the other.
#[repr(C)]
struct Table {
    here: AtomicPtr<u8>,
    name: Text,
    /// Bytes.
    size: usize,
    library: usize,
}

/// A constant text of `records.s`.
#[repr(transparent)]
struct Text(*const c_char);

// SAFETY: the text is never written.
unsafe impl Sync for Text {}

impl Text {
    fn get(&self) -> &'static CStr {
        // SAFETY: all that there are point to an `.asciz` of `records.s`.
        unsafe { CStr::from_ptr(self.0) }
    }
}

unsafe extern "C" {
    /// As many as `late.s` has lines for.
    #[link_name = "shm_frame_late_tables"]
    safe static ALL_TABLES: [Table; TABLES];
}

/// Has a library loaded now, by its name as for the linker.
///
/// # Errors
///
/// If it is not there, or is another OpenCV's.
pub(crate) fn load(name: &str) -> Result<()> {
    let number = NAMES.iter().position(|(_, linked)| *linked == name);
    let number = number.with_context(|| format!("no library {name} is loaded late"))?;
    library(number).map(|_| ())
}

/// Called by `shm_frame_late`, once for each function: where it is. If two threads call a function
/// for the first time at once, both find the same. No other function has this name.
#[unsafe(no_mangle)]
extern "C" fn shm_frame_late_find(record: &Record) -> *mut c_void {
    let found = library(record.library).and_then(|library| find(library, record.name.get()));
    let found = found.unwrap_or_else(|error| {
        stdio::warn(&format!("{error:#}"));
        process::exit(1)
    });
    record.function.store(found, Ordering::Release);
    found
}

/// OpenCV's core in `NAMES`.
const CORE: usize = 0;

/// A library of `NAMES`, with its tables in place. It is never unloaded.
fn library(number: usize) -> Result<&'static Library> {
    static LIBRARIES: [OnceLock<Result<Library>>; NAMES.len()] =
        [const { OnceLock::new() }; NAMES.len()];
    let library = LIBRARIES[number].get_or_init(|| open(number));
    library.as_ref().map_err(|error| anyhow!("{error:#}"))
}

fn open(number: usize) -> Result<Library> {
    let (file, _) = NAMES[number];
    let name = OsStr::from_bytes(file.to_bytes());
    // SAFETY: the library's initialization is what would have run at the program's start.
    let library = unsafe { Library::open(Some(name), RTLD_LAZY) }.map_err(|error| said(&error))?;
    // Of OpenCV's core: the one that is loaded is the one that the library has. Another one in the
    // same process would get this one's images.
    let of_core = c"_ZN2cv3MatC1Ev";
    if number != CORE
        && let Ok(there) = find(&library, of_core)
    {
        ensure!(
            find(self::library(CORE)?, of_core)? == there,
            "{}: is another OpenCV's than the one that this was built with: build it again, with SHM_FRAME_LINK=1",
            name.display()
        );
    }
    for table in ALL_TABLES.iter().filter(|table| table.library == number) {
        let found = find(&library, table.name.get())?;
        let here = table.here.load(Ordering::Relaxed);
        // SAFETY: the library has this table with this size, and it is constant; the room here is
        // as large. Nothing reads it before this: who has an object with such a table got it of a
        // function of this library; and while an exception passes the bindings, which asks for
        // types, core is there: `picture::load` comes before all of them. The dynamic linker does
        // the same for a program that is not position-independent (R_X86_64_COPY).
        unsafe { ptr::copy_nonoverlapping(found.cast(), here, table.size) };
    }
    Ok(library)
}

/// The address of what a library has by this name.
fn find(library: &Library, name: &CStr) -> Result<*mut c_void> {
    // SAFETY: the address of anything may be looked at as one; who calls it knows what it is.
    let symbol = unsafe { library.get::<*mut c_void>(name.to_bytes_with_nul()) };
    Ok(symbol.map_err(|error| said(&error))?.as_raw_ptr())
}

/// What the dynamic linker said.
fn said(error: &libloading::Error) -> anyhow::Error {
    anyhow!("{error}: install the library that this was built with, or build it again")
}

#[cfg(test)]
mod tests {
    use std::ffi::c_int;

    use opencv::core::{Mat, Size};
    use opencv::imgproc;

    use super::*;

    unsafe extern "C" {
        /// FFmpeg's asprintf (libavutil/avstring.h).
        fn av_asprintf(format: *const c_char, ...) -> *mut c_char;
        fn av_free(text: *mut c_void);
    }

    #[test]
    fn an_exception_of_opencv_is_an_error() {
        let (mut to, size) = (Mat::default(), Size::new(8, 8));
        let resized = imgproc::resize_def(&Mat::default(), &mut to, size);
        assert_eq!(resized.unwrap_err().code, opencv::core::StsAssert);
    }

    #[test]
    fn arguments_in_all_registers_and_on_the_stack_arrive_with_the_first_call_and_the_next() {
        for last in [9, 10] {
            let last: c_int = last;
            // SAFETY: the arguments are those that the text names, and the result ends with a 0.
            let text = unsafe {
                av_asprintf(
                    c"%d %d %d %d %d %d %d %d %d %g %g %g %g %g %g %g %g %g".as_ptr(),
                    1,
                    2,
                    3,
                    4,
                    5,
                    6,
                    7,
                    8,
                    last,
                    0.5,
                    1.5,
                    2.5,
                    3.5,
                    4.5,
                    5.5,
                    6.5,
                    7.5,
                    8.5,
                )
            };
            // SAFETY: as above.
            let told = unsafe { CStr::from_ptr(text) };
            assert_eq!(
                told.to_string_lossy(),
                format!("1 2 3 4 5 6 7 8 {last} 0.5 1.5 2.5 3.5 4.5 5.5 6.5 7.5 8.5")
            );
            // SAFETY: the text is FFmpeg's, and nobody uses it any more.
            unsafe { av_free(text.cast()) };
        }
    }
}
