//! Values of flags that both commands have.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// The value of `--channels`: 1 gray, 3 BGR, 4 BGRA.
pub(crate) fn channels() -> impl TypedValueParser<Value = u8> {
    PossibleValuesParser::new(["1", "3", "4"]).try_map(|text| text.parse::<u8>())
}

/// A number of seconds, 0 or more.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "not a number of seconds".to_owned())
}
