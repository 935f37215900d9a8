//! Publishing frames, and slots on loan.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, TryLockError};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyTuple, PyWeakrefMethods, PyWeakrefReference};
use shm_frame::{Error, Extras, LoanMemory, Name, OwnedLoan, SenderOptions, Sent, Shape};

use crate::buffer::{self, Dims, Picture, as_array};
use crate::error::{Class, Failure};
use crate::{DETACH_FROM, forks, image, lock, meta};

/// The one process that writes a segment. Publishing never waits for a receiver.
#[pyclass(frozen, module = "shm_frame")]
#[derive(Debug)]
pub(crate) struct Sender {
    name: Name,
    /// Forks before it was made: it belongs to that process.
    forks: u32,
    state: Mutex<Sending>,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each sender, and it is idle most of the time"
)]
enum Sending {
    Idle(shm_frame::Sender),
    /// A loan has the sender.
    Lent,
    /// Closed. A loan that is still open has the sender, and ends it.
    Closed,
}

impl Sender {
    fn must_be_ours(&self) -> Result<(), Failure> {
        if self.forks == forks::count() {
            Ok(())
        } else {
            Err(Failure::forked("sender", &self.name))
        }
    }

    /// Does something with the sender: detached from the interpreter if it takes long, or if
    /// another thread has the sender.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        detach: bool,
        act: impl FnOnce(&mut shm_frame::Sender) -> Result<T, Error> + Send,
    ) -> Result<T, Failure> {
        self.must_be_ours()?;
        let act = |mut state: MutexGuard<'_, Sending>| match &mut *state {
            Sending::Idle(sender) => act(sender).map_err(|error| Failure::sending(&error)),
            Sending::Lent => Err(self.is_lent()),
            Sending::Closed => Err(self.is_closed()),
        };
        if !detach {
            match self.state.try_lock() {
                Ok(state) => return act(state),
                Err(TryLockError::Poisoned(state)) => return act(state.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        py.detach(|| act(lock(&self.state)))
    }

    fn is_lent(&self) -> Failure {
        let text = format!(
            "the sender of segment {} has a loan open: leave its with block first",
            self.name
        );
        Failure::new(Class::LoanOpen, text)
    }

    fn is_closed(&self) -> Failure {
        let text = format!("the sender of segment {} is closed", self.name);
        Failure::new(Class::Closed, text)
    }

    /// Takes a sender back from its loan.
    fn take_back(&self, sender: shm_frame::Sender) {
        let mut state = lock(&self.state);
        if matches!(*state, Sending::Lent) {
            *state = Sending::Idle(sender);
        }
    }
}

#[pymethods]
impl Sender {
    #[new]
    #[pyo3(signature = (name, *, capacity=None, slots=4, mode=0o600, replace=false))]
    fn new(
        py: Python<'_>,
        name: &str,
        capacity: Option<usize>,
        slots: usize,
        mode: u32,
        replace: bool,
    ) -> PyResult<Self> {
        let raised = |error: Error| Failure::sending(&error).raised(py);
        let name = Name::new(name).map_err(raised)?;
        let mut options = SenderOptions::new()
            .slots(slots)
            .mode(mode)
            .replace(replace);
        if let Some(capacity) = capacity {
            options = options.capacity(capacity);
        }
        let sender = py
            .detach(|| shm_frame::Sender::create(&name, &options))
            .map_err(raised)?;
        Ok(Self {
            name,
            forks: forks::count(),
            state: Mutex::new(Sending::Idle(sender)),
        })
    }

    /// Copies an image into the segment, once, and publishes it. Returns the frame's number.
    ///
    /// `image`: an array of height x width or height x width x channels, or a part of one.
    /// `captured_ns`: Unix time in ns at which the picture was taken. `meta`: a dict, which goes
    /// over as JSON, or bytes.
    #[pyo3(signature = (image, *, order="bgr", captured_ns=None, meta=None))]
    fn publish(
        &self,
        py: Python<'_>,
        image: &Bound<'_, PyAny>,
        order: &str,
        captured_ns: Option<u64>,
        meta: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let raised = |failure: Failure| failure.raised(py);
        let picture = Picture::new(image, image::order(order).map_err(raised)?)?;
        let meta = meta::encode(meta)?;
        let extras = Extras::new()
            .captured_ns(captured_ns.unwrap_or(0))
            .meta(&meta);
        let detach = picture.shape.bytes() >= DETACH_FROM;
        let sent = self
            .with(py, detach, |sender| publish(sender, &picture, extras))
            .map_err(raised)?;
        Ok(sent.number)
    }

    /// Lends memory to draw, decode or capture into: `with sender.loan(480, 640, 3) as image: ...`
    ///
    /// It is published at the end of the block, and given up on an exception. `meta_room`: bytes to
    /// keep free for a `meta` that is set within the block.
    #[pyo3(signature = (
        height, width, channels=1, dtype=None, *,
        order="bgr", captured_ns=None, meta=None, meta_room=0
    ))]
    #[expect(clippy::too_many_arguments, reason = "most are keywords with defaults")]
    fn loan(
        slf: &Bound<'_, Self>,
        height: usize,
        width: usize,
        channels: usize,
        dtype: Option<&Bound<'_, PyAny>>,
        order: &str,
        captured_ns: Option<u64>,
        meta: Option<&Bound<'_, PyAny>>,
        meta_room: usize,
    ) -> PyResult<Loan> {
        let raised = |failure: Failure| failure.raised(slf.py());
        let element = dtype.map_or(Ok(shm_frame::Element::U8), image::element_of)?;
        let order = image::order(order).map_err(raised)?;
        let shape = image::shape(&[height, width, channels], element, order).map_err(raised)?;
        Ok(Loan {
            sender: slf.clone().unbind(),
            shape,
            dims: Dims::new(shape),
            captured_ns: captured_ns.unwrap_or(0),
            meta: meta::encode(meta)?,
            meta_room,
            state: Mutex::default(),
        })
    }

    /// Looks after the segment. Each publication does it; call this in between if you publish less
    /// than ten times a second.
    fn tend(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, false, shm_frame::Sender::tend)
            .map_err(|failure| failure.raised(py))
    }

    /// The segment's name.
    #[getter]
    fn name(&self) -> String {
        self.name.to_string()
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.must_be_ours().is_err() || matches!(*lock(&self.state), Sending::Closed)
    }

    /// Tells the receivers, and removes the segment. Does nothing in a child of a fork.
    fn close(&self, py: Python<'_>) {
        if self.must_be_ours().is_err() {
            return;
        }
        py.detach(|| {
            let state = std::mem::replace(&mut *lock(&self.state), Sending::Closed);
            drop(state);
        });
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    fn __repr__(&self) -> String {
        format!("<shm_frame.Sender of {}>", self.name)
    }

    #[expect(clippy::unused_self, reason = "the form of the protocol")]
    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a sender belongs to one process: make it in the process that sends",
        ))
    }
}

fn publish(
    sender: &mut shm_frame::Sender,
    picture: &Picture,
    extras: Extras<'_>,
) -> Result<Sent, Error> {
    if let Some(pixels) = picture.bytes() {
        return sender.publish_with(picture.shape, pixels, extras);
    }
    sender.publish_filled(picture.shape, extras, |pixels| picture.copy(pixels))
}

/// Memory on loan from a sender, for one `with` block. After it, the array is read-only.
#[pyclass(frozen, module = "shm_frame")]
#[derive(Debug)]
pub(crate) struct Loan {
    sender: Py<Sender>,
    shape: Shape,
    pub(crate) dims: Dims,
    captured_ns: u64,
    meta: Vec<u8>,
    meta_room: usize,
    state: Mutex<Lending>,
}

#[derive(Debug, Default)]
#[expect(clippy::large_enum_variant, reason = "open for nearly all of its life")]
enum Lending {
    #[default]
    Before,
    Open {
        loan: OwnedLoan,
        /// The array that the block has. It keeps this loan alive, not the other way round.
        array: Option<Py<PyWeakrefReference>>,
    },
    After {
        /// Of the frame, if it was published.
        number: Option<u64>,
        /// Views may outlive the block.
        _memory: LoanMemory,
    },
}

impl Loan {
    /// Where the pixels are, while the block runs.
    pub(crate) fn start(&self) -> Result<*mut u8, Failure> {
        match &mut *lock(&self.state) {
            Lending::Open { loan, .. } => Ok(loan.pixels().as_mut_ptr()),
            Lending::Before => Err(self.not_open("has not begun")),
            Lending::After { .. } => Err(self.not_open("is over")),
        }
    }

    fn not_open(&self, how: &str) -> Failure {
        let text = format!("this loan of segment {} {how}", self.sender.get().name);
        Failure::new(Class::Closed, text)
    }

    /// Takes the slot, and the sender with it.
    fn open(&self) -> Result<(), Failure> {
        let sender = self.sender.get();
        sender.must_be_ours()?;
        let mut state = lock(&self.state);
        if !matches!(*state, Lending::Before) {
            return Err(self.not_open("had its block"));
        }
        let mut sending = lock(&sender.state);
        let idle = match std::mem::replace(&mut *sending, Sending::Lent) {
            Sending::Idle(idle) => idle,
            Sending::Lent => return Err(sender.is_lent()),
            Sending::Closed => {
                *sending = Sending::Closed;
                return Err(sender.is_closed());
            }
        };
        let room = self.meta.len().max(self.meta_room);
        let failed = match idle.into_loan(self.shape, room) {
            Ok(mut loan) => {
                loan.set_captured_ns(self.captured_ns);
                match loan.set_meta(&self.meta) {
                    Ok(()) => {
                        *state = Lending::Open { loan, array: None };
                        return Ok(());
                    }
                    Err(error) => (loan.discard(), error),
                }
            }
            Err(failed) => failed,
        };
        let (idle, error) = failed;
        *sending = Sending::Idle(idle);
        Err(Failure::sending(&error))
    }

    /// Ends the loan.
    fn end(&self, publish: bool) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        let loan = match std::mem::take(&mut *state) {
            Lending::Open { loan, .. } => loan,
            other => {
                *state = other;
                return Err(self.not_open("is over"));
            }
        };
        let memory = loan.memory();
        let (sender, sent) = if publish {
            let (sender, sent) = loan.publish();
            (sender, sent.map(|sent| Some(sent.number)))
        } else {
            (loan.discard(), Ok(None))
        };
        self.sender.get().take_back(sender);
        *state = Lending::After {
            number: sent.as_ref().ok().copied().flatten(),
            _memory: memory,
        };
        sent.map(drop).map_err(|error| Failure::sending(&error))
    }

    fn with_open(
        &self,
        act: impl FnOnce(&mut OwnedLoan) -> Result<(), Error>,
    ) -> Result<(), Failure> {
        match &mut *lock(&self.state) {
            Lending::Open { loan, .. } => act(loan).map_err(|error| Failure::sending(&error)),
            Lending::Before => Err(self.not_open("has not begun")),
            Lending::After { .. } => Err(self.not_open("is over")),
        }
    }
}

#[pymethods]
impl Loan {
    /// The memory as a writable numpy array; without numpy, as a memoryview. It holds what was
    /// there before.
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        this.open().map_err(|failure| failure.raised(py))?;
        let array = if py.import("numpy").is_ok() {
            as_array(slf.as_any())
        } else {
            PyMemoryView::from(slf.as_any()).map(Bound::into_any)
        };
        match array {
            Ok(array) => {
                if let Lending::Open { array: kept, .. } = &mut *lock(&this.state) {
                    *kept = Some(PyWeakrefReference::new(&array)?.unbind());
                }
                Ok(array)
            }
            Err(error) => {
                this.end(false).map_err(|failure| failure.raised(py))?;
                Err(error)
            }
        }
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let array = match &*lock(&self.state) {
            Lending::Open { array, .. } => {
                array.as_ref().and_then(|array| array.bind(py).upgrade())
            }
            _ => None,
        };
        // Before receivers can see the frame: a late write must raise.
        if let Some(array) = array {
            end_writes(&array)?;
        }
        self.end(kind.is_none())
            .map_err(|failure| failure.raised(py))?;
        Ok(())
    }

    /// The frame's number, once it is published.
    #[getter]
    fn number(&self) -> Option<u64> {
        match &*lock(&self.state) {
            Lending::After { number, .. } => *number,
            _ => None,
        }
    }

    /// Says within the block when the picture was taken: Unix time in ns, 0 for not known.
    fn set_captured_ns(&self, py: Python<'_>, captured_ns: u64) -> PyResult<()> {
        self.with_open(|loan| {
            loan.set_captured_ns(captured_ns);
            Ok(())
        })
        .map_err(|failure| failure.raised(py))
    }

    /// Adds a dict, which goes over as JSON, or bytes, within the block. They need room: see
    /// `meta_room` of `Sender.loan`.
    fn set_meta(&self, meta: &Bound<'_, PyAny>) -> PyResult<()> {
        let bytes = meta::encode(Some(meta))?;
        self.with_open(|loan| loan.set_meta(&bytes))
            .map_err(|failure| failure.raised(meta.py()))
    }

    #[expect(unsafe_code, reason = "the form of the buffer protocol")]
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter gives a view to fill.
        unsafe { buffer::show_loan(slf, view, flags) }
    }

    fn __repr__(&self) -> String {
        format!(
            "<shm_frame.Loan of {}: {}>",
            self.sender.get().name,
            image::describe(self.shape)
        )
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // A block that never came to its end, such as that of a generator that nobody finished.
        let state = self
            .state
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Lending::Open { loan, .. } = std::mem::take(state) {
            self.sender.get().take_back(loan.discard());
        }
    }
}

/// Makes the array of a block read-only, or the memoryview useless.
fn end_writes(array: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(view) = array.cast::<PyMemoryView>() {
        // It fails while views of the view exist, which then stay writable, as parts of an array
        // do.
        let _ = view.call_method0("release");
        return Ok(());
    }
    let arguments = PyDict::new(array.py());
    arguments.set_item("write", false)?;
    array.call_method("setflags", (), Some(&arguments))?;
    Ok(())
}
