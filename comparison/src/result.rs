//! What came out of the repeats, in numbers that people compare.

use serde::Serialize;

use crate::contender::Group;
use crate::measure::Measured;
use crate::scenario::{Case, Metric, Scenario};
use crate::spec::Mode;

/// A scenario's table.
#[derive(Debug, Serialize)]
pub struct Table {
    pub id: String,
    pub title: String,
    pub metric: Metric,
    pub rows: Vec<Row>,
}

/// One contender in it.
#[derive(Debug, Serialize)]
pub struct Row {
    pub label: String,
    pub group: Group,
    pub repeats: Vec<Repeat>,
    /// What went wrong in the others.
    pub failures: Vec<String>,
}

/// One measurement. Times in us, at the median unless said otherwise; absent where there is none.
#[derive(Debug, Default, Serialize)]
pub struct Repeat {
    /// Which one it is, from 0: those of other rows with the same number were measured in the same
    /// round.
    pub round: u32,
    pub arrival: Option<f64>,
    pub arrival_p99: Option<f64>,
    pub consumed: Option<f64>,
    pub publishing: Option<f64>,
    /// Whole frames a second.
    pub rate: f64,
    /// Of both sides, for each frame that arrived whole.
    pub cpu: Option<f64>,
    /// Of a receiver, in percent of a core.
    pub receiver_cpu: Option<f64>,
    pub torn: u64,
    pub disorder: u64,
}

impl Table {
    pub fn new(scenario: &Scenario) -> Self {
        let row = |case: &Case| Row {
            label: case.label.clone(),
            group: case.contender.group,
            repeats: vec![],
            failures: vec![],
        };
        Self {
            id: scenario.id.clone(),
            title: scenario.title.clone(),
            metric: scenario.metric,
            rows: scenario.cases.iter().map(row).collect(),
        }
    }

    /// The row that peers are compared with: our first.
    pub fn ours(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.group == Group::Ours)
    }

    /// The best of the rows of a group, that has any value.
    pub fn best(&self, group: Group) -> Option<&Row> {
        let rows = self.rows.iter().filter(|row| row.group == group);
        let valued = rows.filter_map(|row| Some((row, row.median(self.metric)?)));
        let better = |a: &f64, b: &f64| match self.metric {
            Metric::Rate => b.total_cmp(a),
            Metric::Arrival | Metric::Publishing | Metric::ReceiverCpu => a.total_cmp(b),
        };
        valued
            .min_by(|(_, a), (_, b)| better(a, b))
            .map(|(row, _)| row)
    }

    pub fn row(&self, label: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.label == label)
    }
}

impl Row {
    /// What the table is about.
    pub fn value(&self, metric: Metric) -> Option<Spread> {
        self.spread(|repeat| repeat.value(metric))
    }

    /// The median of its ratios to another row, round by round, where both have one.
    pub fn ratio(&self, other: &Self, metric: Metric) -> Option<f64> {
        let mut ratios: Vec<_> = self
            .repeats
            .iter()
            .filter_map(|repeat| {
                let mut others = other.repeats.iter();
                let other = others.find(|other| other.round == repeat.round)?;
                Some(repeat.value(metric)? / other.value(metric)?)
            })
            .filter(|ratio| ratio.is_finite())
            .collect();
        ratios.sort_by(f64::total_cmp);
        (!ratios.is_empty()).then(|| middle(&ratios))
    }

    /// Its median.
    pub fn median(&self, metric: Metric) -> Option<f64> {
        Some(self.value(metric)?.median)
    }

    /// One of the numbers, over all repeats that have it.
    pub fn spread(&self, number: impl FnMut(&Repeat) -> Option<f64>) -> Option<Spread> {
        let mut numbers: Vec<_> = self.repeats.iter().filter_map(number).collect();
        numbers.sort_by(f64::total_cmp);
        let (least, most) = (*numbers.first()?, *numbers.last()?);
        Some(Spread {
            least,
            median: middle(&numbers),
            most,
        })
    }
}

/// The median of the repeats, and how far they lie apart.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

/// The median of numbers that are there, and sorted.
pub fn middle(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

#[expect(
    clippy::cast_precision_loss,
    reason = "measurements are not as precise as a float"
)]
impl Repeat {
    fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Arrival => self.arrival,
            Metric::Publishing => self.publishing,
            Metric::Rate => Some(self.rate),
            Metric::ReceiverCpu => self.receiver_cpu,
        }
    }

    pub fn new(round: u32, case: &Case, measured: &Measured) -> Self {
        let Measured {
            sender,
            receivers,
            counted,
        } = measured;
        let all = |times: fn(&crate::spec::Outcome) -> &Vec<u64>| -> Vec<u64> {
            receivers
                .iter()
                .chain([sender])
                .flat_map(times)
                .copied()
                .collect()
        };
        let arrival = all(|outcome| &outcome.arrival);
        let frames = arrival.len() as f64;
        let ends = receivers.len().max(1) as f64;
        let counted = *counted as f64;
        let receivers_cpu: u64 = receivers.iter().map(|receiver| receiver.cpu).sum();
        let cpu = (sender.cpu + receivers_cpu) as f64 / 1000.0 / frames;
        let paced = matches!(case.spec.mode, Mode::Paced(_));
        // Receivers' CPU time counts from the last frame that does not.
        let before = match case.spec.mode {
            Mode::Paced(hz) | Mode::Idle(hz) => 1e9 / f64::from(hz),
            _ => 0.0,
        };
        Self {
            round,
            rate: frames / ends / (counted / 1e9),
            cpu: (paced && frames > 0.0).then_some(cpu),
            receiver_cpu: Some(100.0 * receivers_cpu as f64 / ends / (counted + before)),
            torn: receivers.iter().map(|receiver| receiver.torn).sum(),
            disorder: receivers.iter().map(|receiver| receiver.disorder).sum(),
            arrival_p99: quantile(arrival.clone(), 0.99),
            arrival: quantile(arrival, 0.5),
            consumed: quantile(all(|outcome| &outcome.consumed), 0.5),
            publishing: quantile(sender.published.clone(), 0.5),
        }
    }
}

/// In us.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "a position in a list"
)]
fn quantile(mut ns: Vec<u64>, quantile: f64) -> Option<f64> {
    ns.sort_unstable();
    let at = (quantile * ns.len().checked_sub(1)? as f64).round() as usize;
    Some(ns[at] as f64 / 1000.0)
}
