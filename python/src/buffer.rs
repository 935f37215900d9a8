//! Memory that Python shows and memory that Python owns: the one place with unsafe code.

#![expect(unsafe_code, reason = "the buffer protocol is C's")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use shm_frame::{Element, Order, OwnedLease, Shape};

use crate::error::Failure;
use crate::frame::Frame;
use crate::image;
use crate::sender::Loan;

/// numpy's view of an object with a buffer, which must be ready to show it: numpy swallows what a
/// buffer raises, and asks `__array__` next.
pub(crate) fn as_array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    ASARRAY.import(py, "numpy", "asarray")?.call1((object,))
}

/// What a view is told of an image. It stays where it is while its owner lives: views point into
/// it.
#[derive(Debug)]
pub(crate) struct Dims {
    ndim: c_int,
    shape: [ffi::Py_ssize_t; 3],
    strides: [ffi::Py_ssize_t; 3],
    bytes: ffi::Py_ssize_t,
    element: Element,
}

impl Dims {
    pub(crate) fn new(shape: Shape) -> Self {
        // A Shape's numbers and their product fit in an isize.
        let size = |n: usize| n.cast_signed();
        let format = shape.format();
        let channels = format.channels().count();
        Self {
            ndim: if channels == 1 { 2 } else { 3 },
            shape: [
                size(shape.size().height as usize),
                size(shape.size().width as usize),
                size(channels),
            ],
            strides: [
                size(shape.row_bytes()),
                size(format.pixel_bytes()),
                size(format.element().bytes()),
            ],
            bytes: size(shape.bytes()),
            element: format.element(),
        }
    }

    /// Fills a view of memory that begins at `start`.
    ///
    /// # Safety
    ///
    /// `view` may be written. From `start` on there is as much memory as the shape says, for as
    /// long as `owner` lives or the view is released, and this value is part of `owner`.
    unsafe fn fill(
        &self,
        view: *mut ffi::Py_buffer,
        flags: c_int,
        start: *mut u8,
        readonly: bool,
        owner: &Bound<'_, PyAny>,
    ) {
        let wants = |flag| flags & flag == flag;
        let shaped = wants(ffi::PyBUF_ND);
        // Each field that a consumer did not ask for is null.
        let filled = ffi::Py_buffer {
            buf: start.cast::<c_void>(),
            obj: owner.clone().into_ptr(),
            len: self.bytes,
            itemsize: self.element.bytes().cast_signed(),
            readonly: c_int::from(readonly),
            ndim: if shaped { self.ndim } else { 1 },
            format: if wants(ffi::PyBUF_FORMAT) {
                image::code(self.element).as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            },
            shape: if shaped {
                self.shape.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            },
            strides: if wants(ffi::PyBUF_STRIDES) {
                self.strides.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            },
            suboffsets: ptr::null_mut(),
            internal: ptr::null_mut(),
        };
        // SAFETY: the caller's promise.
        unsafe { view.write(filled) };
    }
}

/// What a consumer may not ask of a buffer whose rows follow one another.
fn refuse_columns(flags: c_int) -> PyResult<()> {
    let columns = ffi::PyBUF_F_CONTIGUOUS & !ffi::PyBUF_STRIDES;
    if flags & columns != 0 {
        return Err(PyBufferError::new_err("an image is stored row by row"));
    }
    Ok(())
}

/// The memory of a frame that was received.
#[derive(Debug)]
pub(crate) enum Pixels {
    Leased(OwnedLease),
    Copied(Vec<u8>),
}

impl Pixels {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Leased(lease) => lease.pixels(),
            Self::Copied(pixels) => pixels,
        }
    }

    /// Copies them into memory of the same length.
    pub(crate) fn copy(&self, target: &mut Target) -> Result<(), shm_frame::Error> {
        match self {
            Self::Leased(lease) => lease.copy_to_slice(target.bytes()),
            Self::Copied(pixels) => {
                target.bytes().copy_from_slice(pixels);
                Ok(())
            }
        }
    }

    pub(crate) fn is_intact(&self) -> bool {
        match self {
            Self::Leased(lease) => lease.is_intact(),
            Self::Copied(_) => true,
        }
    }
}

/// Fills a view of a frame.
///
/// # Safety
///
/// `view` may be written, and is released by [`hide_frame`].
pub(crate) unsafe fn show_frame(
    slf: &Bound<'_, Frame>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    // SAFETY: the caller's promise. A view without an owner is not released.
    unsafe { (*view).obj = ptr::null_mut() };
    let frame = slf.get();
    if let Some(out) = &frame.out {
        // The caller's own array, which shows and releases its memory by itself.
        // SAFETY: a view that may be written, and an object.
        let done = unsafe { ffi::PyObject_GetBuffer(out.as_ptr(), view, flags) };
        return if done == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        };
    }
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        return Err(PyBufferError::new_err(
            "a received frame is read-only: use frame.copy()",
        ));
    }
    refuse_columns(flags)?;
    let pixels = frame.pixels().map_err(|failure| failure.raised(slf.py()))?;
    let start = pixels.bytes().as_ptr().cast_mut();
    // SAFETY: the caller's view. It gets a share of the pixels below, so they stay until it is
    // released.
    unsafe { frame.dims.fill(view, flags, start, true, slf.as_any()) };
    let share = Arc::into_raw(pixels).cast_mut().cast::<c_void>();
    // SAFETY: the caller's view.
    unsafe { (*view).internal = share };
    Ok(())
}

/// Releases a view of a frame.
///
/// # Safety
///
/// [`show_frame`] filled `view`, and it is not released yet.
pub(crate) unsafe fn hide_frame(view: *mut ffi::Py_buffer) {
    // SAFETY: the caller's promise.
    let share = unsafe { (*view).internal };
    // SAFETY: it came from `Arc::into_raw`, and is taken back once.
    drop(unsafe { Arc::from_raw(share.cast::<Pixels>()) });
}

/// Fills a view of a loan.
///
/// # Safety
///
/// `view` may be written.
pub(crate) unsafe fn show_loan(
    slf: &Bound<'_, Loan>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    // SAFETY: the caller's promise. A view without an owner is not released.
    unsafe { (*view).obj = ptr::null_mut() };
    refuse_columns(flags)?;
    let loan = slf.get();
    let start = loan.start().map_err(|failure| failure.raised(slf.py()))?;
    // SAFETY: the caller's view. The loan keeps the memory mapped for as long as it lives itself,
    // and the view keeps the loan.
    unsafe { loan.dims.fill(view, flags, start, false, slf.as_any()) };
    Ok(())
}

/// An array of the caller's own to be written, of the shape that frames must have to fit.
pub(crate) struct Target {
    buffer: PyUntypedBuffer,
    pub(crate) shape: Shape,
}

impl Target {
    /// # Errors
    ///
    /// A `TypeError` or `ValueError` for what is no writable image whose rows follow one another.
    pub(crate) fn new(out: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(out).map_err(|_| {
            let kind = out.get_type();
            PyTypeError::new_err(format!("out must be an array, not {kind}"))
        })?;
        let shape = shape(out, &buffer, Order::Bgr)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(Failure::invalid(
                "out must be a writable array whose rows follow one another, as numpy.empty makes it",
            )
            .raised(out.py()));
        }
        Ok(Self { buffer, shape })
    }

    /// Whether a frame of that shape has the dimensions and elements of this array.
    pub(crate) fn fits(&self, shape: Shape) -> bool {
        let format = shape.format();
        shape.size() == self.shape.size()
            && format.channels() == self.shape.format().channels()
            && format.element() == self.shape.format().element()
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let start = self.buffer.buf_ptr().cast::<u8>();
        // SAFETY: the buffer is writable, contiguous and held. A program that lets other threads
        // look at the array meanwhile sees parts of two frames, as with any function that fills
        // arrays without the interpreter's lock.
        unsafe { std::slice::from_raw_parts_mut(start, self.shape.bytes()) }
    }
}

/// An array of the caller's own to be read, in any order of memory.
pub(crate) struct Picture {
    buffer: PyUntypedBuffer,
    pub(crate) shape: Shape,
}

impl Picture {
    /// # Errors
    ///
    /// A `TypeError` or `ValueError` for what is no image.
    pub(crate) fn new(image: &Bound<'_, PyAny>, order: Order) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(image).or_else(|error| {
            // Tensors and pictures of other libraries have an array for numpy.
            let numpy = image.py().import("numpy").map_err(|_| error)?;
            PyUntypedBuffer::get(&numpy.call_method1("asarray", (image,))?)
        });
        let buffer = buffer.map_err(|error| {
            let kind = image.get_type();
            let refused = PyTypeError::new_err(format!("an image is an array, not {kind}"));
            refused.set_cause(image.py(), Some(error));
            refused
        })?;
        if buffer.suboffsets().is_some() {
            return Err(PyTypeError::new_err(
                "an image is an array without pointers to its rows",
            ));
        }
        let shape = shape(image, &buffer, order)?;
        Ok(Self { buffer, shape })
    }

    /// The pixels, if its rows follow one another.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        if !self.buffer.is_c_contiguous() {
            return None;
        }
        let start = self.buffer.buf_ptr().cast::<u8>();
        // SAFETY: the buffer is contiguous and held. A program that writes it meanwhile publishes
        // parts of two pictures.
        Some(unsafe { std::slice::from_raw_parts(start, self.shape.bytes()) })
    }

    /// Copies the pixels of a part, mirrored or other view of an array, row by row.
    pub(crate) fn copy(&self, target: &mut [u8]) {
        let format = self.shape.format();
        let (element, pixel) = (format.element().bytes(), format.pixel_bytes());
        let strides = self.buffer.strides();
        let across = strides.get(2).copied();
        let packed = across.is_none_or(|stride| stride == element.cast_signed());
        let rows = target.chunks_exact_mut(self.shape.row_bytes());
        for (y, row) in rows.enumerate() {
            let start = self.buffer.buf_ptr().cast::<u8>();
            let start = start.wrapping_offset(strides[0] * y.cast_signed());
            if packed && strides[1] == pixel.cast_signed() {
                // SAFETY: row y of the buffer, which is held and has its pixels side by side.
                unsafe { ptr::copy_nonoverlapping(start, row.as_mut_ptr(), row.len()) };
            } else if packed {
                // SAFETY: the pixels of row y of the buffer, which is held and has the elements of
                // a pixel side by side.
                unsafe { copy_spaced(start, strides[1], pixel, row) };
            } else {
                for (x, target) in row.chunks_exact_mut(pixel).enumerate() {
                    let start = start.wrapping_offset(strides[1] * x.cast_signed());
                    // SAFETY: the elements of pixel x in row y of the buffer, which is held.
                    unsafe { copy_spaced(start, across.unwrap_or(0), element, target) };
                }
            }
        }
    }
}

/// Copies parts of `size` bytes that begin every `step` bytes from `start` on, until `target` is
/// full.
///
/// # Safety
///
/// All those parts may be read, and none is part of `target`.
unsafe fn copy_spaced(start: *const u8, step: isize, size: usize, target: &mut [u8]) {
    macro_rules! by_size {
        ($($known:literal)*) => {
            match size {
                $(
                    $known => {
                        for (i, part) in target.as_chunks_mut::<$known>().0.iter_mut().enumerate() {
                            let from = start.wrapping_offset(step * i.cast_signed());
                            // SAFETY: the caller's promise for part i.
                            *part = unsafe { from.cast::<[u8; $known]>().read() };
                        }
                    }
                )*
                _ => {
                    for (i, part) in target.chunks_exact_mut(size).enumerate() {
                        let from = start.wrapping_offset(step * i.cast_signed());
                        // SAFETY: the caller's promise for part i.
                        unsafe { ptr::copy_nonoverlapping(from, part.as_mut_ptr(), size) };
                    }
                }
            }
        };
    }
    // The sizes of elements, and of the usual pixels.
    by_size!(1 2 3 4 6 8 12 16);
}

/// The shape of an array.
fn shape(array: &Bound<'_, PyAny>, buffer: &PyUntypedBuffer, order: Order) -> PyResult<Shape> {
    let Some(element) = image::element(buffer.format(), buffer.item_size()) else {
        let dtype = array.getattr("dtype").map_or_else(
            |_| buffer.format().to_string_lossy().into_owned(),
            |dtype| dtype.to_string(),
        );
        let remedy = match dtype.as_str() {
            "bool" => ": use array.view(numpy.uint8)",
            dtype if dtype.starts_with('>') => ": use array.astype(array.dtype.newbyteorder())",
            _ => ": use array.astype()",
        };
        return Err(PyTypeError::new_err(format!(
            "an image has elements of {}, not {dtype}{remedy}",
            image::dtypes()
        )));
    };
    image::shape(buffer.shape(), element, order).map_err(|failure| failure.raised(array.py()))
}
