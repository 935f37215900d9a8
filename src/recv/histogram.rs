//! A histogram of the delays, as text.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::units::ms;

/// Edges of the bins within a decade, in tenths: coarse for delays that spread widely, fine for
/// others.
const COARSE: &[u64] = &[10, 20, 50];
const MIDDLE: &[u64] = &[10, 15, 20, 30, 50, 70];
pub(crate) const FINE: &[u64] = &[10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82];

/// The most lines of text.
const LINES: usize = 12;
/// The length of the longest bar, in characters.
const COLUMNS: u64 = 40;

/// The number of delays from `from_ns` up to, but not including, `to_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bin {
    pub from_ns: u64,
    pub to_ns: u64,
    pub count: u64,
}

/// The bins from the shortest delay to the longest.
pub(crate) fn bins(delays: &Histogram<u64>, steps: &[u64]) -> Vec<Bin> {
    // Delays are told in us: the first bin ends at 1 us.
    let edges: Vec<u64> = std::iter::once(0)
        .chain((0..10).flat_map(|decade| {
            let tenth = 100 * 10_u64.pow(decade);
            steps.iter().map(move |step| step * tenth)
        }))
        .chain([u64::MAX])
        .collect();
    let mut bins: Vec<_> = edges
        .windows(2)
        .map(|edge| Bin {
            from_ns: edge[0],
            to_ns: edge[1],
            count: 0,
        })
        .collect();
    for step in delays.iter_recorded() {
        let at = edges.partition_point(|&edge| edge <= step.value_iterated_to());
        bins[at - 1].count += step.count_at_value();
    }
    let filled = |bin: &Bin| bin.count > 0;
    let first = bins.iter().position(filled).unwrap_or(0);
    let end = bins.iter().rposition(filled).map_or(0, |last| last + 1);
    bins[first..end].to_vec()
}

/// The histogram as lines of text; empty if there are no delays.
pub(crate) fn text(delays: &Histogram<u64>) -> String {
    let fits = |steps: &&&[u64]| bins(delays, steps).len() <= LINES;
    let steps = [FINE, MIDDLE]
        .iter()
        .find(fits)
        .map_or(COARSE, |&steps| steps);
    let bins = bins(delays, steps);
    let Some(most) = bins.iter().map(|bin| bin.count).max() else {
        return String::new();
    };
    let digits = most.to_string().len();
    let mut text = format!(
        "delay in ms{:>width$}",
        "frames",
        width = 12 + digits.saturating_sub(6)
    );
    for bin in bins {
        // Rounded up, so that a single delay is visible.
        let bar = (bin.count * COLUMNS).div_ceil(most);
        let bar = "#".repeat(usize::try_from(bar).expect("at most COLUMNS"));
        let (from, to) = (edge(bin.from_ns), edge(bin.to_ns));
        let count = bin.count;
        let _ = write!(text, "\n{from:>7} to {to:<7} {count:>digits$}  {bar}");
    }
    text
}

/// An edge of a bin in ms, as text.
pub(crate) fn edge(ns: u64) -> String {
    let Some(ns) = i64::try_from(ns).ok() else {
        return "longer".to_owned();
    };
    ms(ns).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(us: &[u64]) -> Histogram<u64> {
        let mut delays = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap();
        for us in us {
            delays.record(us * 1000).unwrap();
        }
        delays
    }

    #[test]
    fn every_delay_is_in_a_bin_and_the_fullest_bin_has_the_longest_bar() {
        for us in [
            &[120, 130, 140, 900][..],
            &[1, 1_000_000],
            &[5],
            &[0, 3_000_000_000],
        ] {
            let delays = delays(us);
            for steps in [FINE, MIDDLE, COARSE] {
                let count: u64 = bins(&delays, steps).iter().map(|bin| bin.count).sum();
                assert_eq!(count, us.len() as u64);
            }
            let text = text(&delays);
            assert!(
                text.contains(&"#".repeat(40)) && !text.contains(&"#".repeat(41)),
                "{text}"
            );
        }
        assert_eq!(text(&delays(&[])), "");
    }

    #[test]
    fn a_bin_begins_at_the_delay_on_its_label() {
        let text = text(&delays(&[120, 130, 149, 151]));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        let words: Vec<Vec<_>> = lines[1..]
            .iter()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(words[0][..4], ["0.12", "to", "0.15", "3"], "{text}");
        assert_eq!(words[1][..4], ["0.15", "to", "0.18", "1"], "{text}");
    }
}
