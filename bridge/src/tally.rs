//! Numbers as people read them; how many times spread, in bounded memory; frames per second.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer times count as this long.
const HOUR_NS: u64 = 3_600_000_000_000;

/// How many times in ns spread. Three significant digits are kept; the extremes are exact.
#[derive(Debug)]
pub(crate) struct Spread {
    times: Histogram<u64>,
    extremes: Option<(i64, i64)>,
}

/// How many times of one kind spread, in ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantiles {
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
    pub(crate) fn new() -> Self {
        let times = Histogram::new_with_bounds(1, HOUR_NS, 3).expect("bounds in its range");
        Self {
            times,
            extremes: None,
        }
    }

    /// Adds a time. It may be negative, by as much as the clocks are not known.
    pub(crate) fn add(&mut self, ns: i64) {
        self.times.saturating_record(ns.max(0).unsigned_abs());
        let (min, max) = self.extremes.unwrap_or((ns, ns));
        self.extremes = Some((min.min(ns), max.max(ns)));
    }

    /// `None` if nothing was added.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
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

/// Events per second, lately.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    count: u64,
    /// The result of the last count.
    rate: Option<f64>,
}

impl Pace {
    /// How long one count takes.
    const SPAN: Duration = Duration::from_millis(500);

    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            rate: None,
        }
    }

    pub(crate) fn add(&mut self) {
        self.count += 1;
        let elapsed = self.since.elapsed();
        if elapsed >= Self::SPAN {
            self.rate = Some(rate(self.count, elapsed));
            self.since = Instant::now();
            self.count = 0;
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        let elapsed = self.since.elapsed();
        match self.rate {
            Some(rate) if elapsed < 2 * Self::SPAN => rate,
            // During the first count, and after a long pause.
            _ => rate(self.count, elapsed),
        }
    }
}

/// A count per second; 0 if no time passed.
#[expect(clippy::cast_precision_loss, reason = "2^53 of anything are enough")]
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}

/// Bits per second of so many bytes in so much time.
pub(crate) fn bits(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 8_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// A number with its noun: `1 frame`, `2 frames`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Bits per second for people: `1.49 Gbit/s`.
#[expect(clippy::cast_precision_loss, reason = "for people, with three digits")]
pub(crate) fn bit_rate(bits: u64) -> String {
    let bits = bits as f64;
    let (value, unit) = if bits >= 1e9 {
        (bits / 1e9, "Gbit/s")
    } else if bits >= 1e6 {
        (bits / 1e6, "Mbit/s")
    } else {
        (bits / 1e3, "kbit/s")
    };
    let decimals = match value {
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

/// Rounded to three decimals.
pub(crate) fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// Milliseconds of a time in ns, rounded to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "2^53 us are 285 years")]
pub(crate) fn ms(ns: i64) -> f64 {
    let us = ns.div_euclid(1000) + i64::from(ns.rem_euclid(1000) >= 500);
    us as f64 / 1000.0
}

/// The same of a duration.
pub(crate) fn duration_ms(time: Duration) -> f64 {
    ms(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits_and_their_unit() {
        for (bits, text) in [
            (1_492_992_000, "1.49 Gbit/s"),
            (372_326_400, "372 Mbit/s"),
            (62_054_400, "62.1 Mbit/s"),
            (9_500, "9.50 kbit/s"),
        ] {
            assert_eq!(bit_rate(bits), text);
        }
        assert_eq!(
            bits(1920 * 1080 * 3 * 30, Duration::from_secs(1)),
            1_492_992_000
        );
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
