//! Where shm-frame must be, and whether it is: ratios within one run. Those of a table's rows are
//! the medians of the ratios of its rounds, in which the two were measured shortly after each
//! other; others are ratios of medians.

use serde::Serialize;

use crate::commands::{CROWD, Commands, FEW};
use crate::contender::Group;
use crate::report::short;
use crate::result::{Repeat, Row, Table, middle};
use crate::scenario::{LARGEST, SHAPES};

const OURS: &str = "shm-frame, lease";
const PREDICTIVE: &str = "shm-frame, predictive";

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
    let mut judge = Judge {
        tables,
        commands,
        verdicts: vec![],
    };
    judge.in_place();
    judge.busy();
    judge.flat_out();
    judge.asleep();
    judge.predictive();
    judge.receivers_and_decoder();
    judge.cpu();
    judge.commands();
    judge.growth();
    judge.verdicts
}

struct Judge<'a> {
    tables: &'a [Table],
    commands: Option<&'a Commands>,
    verdicts: Vec<Verdict>,
}

impl Judge<'_> {
    fn say(&mut self, target: u8, what: impl Into<String>, value: Option<f64>, limit: Limit) {
        self.verdicts.push(Verdict {
            target,
            what: what.into(),
            value,
            limit,
        });
    }

    fn table(&self, id: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.id == id)
    }

    /// What a table is about, of one row.
    fn value(&self, id: &str, label: &str) -> Option<f64> {
        self.table(id)?.row(label)?.median(self.table(id)?.metric)
    }

    /// What a table is about, of one row to another.
    fn ratio(&self, id: &str, label: &str, other: &str) -> Option<f64> {
        let table = self.table(id)?;
        table.row(label)?.ratio(table.row(other)?, table.metric)
    }

    /// The same, to the best row of a group.
    fn to_best(&self, id: &str, label: &str, group: Group) -> Option<f64> {
        self.ratio(id, label, &self.table(id)?.best(group)?.label)
    }

    fn receiver_cpu(&self, id: &str, label: &str) -> Option<f64> {
        let row = self.table(id)?.row(label)?;
        Some(row.spread(|repeat| repeat.receiver_cpu)?.median)
    }

    fn in_place(&mut self) {
        for shape in &SHAPES[1..] {
            let id = format!("inplace/{shape}");
            let is = self.ratio(&id, OURS, "iceoryx2");
            self.say(
                1,
                format!("{shape}, in place: to iceoryx2"),
                is,
                AtMost(0.45),
            );
        }
    }

    fn busy(&mut self) {
        for shape in SHAPES {
            let id = format!("busy/{shape}");
            let worst = self.table(&id).and_then(|table| {
                let leasing = table.rows.iter().filter(|row| row.label.starts_with(OURS));
                let ratios = leasing.map(|row| self.to_best(&id, &row.label, Group::Floor));
                ratios
                    .collect::<Option<Vec<_>>>()?
                    .into_iter()
                    .reduce(f64::max)
            });
            let what = format!("{shape}, busy, at the worst alignment: to the best bare ring");
            self.say(2, what, worst, AtMost(1.05));
        }
    }

    fn flat_out(&mut self) {
        for shape in SHAPES {
            let id = format!("flat/{shape}");
            let is = self.to_best(&id, OURS, Group::Floor);
            self.say(
                3,
                format!("{shape}, flat out: to the best bare ring"),
                is,
                AtLeast(0.9),
            );
            let limit = if shape == SHAPES[0] { 1.8 } else { 1.0 };
            let is = self.to_best(&id, OURS, Group::Peer);
            self.say(
                3,
                format!("{shape}, flat out: to the best peer"),
                is,
                AtLeast(limit),
            );
        }
        let rows = self.tables.iter().flat_map(|table| &table.rows);
        let repeats = rows
            .filter(|row| row.group == Group::Ours)
            .flat_map(|row| &row.repeats);
        #[expect(clippy::cast_precision_loss, reason = "there are none")]
        let wrong = repeats.map(|repeat| (repeat.torn + repeat.disorder) as f64);
        let wrong = wrong.reduce(|a, b| a + b);
        self.say(
            3,
            "frames of ours that were torn or out of order",
            wrong,
            AtMost(0.0),
        );
    }

    fn asleep(&mut self) {
        for shape in SHAPES {
            let id = format!("asleep/{shape}");
            let is = self.to_best(&id, OURS, Group::Floor);
            let what = format!("{shape}, asleep: to the best bare ring with a futex");
            self.say(4, what, is, AtMost(1.05));
        }
    }

    fn predictive(&mut self) {
        for shape in SHAPES {
            let id = format!("waits/{shape}");
            let is = self.ratio(&id, PREDICTIVE, "shm-frame, lease, busy");
            self.say(
                5,
                format!("{shape}, predictive: to busy-waiting"),
                is,
                AtMost(1.15),
            );
            let is = self.receiver_cpu(&id, PREDICTIVE);
            self.say(
                5,
                format!("{shape}, predictive: % of a core"),
                is,
                AtMost(5.0),
            );
        }
        for row in [OURS, PREDICTIVE] {
            let is = self.receiver_cpu("idle", row);
            self.say(5, format!("{row}, idle: % of a core"), is, AtMost(0.2));
        }
    }

    fn receivers_and_decoder(&mut self) {
        let is = self.ratio("receivers", "8 attached", "1 attached");
        self.say(
            6,
            "publishing to 8 receivers but for the wake-ups: to 1",
            is,
            AtMost(1.1),
        );
        let row = self.table("decoded").and_then(|table| table.row(OURS));
        let published = row.and_then(|row| row.spread(|repeat| repeat.publishing));
        self.say(
            7,
            "from the last pixel until the frame is published, us",
            published.map(|spread| spread.median),
            AtMost(2.0),
        );
        let arrived = self.value("decoded", OURS);
        self.say(
            7,
            "from the last pixel until a receiver has the frame, us",
            arrived,
            AtMost(2.0),
        );
    }

    fn cpu(&mut self) {
        for shape in SHAPES {
            let id = format!("asleep/{shape}");
            let cpu = |row: &Row| Some(row.spread(|repeat: &Repeat| repeat.cpu)?.median);
            let is = self.table(&id).and_then(|table| {
                let peers = table.rows.iter().filter(|row| row.group == Group::Peer);
                ratio(
                    cpu(table.row(OURS)?),
                    peers.filter_map(cpu).reduce(f64::min),
                )
            });
            let what = format!("{shape}, asleep, CPU for each frame: to the best peer");
            self.say(8, what, is, AtMost(1.0));
        }
    }

    fn commands(&mut self) {
        let is = self.middle(|commands| &commands.first_received);
        self.say(
            9,
            "shm-recv, from attaching to a frame, periods",
            is,
            AtMost(1.5),
        );
        let is = self.middle(|commands| &commands.first_sent);
        self.say(9, "shm-send, from exec to a frame, ms", is, AtMost(30.0));
        let is = self.middle(|commands| &commands.lists);
        self.say(9, "shm-recv --list, ms", is, AtMost(15.0));
        let is = self.middle(|commands| &commands.resident);
        self.say(
            9,
            "resident beyond segment and libraries, MB",
            is,
            AtMost(16.0),
        );
    }

    fn growth(&mut self) {
        let shapes = SHAPES.iter().chain([&LARGEST]);
        for (smaller, larger) in shapes.clone().zip(shapes.skip(1)) {
            let time = |shape| self.value(&format!("busy/{shape}"), OURS);
            #[expect(clippy::cast_precision_loss, reason = "megabytes")]
            let bytes = larger.bytes() as f64 / smaller.bytes() as f64;
            let is = ratio(time(larger), time(smaller)).map(|growth| growth / bytes);
            let what = format!("{smaller} to {larger}: growth of arrival to that of bytes");
            self.say(10, what, is, AtMost(1.0));
        }
        let alone = self.middle(|commands| &commands.attach);
        let is = ratio(self.middle(|commands| &commands.attach_crowded), alone);
        self.say(
            10,
            format!("attaching among {CROWD} segments: to alone"),
            is,
            AtMost(1.1),
        );
        let few = self.middle(|commands| &commands.list_few);
        let many = self.middle(|commands| &commands.list);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let more = ratio(
            many.zip(few)
                .map(|(many, few)| many * CROWD as f64 - few * FEW as f64),
            Some((CROWD - FEW) as f64),
        );
        self.say(
            10,
            format!("listing, each segment from {FEW} to {CROWD}: to each of {FEW}"),
            ratio(more, few),
            AtMost(1.1),
        );
    }

    fn middle(&self, numbers: fn(&Commands) -> &Vec<f64>) -> Option<f64> {
        let mut numbers = numbers(self.commands?).clone();
        numbers.sort_by(f64::total_cmp);
        (!numbers.is_empty()).then(|| middle(&numbers))
    }
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
        let Verdict { target, what, .. } = verdict;
        println!("  {target:>2}  {what:<66} {value:>7}  {relation} {limit:<5} {met}");
    }
}
