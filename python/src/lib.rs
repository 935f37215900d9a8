//! `shm_frame._native`: senders and receivers for Python.
//!
//! A thin face of the crate `shm_frame`. Frames and loans are handed over by the buffer protocol,
//! so neither numpy nor its ABI is needed to build or to load this module. No call waits while it
//! is attached to the interpreter.

mod buffer;
mod error;
mod forks;
mod frame;
mod image;
mod inventory;
mod meta;
mod receiver;
mod sender;
mod source;
mod turn;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// Copies of fewer bytes are done without letting other threads run.
const DETACH_FROM: usize = 1 << 18;

/// The state behind a mutex. A panic cannot leave one half changed here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a copy of so many bytes, detached from the interpreter if that is worth its price.
fn detached<T: Send>(
    attached: Option<Python<'_>>,
    bytes: usize,
    copy: impl FnOnce() -> T + Send,
) -> T {
    match attached {
        Some(py) if bytes >= DETACH_FROM => py.detach(copy),
        _ => copy(),
    }
}

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::forks::_forked;
    #[pymodule_export]
    use crate::frame::Frame;
    #[pymodule_export]
    use crate::inventory::{_clean, _list};
    #[pymodule_export]
    use crate::receiver::Receiver;
    #[pymodule_export]
    use crate::sender::{Loan, Sender};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::forks::watch(module)
    }
}
