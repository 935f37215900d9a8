//! Forks of the interpreter, as far as threads of the parent do not exist in the child.
//!
//! Locks and leases are made harmless by the library. What is left here: the child of a fork
//! inherits objects that another thread of its parent was using, and that thread never comes back.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Forks between the process that loaded the module and this one.
pub(crate) fn count() -> u32 {
    // Relaxed: it changes while this process has a single thread.
    FORKS.load(Ordering::Relaxed)
}

/// Counts a fork. The interpreter calls this in the child.
#[pyfunction]
pub(crate) fn _forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Has the interpreter count its forks.
pub(crate) fn watch(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let arguments = PyDict::new(py);
    arguments.set_item("after_in_child", module.getattr("_forked")?)?;
    let os = py.import("os")?;
    os.call_method("register_at_fork", (), Some(&arguments))?;
    Ok(())
}
