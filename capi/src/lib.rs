//! The C interface of shm-frame, as `include/shm_frame.h` declares and documents it. It has no
//! logic of its own: objects, pointers and words.
//!
//! A panic would be a bug here, and does not cross the boundary: a function of `extern "C"` aborts
//! the process.
#![expect(
    unsafe_code,
    reason = "C passes pointers, and calls functions by their names"
)]

mod options;
mod receiver;
mod sender;
mod status;

use std::ffi::{CStr, c_char};

use shm_frame::{FrameHeader, Name, Shape};

use self::status::{Role, Status, failed, invalid};

/// `shmf_shape`. It is judged before it is used.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CShape {
    width: i32,
    height: i32,
    format: i32,
}

impl CShape {
    fn new(shape: Shape) -> Self {
        Self {
            width: shape.width(),
            height: shape.height(),
            format: shape.format().word(),
        }
    }

    fn judge(self) -> Result<Shape, Status> {
        let header = FrameHeader {
            width: self.width,
            height: self.height,
            channels: self.format,
            ..FrameHeader::default()
        };
        header
            .shape(usize::MAX)
            .map_err(|error| failed(Role::Sender, &error))
    }
}

/// Reads a segment's name.
///
/// # Safety
///
/// `name` is null or a C string.
unsafe fn read_name(role: Role, name: *const c_char) -> Result<Name, Status> {
    if name.is_null() {
        return Err(invalid("the name is NULL"));
    }
    // SAFETY: it is a C string, as the caller promises, and it is not null.
    let name = unsafe { CStr::from_ptr(name) };
    let Ok(name) = name.to_str() else {
        return Err(invalid(format!("the name {name:?} is not UTF-8")));
    };
    Name::new(name).map_err(|error| failed(role, &error))
}

/// A reference to what a pointer of a C program points at, or words.
///
/// # Safety
///
/// `pointer` is null, or points at a value that no other thread uses for as long as `'a`.
unsafe fn exclusive<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T, Status> {
    // SAFETY: what is not null points at a value that nobody else uses, as the caller promises.
    let reference = unsafe { pointer.as_mut() };
    reference.ok_or_else(|| invalid(format!("{what} is NULL")))
}

/// The library's version.
#[unsafe(no_mangle)]
extern "C" fn shmf_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The words of the last status in this thread that was not [`Status::Ok`].
#[unsafe(no_mangle)]
extern "C" fn shmf_last_error() -> *const c_char {
    status::words()
}

/// Bytes of all pixels; 0 for no image.
#[unsafe(no_mangle)]
extern "C" fn shmf_shape_bytes(shape: CShape) -> usize {
    shape.judge().map_or(0, |shape| shape.bytes())
}
