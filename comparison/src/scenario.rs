//! What is measured: contenders beside each other, doing the same.

use crate::contender::{Contender, Group, Part, contenders};
use crate::spec::{Mode, Shape, Spec, Wait};

pub const SHAPES: [Shape; 3] = [
    Shape(640, 404, 3),
    Shape(1920, 1080, 3),
    Shape(3840, 2160, 3),
];
pub const LARGEST: Shape = Shape(7680, 4320, 3);
/// No more than a line of the cache.
const LINE: Shape = Shape(64, 1, 1);
const HZ: u32 = 60;
/// Where the sources' buffers begin, modulo 4096, so that our slots' pixels (at 24) are 0, 24, -40
/// and 32 from there. Large blocks of malloc begin at 16, which makes 8.
const SOURCES_AT: [usize; 4] = [24, 0, 64, 4088];

/// Contenders that do the same, interleaved.
pub struct Scenario {
    pub id: String,
    pub title: String,
    pub metric: Metric,
    pub cases: Vec<Case>,
    /// Frames a second, or 0.
    pub hz: u32,
    /// How many repeats are made where others make one.
    pub often: u32,
}

/// What the table of a scenario compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Metric {
    /// From the stamp until the receiver had it.
    Arrival,
    /// From the stamp until the sender could go on.
    Publishing,
    /// Frames a second that arrived whole.
    Rate,
    /// What a receiver takes of a core, in percent.
    ReceiverCpu,
}

/// One row of a table.
pub struct Case {
    pub label: String,
    pub contender: &'static Contender,
    pub spec: Spec,
}

/// All of them, in the tables' order.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = floors();
    for shape in SHAPES {
        all.push(paced(shape, Wait::Busy));
    }
    for shape in SHAPES {
        all.push(paced(shape, Wait::Asleep));
    }
    all.extend(SHAPES.map(waits));
    all.extend(SHAPES.map(flat_out));
    all.extend([SHAPES[1], SHAPES[2]].map(in_place));
    all.push(decoded());
    all.push(receivers());
    all.push(idle());
    all.push(largest());
    all
}

fn floors() -> Vec<Scenario> {
    let line = vec![case("cache line", Mode::PingPong, Wait::Busy, LINE)];
    let wake = vec![case("bare ring", Mode::Paced(HZ), Wait::Asleep, LINE)];
    let mut all = vec![
        Scenario::new(
            "line",
            "a cache line from core to core: one way",
            Metric::Arrival,
            line,
        ),
        Scenario::new(
            "wake",
            "a futex wake of a process that slept 16 ms",
            Metric::Arrival,
            wake,
        ),
    ];
    for shape in SHAPES {
        let alone = |name: &'static str, label: &str, slots: usize, source_at| {
            let mut case = case(name, Mode::FlatOut, Wait::Busy, shape).labelled(label);
            case.spec.slots = slots;
            case.spec.source_at = source_at;
            case.spec.receivers = 0;
            case
        };
        let cases = vec![
            alone("bare ring", "memcpy, 1 slot", 1, None),
            alone("bare ring", "memcpy, 2 slots", 2, None),
            alone("bare ring", "memcpy, 4 slots", 4, None),
            // 8 from the slots, which begin on pages: the distance at which glibc's memcpy is slow.
            alone(
                "bare ring",
                "memcpy, 4 slots, source 8 before them",
                4,
                Some(4088),
            ),
            alone("bare ring, non-temporal", "non-temporal, 4 slots", 4, None),
            alone("shm-frame, lease", "shm-frame, publish", 4, None),
        ];
        let title = format!("{shape}, copied into warm shared memory, nobody receives");
        all.push(Scenario::new(
            &format!("memcpy/{shape}"),
            &title,
            Metric::Publishing,
            cases,
        ));
    }
    all
}

fn paced(shape: Shape, wait: Wait) -> Scenario {
    let part = if wait == Wait::Busy {
        Part::Busy
    } else {
        Part::Asleep
    };
    let mut cases = compared(part, Mode::Paced(HZ), wait, shape);
    if wait == Wait::Busy {
        cases.extend(SOURCES_AT.map(|at| {
            let mut case = case("shm-frame, lease", Mode::Paced(HZ), wait, shape);
            case.spec.source_at = Some(at);
            case.labelled(&format!("shm-frame, lease, source at {at}"))
        }));
    }
    let (id, how) = match wait {
        Wait::Busy => ("busy", "busy-waiting"),
        Wait::Asleep => ("asleep", "asleep"),
    };
    let title = format!("{shape}, {HZ} frames/s, receiver {how}: arrival");
    Scenario::new(&format!("{id}/{shape}"), &title, Metric::Arrival, cases)
}

/// Our ways to wait beside each other; busy-waiting, which no receiver does by itself, first.
fn waits(shape: Shape) -> Scenario {
    let mode = Mode::Paced(HZ);
    let busy = case("shm-frame, lease", mode, Wait::Busy, shape);
    let mut cases = vec![busy.labelled("shm-frame, lease, busy")];
    let ours = contenders().filter(|contender| contender.group == Group::Ours);
    cases.extend(
        ours.filter(|contender| contender.parts.contains(&Part::Asleep))
            .filter(|contender| contender.name != "shm-frame, copy")
            .map(|contender| case(contender.name, mode, Wait::Asleep, shape)),
    );
    let title = format!("{shape}, {HZ} frames/s, ways to wait: arrival");
    Scenario::new(&format!("waits/{shape}"), &title, Metric::Arrival, cases)
}

fn flat_out(shape: Shape) -> Scenario {
    let cases = compared(Part::FlatOut, Mode::FlatOut, Wait::Busy, shape);
    let title = format!("{shape}, flat out: frames that arrive whole");
    Scenario::new(&format!("flat/{shape}"), &title, Metric::Rate, cases)
}

/// All that take part, with the numbers of slots that make a difference.
fn compared(part: Part, mode: Mode, wait: Wait, shape: Shape) -> Vec<Case> {
    let taking_part = contenders().filter(|contender| contender.parts.contains(&part));
    taking_part
        .flat_map(|contender| {
            let slots: &[usize] = match (contender.group, contender.name) {
                (Group::Floor, _) => &[2, 4],
                (_, "shm-frame, copy") => &[4, 1],
                _ => return vec![case(contender.name, mode, wait, shape)],
            };
            let with = |&slots| {
                let mut case = case(contender.name, mode, wait, shape);
                case.spec.slots = slots;
                let s = if slots == 1 { "" } else { "s" };
                case.labelled(&format!("{}, {slots} slot{s}", contender.name))
            };
            slots.iter().map(with).collect()
        })
        .collect()
}

fn in_place(shape: Shape) -> Scenario {
    let cases = in_place_cases(Mode::PingPong, shape);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mb = shape.bytes() as f64 / 1e6;
    let title = format!("{mb:.1} MB in place, 64 bytes changed, there and back, halved");
    Scenario {
        // They are short, and jump between two speeds, by where the host runs the two cores.
        often: 3,
        ..Scenario::new(&format!("inplace/{shape}"), &title, Metric::Arrival, cases)
    }
}

fn decoded() -> Scenario {
    let shape = SHAPES[1];
    let cases = in_place_cases(Mode::Decoded(HZ), shape);
    let title = format!("{shape}, {HZ} frames/s, filled in place: from the last pixel to arrival");
    Scenario::new("decoded", &title, Metric::Arrival, cases)
}

fn in_place_cases(mode: Mode, shape: Shape) -> Vec<Case> {
    contenders()
        .filter(|contender| contender.parts.contains(&Part::InPlace))
        .map(|contender| case(contender.name, mode, Wait::Busy, shape))
        .collect()
}

fn receivers() -> Scenario {
    let mut cases = vec![];
    for (name, how) in [
        ("shm-frame, attached", "attached"),
        ("shm-frame, lease", "asleep"),
    ] {
        for receivers in [1, 2, 4, 8, 16] {
            let mut case = case(name, Mode::Paced(HZ), Wait::Asleep, SHAPES[0])
                .labelled(&format!("{receivers} {how}"));
            case.spec.receivers = receivers;
            // A lease for each but two of the sixteen, which copy.
            case.spec.slots = 16;
            cases.push(case);
        }
    }
    let title = format!(
        "{}, {HZ} frames/s, to many receivers: publishing",
        SHAPES[0]
    );
    Scenario::new("receivers", &title, Metric::Publishing, cases)
}

fn idle() -> Scenario {
    let ours = contenders().filter(|contender| contender.group == Group::Ours);
    let asleep = ours.filter(|contender| contender.parts.contains(&Part::Asleep));
    let cases =
        asleep.map(|contender| case(contender.name, Mode::Idle(HZ), Wait::Asleep, SHAPES[0]));
    let title = format!("no frame after {HZ} a second, receiver asleep: its CPU time");
    Scenario::new("idle", &title, Metric::ReceiverCpu, cases.collect())
}

fn largest() -> Scenario {
    let mode = Mode::Paced(20);
    let cases = ["bare ring, non-temporal", "shm-frame, lease"];
    let cases = cases
        .map(|name| case(name, mode, Wait::Busy, LARGEST))
        .into();
    let title = format!("{LARGEST}, 20 frames/s, receiver busy-waiting: arrival");
    Scenario::new(&format!("busy/{LARGEST}"), &title, Metric::Arrival, cases)
}

impl Scenario {
    fn new(id: &str, title: &str, metric: Metric, cases: Vec<Case>) -> Self {
        let hz = match cases.first().map(|case| case.spec.mode) {
            Some(Mode::Paced(hz) | Mode::Decoded(hz) | Mode::Idle(hz)) => hz,
            _ => 0,
        };
        Self {
            id: id.into(),
            title: title.into(),
            metric,
            cases,
            hz,
            often: 1,
        }
    }
}

impl Case {
    fn labelled(self, label: &str) -> Self {
        Self {
            label: label.into(),
            ..self
        }
    }
}

/// A row named after its contender: four slots, one receiver.
fn case(name: &'static str, mode: Mode, wait: Wait, shape: Shape) -> Case {
    let contender = contenders()
        .find(|contender| contender.name == name)
        .expect("scenarios name contenders that there are");
    let spec = Spec {
        contender: name.into(),
        run: String::new(),
        directory: String::new(),
        mode,
        wait,
        shape,
        slots: 4,
        source_at: None,
        receivers: 1,
    };
    Case {
        label: name.into(),
        contender,
        spec,
    }
}
