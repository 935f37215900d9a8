//! A frame that was received.

use std::ffi::c_int;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use shm_frame::{Name, Via};

use crate::buffer::{self, Dims, Pixels, Target, as_array};
use crate::error::{Class, Failure};
use crate::{detached, image, lock, meta};

/// One image that was received. It never changes: it is read in place, or is a copy, as `in_place`
/// says.
#[pyclass(frozen, module = "shm_frame")]
pub(crate) struct Frame {
    name: Arc<Name>,
    info: shm_frame::Frame,
    pub(crate) dims: Dims,
    /// None: let go. Views have shares of their own.
    held: Mutex<Option<Arc<Pixels>>>,
    /// The array of the caller's own that the frame was copied into.
    pub(crate) out: Option<Py<PyAny>>,
    meta: Vec<u8>,
    decoded: PyOnceLock<Py<PyAny>>,
}

impl Frame {
    /// `pixels` is None for a frame that was copied into `out`.
    pub(crate) fn new(
        name: Arc<Name>,
        info: shm_frame::Frame,
        pixels: Option<Pixels>,
        out: Option<Py<PyAny>>,
        meta: Vec<u8>,
    ) -> Self {
        Self {
            name,
            info,
            dims: Dims::new(info.shape),
            held: Mutex::new(pixels.map(Arc::new)),
            out,
            meta,
            decoded: PyOnceLock::new(),
        }
    }

    /// A share of the pixels.
    pub(crate) fn pixels(&self) -> Result<Arc<Pixels>, Failure> {
        lock(&self.held).clone().ok_or_else(|| self.was_released())
    }

    fn must_be_held(&self) -> Result<(), Failure> {
        match &*lock(&self.held) {
            Some(_) => Ok(()),
            None => Err(self.was_released()),
        }
    }

    fn was_released(&self) -> Failure {
        let number = self.info.number;
        Failure::new(Class::Closed, format!("frame {number} was released"))
    }
}

#[pymethods]
impl Frame {
    /// The image as a numpy array without a copy: height x width x channels, gray ones height x
    /// width.
    ///
    /// It is read-only, never changes, and may be kept: it holds the frame's memory.
    #[getter]
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let frame = slf.get();
        if let Some(out) = &frame.out {
            return slf.py().import("numpy")?.call_method1("asarray", (out,));
        }
        // A released one says so here. Its buffer would, too, but then numpy comes back to
        // `__array__`, and that to here.
        frame
            .must_be_held()
            .map_err(|failure| failure.raised(slf.py()))?;
        as_array(slf.as_any())
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = Self::array(slf)?;
        let other = match dtype {
            Some(dtype) if !array.getattr("dtype")?.eq(&dtype)? => Some(dtype),
            _ => None,
        };
        match (other, copy) {
            (Some(_), Some(false)) => Err(PyValueError::new_err(
                "another dtype takes a copy, which copy=False forbids",
            )),
            (Some(dtype), _) => array.call_method1("astype", (dtype,)),
            (None, Some(true)) => array.call_method0("copy"),
            (None, _) => Ok(array),
        }
    }

    #[pyo3(signature = (**kwargs))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::array(slf)?.call_method("__dlpack__", (), kwargs)
    }

    /// The processor's own memory.
    #[staticmethod]
    fn __dlpack_device__() -> (i32, i32) {
        (1, 0)
    }

    /// A writable copy that is the caller's own: a new array, or `out`.
    #[pyo3(signature = (*, out=None))]
    fn copy<'py>(
        slf: &Bound<'py, Self>,
        out: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (py, frame) = (slf.py(), slf.get());
        let raised = |failure: Failure| failure.raised(py);
        let shape = frame.info.shape;
        let target = if let Some(out) = out {
            out
        } else {
            let dtype = image::dtype(shape.format().element());
            let dims = PyTuple::new(py, image::dims(shape))?;
            EMPTY.import(py, "numpy", "empty")?.call1((dims, dtype))?
        };
        if let Some(own) = &frame.out {
            py.import("numpy")?.call_method1("copyto", (&target, own))?;
            return Ok(target);
        }
        let pixels = frame.pixels().map_err(raised)?;
        let mut array = Target::new(&target)?;
        if !array.fits(shape) {
            return Err(raised(misfit(&frame.name, shape, &array)));
        }
        detached(Some(py), shape.bytes(), || pixels.copy(&mut array))
            .map_err(|error| raised(Failure::receiving(&error)))?;
        if !pixels.is_intact() {
            let name = (*frame.name).clone();
            return Err(raised(Failure::receiving(&shm_frame::Error::Lost { name })));
        }
        Ok(target)
    }

    /// The shape of `array`.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, image::dims(self.info.shape))
    }

    /// The name of the dtype of `array`.
    #[getter]
    fn dtype(&self) -> &'static str {
        image::dtype(self.info.shape.format().element())
    }

    /// The order of the colours: "bgr" or "rgb".
    #[getter]
    fn order(&self) -> &'static str {
        image::order_name(self.info.shape.format().order())
    }

    /// The sender's count, from 1.
    #[getter]
    fn number(&self) -> u64 {
        self.info.number
    }

    /// The same for all frames of one sender: with another one the numbers begin anew.
    #[getter]
    fn session(&self) -> u64 {
        self.info.session
    }

    /// Frames that were published since the last one taken and never seen here.
    #[getter]
    fn skipped(&self) -> u64 {
        self.info.skipped
    }

    /// Nanoseconds from before the first byte was written until the frame was here.
    #[getter]
    fn delay_ns(&self) -> i64 {
        self.info.delay_ns
    }

    /// Unix time in milliseconds when the sender began to write the frame.
    #[getter]
    fn sent_ms(&self) -> i64 {
        self.info.sent_ms
    }

    /// Unix time in milliseconds when the frame was here.
    #[getter]
    fn received_ms(&self) -> i64 {
        self.info.received_ms
    }

    /// `time.monotonic_ns()` before the sender wrote the first byte. 0 from a sender that knows
    /// only the header.
    #[getter]
    fn begun_ns(&self) -> u64 {
        self.info.begun_ns
    }

    /// `time.monotonic_ns()` after the sender wrote the last byte. 0 from a sender that knows only
    /// the header.
    #[getter]
    fn published_ns(&self) -> u64 {
        self.info.published_ns
    }

    /// Unix time in nanoseconds at which the picture was taken, if the sender knows.
    #[getter]
    fn captured_ns(&self) -> Option<u64> {
        self.info.captured_ns
    }

    /// What the sender added: a dict, bytes if it is no JSON object, None for nothing.
    #[getter]
    fn meta(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let meta = self
            .decoded
            .get_or_try_init(py, || meta::decode(py, &self.meta))?;
        Ok(meta.clone_ref(py))
    }

    /// Whether `array` shows the shared memory itself. Else it is a copy.
    #[getter]
    fn in_place(&self) -> bool {
        self.out.is_none() && self.info.via.is_leased()
    }

    /// How it came over: "leased" (read in place), "leased-read-only" (the same, by a receiver that
    /// may only read the segment), "copied", or "plain" (copied from a sender that knows only the
    /// header).
    #[getter]
    fn via(&self) -> String {
        self.info.via.to_string()
    }

    /// Whether the frame is known to be whole. A sender that knows only the header cannot be proven
    /// to send whole frames.
    #[getter]
    fn is_whole(&self) -> bool {
        self.info.via != Via::Plain
    }

    /// Whether it was published before this receiver came. Then `delay_ns` is its age.
    #[getter]
    fn found(&self) -> bool {
        self.info.found
    }

    /// Whether what was read is the frame: False if another process truncated or overwrote the
    /// segment meanwhile, or made this one lose a lease of a segment that it may only read.
    fn is_intact(&self, py: Python<'_>) -> PyResult<bool> {
        if self.out.is_some() {
            return Ok(true);
        }
        let pixels = self.pixels().map_err(|failure| failure.raised(py))?;
        Ok(pixels.is_intact())
    }

    /// Lets go of the image now, or with the last array that shows it.
    fn release(&self) {
        let pixels = lock(&self.held).take();
        drop(pixels);
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, _args: &Bound<'_, PyTuple>) {
        self.release();
    }

    fn __repr__(&self) -> String {
        let how = if self.in_place() {
            "in place"
        } else {
            "copied"
        };
        format!(
            "<shm_frame.Frame {} of {}: {}, {how}>",
            self.info.number,
            self.name,
            image::describe(self.info.shape)
        )
    }

    #[expect(unsafe_code, reason = "the form of the buffer protocol")]
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter gives a view to fill, and releases it below.
        unsafe { buffer::show_frame(slf, view, flags) }
    }

    #[expect(unsafe_code, reason = "the form of the buffer protocol")]
    #[expect(clippy::unused_self, reason = "the form of the buffer protocol")]
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the interpreter gives the view that was filled above.
        unsafe { buffer::hide_frame(view) };
    }

    #[expect(clippy::unused_self, reason = "the form of the protocol")]
    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a frame is memory of this process: pickle frame.copy(), or receive in the other process",
        ))
    }
}

/// A frame that is not of the shape of the array it is to be copied into.
pub(crate) fn misfit(name: &Name, shape: shm_frame::Shape, target: &Target) -> Failure {
    Failure::invalid(format!(
        "a frame of {name} is {}, out is {}",
        image::describe(shape),
        image::describe(target.shape)
    ))
}
