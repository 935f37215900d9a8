//! Structs that begin with their size: options and extras.

use std::slice;

use crate::Status;
use crate::status::invalid;

/// A struct that a C program fills in. It may only grow at its end, so this is the size of the
/// first version, too.
///
/// # Safety
///
/// The type is `repr(C)` without padding, begins with its size as a `usize`, and every value of its
/// bytes is one of its own.
pub(crate) unsafe trait Growing: Copy {
    const NAME: &str;
}

/// No struct will have more bytes than this: a size that was not set may be any number.
const MOST: usize = 1024;

/// Copies what a C program has set. `None`: it passed no struct.
///
/// A program that is newer than this library may have set fields that this library does not know.
///
/// # Safety
///
/// `pointer` is null, or points at as many bytes as the `usize` says that stands there.
pub(crate) unsafe fn read<T: Growing>(pointer: *const T) -> Result<Option<T>, Status> {
    if pointer.is_null() {
        return Ok(None);
    }
    let (known, name) = (size_of::<T>(), T::NAME);
    // SAFETY: the struct begins with a usize, and the caller promises that it is there.
    let size = unsafe { pointer.cast::<usize>().read() };
    if !(known..=MOST).contains(&size) {
        return Err(invalid(format!(
            "{name} of {size} bytes: set its size to sizeof({name}), which is {known}"
        )));
    }
    // SAFETY: the caller promises that so many bytes are there.
    let bytes = unsafe { slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if bytes[known..].iter().any(|&byte| byte != 0) {
        return Err(invalid(format!(
            "{name} of {size} bytes has fields that shm-frame {} does not know: it knows {known} bytes",
            env!("CARGO_PKG_VERSION")
        )));
    }
    // SAFETY: so many bytes are there, and any of them make a value, as `Growing` says.
    Ok(Some(unsafe { pointer.read() }))
}
