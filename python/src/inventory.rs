//! What segments there are, in plain values: `shm_frame._inventory` names them.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use shm_frame::Listed;

use crate::error::{Failure, Role};
use crate::image;

/// The segments, as tuples, and how many files could not be read.
#[pyfunction]
pub(crate) fn _list(py: Python<'_>) -> PyResult<(Vec<Bound<'_, PyTuple>>, usize)> {
    let listing = py.detach(shm_frame::list)?;
    let segments: PyResult<_> = listing
        .segments
        .iter()
        .map(|listed| segment(py, listed))
        .collect();
    Ok((segments?, listing.unreadable))
}

fn segment<'py>(py: Python<'py>, listed: &Listed) -> PyResult<Bound<'py, PyTuple>> {
    let shape = listed
        .shape
        .map(|shape| PyTuple::new(py, image::dims(shape)))
        .transpose()?;
    let format = listed.shape.map(|shape| shape.format());
    let control = listed.control.as_ref();
    (
        listed.name.to_string(),
        listed.bytes,
        shape,
        format.map(|format| image::dtype(format.element())),
        format.map(|format| image::order_name(format.order())),
        listed
            .age
            .map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
        control.map(|control| control.alive),
        control.map(|control| control.pid),
        control.and_then(|control| control.command.clone()),
        control.map(|control| control.slots),
        control.and_then(|control| control.fps),
        control.map(|control| control.receivers),
    )
        .into_pyobject(py)
}

/// A segment's name and bytes, and why it could not be removed.
type Removed<'py> = (String, u64, Option<Bound<'py, PyAny>>);

/// Removes what dead senders left.
#[pyfunction]
pub(crate) fn _clean(py: Python<'_>) -> PyResult<Vec<Removed<'_>>> {
    let cleaned = py.detach(shm_frame::clean)?;
    let removed = cleaned.iter().map(|cleaned| {
        let error = cleaned
            .result
            .as_ref()
            .err()
            .map(|error| Failure::of(Role::Cleaner, error).instance(py))
            .transpose()?;
        Ok((cleaned.name.to_string(), cleaned.bytes, error))
    });
    removed.collect()
}
