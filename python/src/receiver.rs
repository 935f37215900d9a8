//! Taking frames out of a segment.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shm_frame::{End, Name, WaitMode};

use crate::buffer::Target;
use crate::error::{Class, Failure};
use crate::frame::Frame;
use crate::source::{Options, SLICE, Source, Step};
use crate::turn::{Asked, Turns};

/// Takes the newest frame out of a segment, each receiver at its own pace.
///
/// It follows its name: sender and receiver may start in any order, and each may be restarted. With
/// `follow=False` it takes frames from the segment that is there now, until that ends.
#[pyclass(frozen, module = "shm_frame")]
#[derive(Debug)]
pub(crate) struct Receiver {
    options: Options,
    turns: Turns,
}

/// What a receiver has to give.
#[expect(
    clippy::large_enum_variant,
    reason = "a frame on its way to Python, nearly always"
)]
enum Next {
    Frame(Frame),
    Ended(End),
    Closed,
    Timeout(Option<Failure>),
}

impl Receiver {
    fn next(
        &self,
        py: Python<'_>,
        timeout: Option<Duration>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Next> {
        let raised = |failure: Failure| failure.raised(py);
        let mut target = out.map(Target::new).transpose()?;
        let Options { copy, follow, .. } = self.options;
        let anew = || py.detach(|| Source::open(&self.options)).map_err(raised);
        // Only a wait needs the clock.
        let deadline = LazyCell::new(|| timeout.and_then(|time| Instant::now().checked_add(time)));
        let mut attached = true;
        loop {
            let mut turn = match self.turns.take(py, &deadline, anew)? {
                Asked::Turn(turn) => turn,
                Asked::Timeout => return Ok(Next::Timeout(None)),
                Asked::Closed => return Ok(Next::Closed),
            };
            let source = turn.source();
            // The first look lets no other thread run: on a busy interpreter it would take 5 ms to
            // come back.
            let step = if attached && source.is_attached() {
                source.step(Duration::ZERO, copy, target.as_mut(), Some(py))
            } else {
                let left = deadline.map_or(SLICE, |deadline| {
                    deadline
                        .saturating_duration_since(Instant::now())
                        .min(SLICE)
                });
                py.detach(|| source.step(left, copy, target.as_mut(), None))
            };
            let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            match step.map_err(raised)? {
                Step::Taken(taken) => {
                    let frame = Frame::new(
                        Arc::clone(&self.options.name),
                        taken.info,
                        taken.pixels,
                        out.map(|out| out.clone().unbind()),
                        taken.meta,
                    );
                    return Ok(Next::Frame(frame));
                }
                Step::Ended(end) if !follow => return Ok(Next::Ended(end)),
                Step::Ended(_) | Step::Nothing if late() => {
                    return Ok(Next::Timeout(source.missing().cloned()));
                }
                Step::Ended(_) | Step::Nothing => {}
            }
            // A handler of a signal may use or close this receiver.
            drop(turn);
            if !attached {
                py.check_signals()?;
            }
            attached = false;
        }
    }

    fn is_closed(&self) -> Failure {
        let text = format!("the receiver of segment {} is closed", self.options.name);
        Failure::new(Class::Closed, text)
    }
}

#[pymethods]
impl Receiver {
    #[new]
    #[pyo3(signature = (name, *, wait_mode="sleep", follow=true, copy=false, read_only=false))]
    fn new(
        py: Python<'_>,
        name: &str,
        wait_mode: &str,
        follow: bool,
        copy: bool,
        read_only: bool,
    ) -> PyResult<Self> {
        let raised = |failure: Failure| failure.raised(py);
        let mode = match wait_mode {
            "sleep" => WaitMode::Sleep,
            "predict" => WaitMode::Predict,
            "spin" => WaitMode::Spin,
            _ => {
                return Err(raised(Failure::invalid(format!(
                    "wait_mode must be \"sleep\", \"predict\" or \"spin\", not {wait_mode:?}"
                ))));
            }
        };
        let name = Name::new(name).map_err(|error| raised(Failure::receiving(&error)))?;
        let options = Options {
            name: Arc::new(name),
            mode,
            follow,
            copy,
            read_only,
        };
        let source = py.detach(|| Source::open(&options)).map_err(raised)?;
        Ok(Self {
            options,
            turns: Turns::new(source),
        })
    }

    /// Waits for a frame newer than the last one: for so many seconds at most, without `timeout`
    /// for as long as it takes.
    ///
    /// `out`: an array of the frame's shape and dtype to copy it into, which `frame.array` then is.
    #[pyo3(signature = (timeout=None, *, out=None))]
    fn receive(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        out: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Frame> {
        let time = duration(timeout).map_err(|failure| failure.raised(py))?;
        let failure = match self.next(py, time, out)? {
            Next::Frame(frame) => return Ok(frame),
            Next::Ended(end) => Failure::receiving(&shm_frame::Error::Ended {
                name: (*self.options.name).clone(),
                end,
            }),
            Next::Closed => self.is_closed(),
            Next::Timeout(missing) => {
                let (name, seconds) = (&self.options.name, timeout.unwrap_or_default());
                let why = missing.map_or_else(String::new, |missing| format!(": {missing}"));
                let text = format!("no new frame from {name} in {seconds} s{why}");
                Failure::new(Class::TimedOut, text)
            }
        };
        Err(failure.raised(py))
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// The next frame. The loop ends when this receiver is closed, and with `follow=False` when the
    /// segment ends.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Frame>> {
        match self.next(py, None, None)? {
            Next::Frame(frame) => Ok(Some(frame)),
            Next::Ended(_) | Next::Closed | Next::Timeout(_) => Ok(None),
        }
    }

    /// The segment's name.
    #[getter]
    fn name(&self) -> String {
        self.options.name.to_string()
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.turns.is_closed()
    }

    /// Ends a wait in any thread, and lets go of the segment. Frames that were received stay.
    fn close(&self, py: Python<'_>) {
        self.turns.close(py);
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) {
        self.turns.close(py);
    }

    fn __repr__(&self) -> String {
        let closed = if self.turns.is_closed() {
            ", closed"
        } else {
            ""
        };
        format!("<shm_frame.Receiver of {}{closed}>", self.options.name)
    }

    /// For pickle: another process opens the name anew.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((String,), Bound<'py, PyDict>)> {
        let options = PyDict::new(py);
        let mode = match self.options.mode {
            WaitMode::Predict => "predict",
            WaitMode::Spin => "spin",
            _ => "sleep",
        };
        options.set_item("wait_mode", mode)?;
        options.set_item("follow", self.options.follow)?;
        options.set_item("copy", self.options.copy)?;
        options.set_item("read_only", self.options.read_only)?;
        Ok(((self.options.name.to_string(),), options))
    }
}

/// How long a wait of so many seconds is. None: it has no end.
fn duration(timeout: Option<f64>) -> Result<Option<Duration>, Failure> {
    match timeout {
        None | Some(f64::INFINITY) => Ok(None),
        Some(seconds) => {
            let timeout = Duration::try_from_secs_f64(seconds).map_err(|_| {
                Failure::invalid(format!(
                    "timeout must be a number of seconds from 0 on, or None, not {seconds}"
                ))
            })?;
            Ok(Some(timeout))
        }
    }
}
