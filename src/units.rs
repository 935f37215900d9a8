//! How a time spreads over many frames, in bounded memory.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told from longer ones.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Times in ns, with three significant digits but for the extremes, which are exact.
#[derive(Debug)]
pub(crate) struct Spread {
    pub times: Histogram<u64>,
    extremes: Option<(i64, i64)>,
}

/// What is told of a [`Spread`], in ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
    pub min: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Spread {
    pub(crate) fn new() -> Self {
        let times = Histogram::new_with_bounds(1, HOUR_NS, 3).expect("bounds in its range");
        Self {
            times,
            extremes: None,
        }
    }

    pub(crate) fn add(&mut self, ns: i64) {
        // Negative if the wall clock was set back.
        self.times.saturating_record(ns.max(0).unsigned_abs());
        let (min, max) = self.extremes.unwrap_or((ns, ns));
        self.extremes = Some((min.min(ns), max.max(ns)));
    }

    /// `None` if nothing was added.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let (min, max) = self.extremes?;
        let quantile = |q| {
            let ns = i64::try_from(self.times.value_at_quantile(q)).unwrap_or(i64::MAX);
            // A bucket's value may lie beyond what was added to it.
            ms(ns.clamp(min, max))
        };
        Some(Quantiles {
            min: ms(min),
            p50: quantile(0.50),
            p99: quantile(0.99),
            max: ms(max),
        })
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, p50, p99, max } = self;
        write!(
            f,
            "min {min:.3}, p50 {p50:.3}, p99 {p99:.3}, max {max:.3} ms"
        )
    }
}

/// How many a second, 0 if no time passed.
#[expect(clippy::cast_precision_loss, reason = "2^53 frames are enough")]
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// To the third decimal.
pub(crate) fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// Milliseconds, to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "2^53 us are 285 years")]
pub(crate) fn ms(ns: i64) -> f64 {
    let us = ns.div_euclid(1000) + i64::from(ns.rem_euclid(1000) >= 500);
    us as f64 / 1000.0
}
