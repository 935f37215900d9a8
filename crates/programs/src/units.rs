//! Numbers as people read them, and how many times spread, in bounded memory.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer times count as this long.
const HOUR_NS: u64 = 3_600_000_000_000;

/// How many times in ns spread. Three significant digits are kept; the extremes are exact.
#[derive(Debug)]
pub struct Spread {
    /// All of them; what was negative as 0.
    pub times: Histogram<u64>,
    extremes: Option<(i64, i64)>,
}

/// How many times of one kind spread, in ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    /// The shortest.
    pub min: f64,
    /// Half are not longer.
    pub p50: f64,
    /// 99 of 100 are not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, p50, p99, max } = self;
        write!(
            f,
            "min {min:.3}, p50 {p50:.3}, p99 {p99:.3}, max {max:.3} ms"
        )
    }
}

impl Spread {
    /// Of no times yet.
    #[expect(
        clippy::missing_panics_doc,
        clippy::new_without_default,
        reason = "the bounds are in its range; it takes memory"
    )]
    pub fn new() -> Self {
        let times = Histogram::new_with_bounds(1, HOUR_NS, 3).expect("bounds in its range");
        Self {
            times,
            extremes: None,
        }
    }

    /// Adds a time. It may be negative: the wall clock can be set back.
    pub fn add(&mut self, ns: i64) {
        self.times.saturating_record(ns.max(0).unsigned_abs());
        let (min, max) = self.extremes.unwrap_or((ns, ns));
        self.extremes = Some((min.min(ns), max.max(ns)));
    }

    /// `None` if nothing was added.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let (min, max) = self.extremes?;
        let quantile = |q| {
            let ns = i64::try_from(self.times.value_at_quantile(q)).unwrap_or(i64::MAX);
            // A bucket's value may lie outside the times that were added to the bucket.
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

/// Frames per second, lately.
#[derive(Debug, Default)]
pub struct Pace {
    /// Since when frames are counted, and how many came after that.
    counted: Option<(Instant, u64)>,
    /// The result of the last count.
    fps: Option<f64>,
}

impl Pace {
    /// How long one count takes.
    const SPAN: Duration = Duration::from_millis(500);

    /// Counts a frame that came now.
    pub fn add(&mut self, now: Instant) {
        let (since, frames) = self.counted.map_or((now, 0), |(since, n)| (since, n + 1));
        let elapsed = now - since;
        self.counted = if elapsed < Self::SPAN {
            Some((since, frames))
        } else {
            self.fps = Some(rate(frames, elapsed.as_secs_f64()));
            Some((now, 0))
        };
    }

    /// Frames per second; 0 before the first.
    pub fn fps(&self) -> f64 {
        let Some((since, frames)) = self.counted else {
            return 0.0;
        };
        let elapsed = since.elapsed();
        match self.fps {
            Some(fps) if elapsed < 2 * Self::SPAN => fps,
            // During the first count, and after a long pause.
            _ => rate(frames, elapsed.as_secs_f64()),
        }
    }
}

/// A number with its noun: `1 frame`, `2 frames`.
pub fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A count per second; 0 if no time passed.
#[expect(clippy::cast_precision_loss, reason = "2^53 frames are enough")]
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// Rounded to three decimals.
pub fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// Milliseconds of a time in ns, rounded to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "2^53 us are 285 years")]
pub fn ms(ns: i64) -> f64 {
    let us = ns.div_euclid(1000) + i64::from(ns.rem_euclid(1000) >= 500);
    us as f64 / 1000.0
}

/// The same of a duration.
pub fn duration_ms(time: Duration) -> f64 {
    ms(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// Unix time in ms, of a time in ns.
#[expect(clippy::cast_precision_loss, reason = "to the microsecond until 2255")]
pub fn unix_ms(ns: u64) -> f64 {
    (ns / 1000) as f64 / 1000.0
}

/// Megabytes (10^6) of a size in bytes, for people.
#[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_plural() {
        assert_eq!(counted(0, "frame"), "0 frames");
        assert_eq!(counted(1, "frame"), "1 frame");
        assert_eq!(counted(2, "slot"), "2 slots");
    }

    #[test]
    fn quantiles_lie_between_the_extremes_which_are_exact() {
        let mut spread = Spread::new();
        assert!(spread.quantiles().is_none());
        for ns in [-1_500_000, 1_234_567, 9_999_999] {
            spread.add(ns);
        }
        let Quantiles { min, p50, p99, max } = spread.quantiles().unwrap();
        assert_eq!((min, max), (-1.5, 10.0));
        assert!((1.23..=1.24).contains(&p50), "{p50}");
        assert!((9.99..=10.0).contains(&p99), "{p99}");
    }
}
