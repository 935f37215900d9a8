//! Where shm-frame must be, and whether it is: ratios within one run.

use serde::Serialize;

use crate::commands::Commands;
use crate::contender::Group;
use crate::report::short;
use crate::result::{Row, Table, middle};
use crate::scenario::{LARGEST, SHAPES};

/// One limit, and what was measured.
#[derive(Debug, Serialize)]
pub struct Verdict {
    target: u8,
    what: String,
    /// Absent: not measured in this run.
    value: Option<f64>,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, Serialize)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}
use Limit::{AtLeast, AtMost};

const OURS: &str = "shm-frame, lease";
const PREDICTIVE: &str = "shm-frame, predictive";

impl Verdict {
    fn met(&self) -> Option<bool> {
        self.value.map(|value| match self.limit {
            AtMost(limit) => value <= limit,
            AtLeast(limit) => value >= limit,
        })
    }
}

/// All verdicts, in the order of the targets.
pub fn judge(tables: &[Table], commands: Option<&Commands>) -> Vec<Verdict> {
    let table = |id: &str| tables.iter().find(|table| table.id == id);
    let value = |id: &str, row: &str| table(id)?.median(row);
    let best = |id: &str, group| table(id)?.best(group)?.value(table(id)?.metric).map(|spread| spread.median);
    let receiver_cpu = |id: &str, row: &str| {
        Some(table(id)?.row(row)?.spread(|repeat| repeat.receiver_cpu)?.median)
    };
    let mut verdicts = vec![];
    let mut judge = |target: u8, what: String, value: Option<f64>, limit: Limit| {
        verdicts.push(Verdict { target, what, value, limit });
    };
    for shape in &SHAPES[1..] {
        let id = format!("inplace/{shape}");
        let is = ratio(value(&id, OURS), value(&id, "iceoryx2"));
        judge(1, format!("{shape}, in place: to iceoryx2"), is, AtMost(0.45));
    }
    for shape in SHAPES {
        let id = format!("busy/{shape}");
        let ours = table(&id).and_then(|table| {
            let rows = table.rows.iter().filter(|row| row.label.starts_with(OURS));
            rows.filter_map(|row| Some(row.value(table.metric)?.median)).reduce(f64::max)
        });
        let what = format!("{shape}, busy, at the worst alignment: to the best bare ring");
        judge(2, what, ratio(ours, best(&id, Group::Floor)), AtMost(1.05));
    }
    for shape in SHAPES {
        let id = format!("flat/{shape}");
        let ours = value(&id, OURS);
        let is = ratio(ours, best(&id, Group::Floor));
        judge(3, format!("{shape}, flat out: to the best bare ring"), is, AtLeast(0.9));
        let least = if shape == SHAPES[0] { 1.8 } else { 1.0 };
        let is = ratio(ours, best(&id, Group::Peer));
        judge(3, format!("{shape}, flat out: to the best peer"), is, AtLeast(least));
    }
    let ours = tables.iter().flat_map(|table| &table.rows).filter(|row| row.group == Group::Ours);
    #[expect(clippy::cast_precision_loss, reason = "there are none")]
    let wrong = ours.flat_map(|row| &row.repeats).map(|repeat| (repeat.torn + repeat.disorder) as f64);
    judge(3, "frames of ours that were torn or out of order".into(), wrong.reduce(|a, b| a + b), AtMost(0.0));
    for shape in SHAPES {
        let id = format!("asleep/{shape}");
        let is = ratio(value(&id, OURS), best(&id, Group::Floor));
        judge(4, format!("{shape}, asleep: to the best bare ring with a futex"), is, AtMost(1.05));
    }
    for shape in SHAPES {
        let id = format!("busy/{shape}");
        let is = ratio(value(&id, PREDICTIVE), value(&id, OURS));
        judge(5, format!("{shape}, predictive: to busy-waiting"), is, AtMost(1.15));
        let is = receiver_cpu(&id, PREDICTIVE);
        judge(5, format!("{shape}, predictive: % of a core"), is, AtMost(5.0));
    }
    for row in [OURS, PREDICTIVE] {
        let is = receiver_cpu("idle", row);
        judge(5, format!("{row}, idle: % of a core"), is, AtMost(0.2));
    }
    let publishing = |row: &str| value("receivers", row);
    let is = ratio(publishing("8 attached"), publishing("1 attached"));
    judge(6, "publishing to 8 receivers but for the wake-ups: to 1".into(), is, AtMost(1.1));
    judge(7, "from the last pixel to visible, us".into(), value("decoded", OURS), AtMost(2.0));
    for shape in SHAPES {
        let id = format!("asleep/{shape}");
        let cpu = |row: &Row| row.spread(|repeat| repeat.cpu).map(|spread| spread.median);
        let peers = table(&id).and_then(|table| {
            let peers = table.rows.iter().filter(|row| row.group == Group::Peer);
            peers.filter_map(cpu).reduce(f64::min)
        });
        let is = ratio(table(&id).and_then(|table| cpu(table.row(OURS)?)), peers);
        judge(8, format!("{shape}, asleep, CPU for each frame: to the best peer"), is, AtMost(1.0));
    }
    let median = |numbers: fn(&Commands) -> &Vec<f64>| {
        let mut numbers = commands.map(numbers)?.clone();
        numbers.sort_by(f64::total_cmp);
        (!numbers.is_empty()).then(|| middle(&numbers))
    };
    judge(9, "shm-recv, from attaching to a frame, periods".into(), median(|c| &c.first_received), AtMost(1.5));
    judge(9, "shm-send, from exec to a frame, ms".into(), median(|c| &c.first_sent), AtMost(100.0));
    judge(9, "resident beyond segment and libraries, MB".into(), median(|c| &c.resident), AtMost(16.0));
    let shapes = SHAPES.iter().chain([&LARGEST]);
    for (smaller, larger) in shapes.clone().zip(shapes.skip(1)) {
        let time = |shape| value(&format!("busy/{shape}"), OURS);
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let bytes = larger.bytes() as f64 / smaller.bytes() as f64;
        let is = ratio(time(larger), time(smaller)).map(|growth| growth / bytes);
        judge(10, format!("{smaller} to {larger}: growth of time to that of bytes"), is, AtMost(1.0));
    }
    let is = ratio(median(|c| &c.attach_crowded), median(|c| &c.attach));
    judge(10, "attaching among 256 segments: to alone".into(), is, AtMost(1.1));
    verdicts
}

fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?)
}

pub fn print(verdicts: &[Verdict]) {
    println!("\nWhere shm-frame must be");
    for verdict in verdicts {
        let (relation, limit) = match verdict.limit {
            AtMost(limit) => ("at most", limit),
            AtLeast(limit) => ("at least", limit),
        };
        let met = match verdict.met() {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        let value = verdict.value.map_or_else(|| "-".into(), short);
        println!("  {:>2}  {:<66} {value:>7}  {relation} {limit:<5} {met}", verdict.target, verdict.what);
    }
}
