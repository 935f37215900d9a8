//! What an image is in Python's terms: a shape of 2 or 3 numbers, a dtype by its name, an order.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use shm_frame::{Channels, Element, Format, Order, Shape, Size};

use crate::error::Failure;

/// numpy's name of an element's type.
pub(crate) const fn dtype(element: Element) -> &'static str {
    match element {
        Element::U8 => "uint8",
        Element::I8 => "int8",
        Element::U16 => "uint16",
        Element::I16 => "int16",
        Element::I32 => "int32",
        Element::F32 => "float32",
        Element::F64 => "float64",
        Element::F16 => "float16",
    }
}

/// The element's code in the format of a buffer: see Python's module `struct`.
pub(crate) const fn code(element: Element) -> &'static CStr {
    match element {
        Element::U8 => c"B",
        Element::I8 => c"b",
        Element::U16 => c"H",
        Element::I16 => c"h",
        Element::I32 => c"i",
        Element::F32 => c"f",
        Element::F64 => c"d",
        Element::F16 => c"e",
    }
}

/// The element that a buffer's format means. `None`: the layout has no such element.
pub(crate) fn element(format: &CStr, bytes: usize) -> Option<Element> {
    let code = match format.to_bytes() {
        [code] | [b'@' | b'=' | b'<', code] => *code,
        _ => return None,
    };
    // `l` has 4 bytes in the sizes that do not depend on the machine.
    let code = if code == b'l' && bytes == 4 {
        b'i'
    } else {
        code
    };
    Element::ALL
        .into_iter()
        .find(|&element| crate::image::code(element).to_bytes() == [code])
        .filter(|element| element.bytes() == bytes)
}

/// All names of dtypes, for messages.
pub(crate) fn dtypes() -> String {
    Element::ALL.map(dtype).join(", ")
}

/// The element that an argument means: a dtype's name, or whatever numpy takes as one.
pub(crate) fn element_of(argument: &Bound<'_, PyAny>) -> PyResult<Element> {
    let known = |name: PyResult<String>| {
        let name = name.ok()?;
        Element::ALL
            .into_iter()
            .find(|&element| dtype(element) == name)
    };
    // Numpy is asked only for what is not a name: it need not be installed.
    let asked = || {
        let numpy = argument.py().import("numpy")?;
        numpy
            .call_method1("dtype", (argument,))?
            .getattr("name")?
            .extract()
    };
    let found = known(argument.extract()).or_else(|| known(asked()));
    found.ok_or_else(|| {
        PyTypeError::new_err(format!(
            "dtype must be {}, not {}",
            dtypes(),
            argument
                .repr()
                .map_or_else(|_| "this".to_owned(), |text| text.to_string())
        ))
    })
}

pub(crate) const fn order_name(order: Order) -> &'static str {
    match order {
        Order::Bgr => "bgr",
        Order::Rgb => "rgb",
    }
}

pub(crate) fn order(name: &str) -> Result<Order, Failure> {
    match name {
        "bgr" => Ok(Order::Bgr),
        "rgb" => Ok(Order::Rgb),
        _ => Err(Failure::invalid(format!(
            "order must be \"bgr\" or \"rgb\", not {name:?}"
        ))),
    }
}

/// The shape of an array of these dimensions.
pub(crate) fn shape(dims: &[usize], element: Element, order: Order) -> Result<Shape, Failure> {
    let (height, width, channels) = match *dims {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => {
            return Err(Failure::invalid(format!(
                "an image has 2 or 3 dimensions, height x width or height x width x channels, not {}",
                dims.len()
            )));
        }
    };
    let Some(count) = Channels::new(channels) else {
        return Err(Failure::invalid(format!(
            "an image has 1 to 4 channels, not {channels}: arrays are height x width x channels"
        )));
    };
    let fit = |n| u32::try_from(n).unwrap_or(u32::MAX);
    let size = Size {
        width: fit(width),
        height: fit(height),
    };
    Shape::new(size, Format::new(element, count).ordered(order))
        .map_err(|error| Failure::sending(&error))
}

/// The dimensions of the array that shows an image: gray ones have two, as OpenCV has them.
pub(crate) fn dims(shape: Shape) -> Vec<usize> {
    let Size { width, height } = shape.size();
    let mut dims = vec![height as usize, width as usize];
    if shape.format().channels() != Channels::One {
        dims.push(shape.format().channels().count());
    }
    dims
}

/// For messages: `480x640x3 uint8`, in the order of an array's shape.
pub(crate) fn describe(shape: Shape) -> String {
    let dims: Vec<_> = dims(shape).iter().map(ToString::to_string).collect();
    let format = shape.format();
    let order = match format.order() {
        Order::Bgr => "",
        Order::Rgb => " rgb",
    };
    format!("{} {}{order}", dims.join("x"), dtype(format.element()))
}
