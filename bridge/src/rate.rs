//! Bits per second.

use std::time::Duration;

/// Bits per second of so many bytes in so much time.
pub(crate) fn bits(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 8_000_000_000 / nanos).unwrap_or(u64::MAX)
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
}
