//! Values of flags that both commands have.

/// The value of `--channels`: 1 gray, 3 BGR, 4 BGRA.
pub(crate) fn channels(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(channels @ (1 | 3 | 4)) => Ok(channels),
        _ => Err("not 1, 3 or 4".to_owned()),
    }
}
