//! The sender's own bytes of a frame: a dict as JSON by convention.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMapping, PyMemoryView};

/// The bytes of an argument: those of a dict as JSON.
pub(crate) fn encode(meta: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u8>> {
    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Some(meta) = meta else {
        return Ok(Vec::new());
    };
    let py = meta.py();
    if let Ok(bytes) = meta.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if meta.is_instance_of::<PyByteArray>() || meta.is_instance_of::<PyMemoryView>() {
        return meta
            .call_method0("__bytes__")
            .or_else(|_| py.get_type::<PyBytes>().call1((meta,)))?
            .extract();
    }
    if !meta.is_instance_of::<PyDict>() && meta.cast::<PyMapping>().is_err() {
        return Err(PyTypeError::new_err(format!(
            "meta must be a dict, which goes over as JSON, or bytes, not {}",
            meta.get_type().name()?
        )));
    }
    let options = PyDict::new(py);
    options.set_item("separators", (",", ":"))?;
    // Receivers in other languages read it too, and JSON has no NaN.
    options.set_item("allow_nan", false)?;
    let plain = py.get_type::<PyDict>().call1((meta,))?;
    let text = DUMPS
        .import(py, "json", "dumps")?
        .call((plain,), Some(&options))?;
    Ok(text.extract::<String>()?.into_bytes())
}

/// What a frame came with: a dict if it is a JSON object, else bytes, or None for none.
pub(crate) fn decode(py: Python<'_>, meta: &[u8]) -> PyResult<Py<PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if meta.is_empty() {
        return Ok(py.None());
    }
    let bytes = PyBytes::new(py, meta);
    if meta.trim_ascii_start().starts_with(b"{") {
        // Whatever is wrong with it: no JSON, no UTF-8, too deep.
        let loaded = LOADS.import(py, "json", "loads")?.call1((&bytes,));
        if let Ok(dict) = loaded
            && dict.is_instance_of::<PyDict>()
        {
            return Ok(dict.unbind());
        }
    }
    Ok(bytes.into_any().unbind())
}
