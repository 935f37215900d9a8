//! Self-checking frames through real processes, flat out. The other processes are this program again, told by its
//! environment which role to play.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Program, TestName, wait_until};
use shm_frame::{Error, Name, Receiver, Sender, SenderOptions, Shape, Wait};

const ROLE: &str = "SHM_FRAME_TEST_ROLE";
const NAME: &str = "SHM_FRAME_TEST_NAME";

/// Starts this program in another role.
fn start(role: &str, name: &TestName) -> Program {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]);
    Program::start(command.env(ROLE, role).env(NAME, name.as_str()))
}

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let name = Name::new(&std::env::var(NAME).unwrap()).unwrap();
    match role.as_str() {
        "lease" => receive(&name, lease),
        "copy" => receive(&name, copy),
        "hold" => hold(&name),
        _ => panic!("no role {role}"),
    }
}

/// Frames of different sizes, each telling its number in every byte.
struct Checked {
    shapes: [Shape; 3],
}

impl Checked {
    fn new() -> Self {
        let shape = |height, width, channels| Shape::new(height, width, channels).unwrap();
        Self {
            shapes: [shape(101, 320, 3), shape(202, 320, 1), shape(50, 100, 4)],
        }
    }

    fn capacity(&self) -> usize {
        self.shapes.iter().map(Shape::bytes).max().unwrap()
    }

    fn shape(&self, frame: u64) -> Shape {
        self.shapes[usize::try_from(frame % 3).unwrap()]
    }

    fn word(frame: u64, at: usize) -> u64 {
        frame.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ at as u64
    }

    fn fill(frame: u64, pixels: &mut [u8]) {
        for (at, bytes) in pixels.chunks_mut(8).enumerate() {
            bytes.copy_from_slice(&Self::word(frame, at).to_le_bytes()[..bytes.len()]);
        }
    }

    fn check(&self, frame: u64, shape: Shape, pixels: &[u8]) {
        assert_eq!(shape, self.shape(frame), "frame {frame} has another's size");
        for (at, bytes) in pixels.chunks(8).enumerate() {
            let expected = &Self::word(frame, at).to_le_bytes()[..bytes.len()];
            assert_eq!(
                bytes,
                expected,
                "frame {frame} is torn at word {at} of {}",
                pixels.len() / 8
            );
        }
    }

    fn send(&self, sender: &mut Sender, frame: u64) {
        let mut loan = sender.loan(self.shape(frame)).unwrap();
        Self::fill(frame, loan.pixels());
        assert_eq!(loan.publish().frame, frame);
    }
}

/// What a receiver reports.
struct Taken {
    number: u64,
    skipped: u64,
}

fn lease(receiver: &mut Receiver, checked: &Checked, _: &mut Vec<u8>) -> Option<Taken> {
    assert!(receiver.can_lease(), "no lease entry");
    let lease = receiver.lease().unwrap()?;
    let frame = lease.frame();
    // Twice, so that what is written meanwhile shows.
    for _ in 0..2 {
        checked.check(frame.number, frame.shape, lease.pixels());
    }
    assert!(lease.is_intact());
    Some(Taken {
        number: frame.number,
        skipped: frame.skipped,
    })
}

fn copy(receiver: &mut Receiver, checked: &Checked, pixels: &mut Vec<u8>) -> Option<Taken> {
    let frame = receiver.copy(pixels).unwrap()?;
    checked.check(frame.number, frame.shape, pixels);
    Some(Taken {
        number: frame.number,
        skipped: frame.skipped,
    })
}

fn open(name: &Name) -> Receiver {
    let mut receiver = None;
    wait_until("there is a segment", || match Receiver::open(name) {
        Ok(opened) => {
            receiver = Some(opened);
            true
        }
        Err(Error::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    });
    receiver.unwrap()
}

/// Receives until the sender closes the segment.
fn receive(name: &Name, take: impl Fn(&mut Receiver, &Checked, &mut Vec<u8>) -> Option<Taken>) {
    let checked = Checked::new();
    let mut receiver = open(name);
    println!("attached");
    let (mut frames, mut skipped, mut last, mut pixels) = (0_u64, 0, 0, Vec::new());
    loop {
        match receiver.wait(common::PATIENCE).unwrap() {
            Wait::Frame => {
                let Some(taken) = take(&mut receiver, &checked, &mut pixels) else {
                    continue;
                };
                assert!(taken.number > last, "frame {} after {last}", taken.number);
                if frames > 0 {
                    assert_eq!(taken.skipped, taken.number - last - 1);
                }
                last = taken.number;
                skipped += taken.skipped;
                frames += 1;
                if frames == 1 {
                    println!("first frame");
                }
            }
            Wait::Timeout => panic!("no frame in {:?}", common::PATIENCE),
            Wait::Ended(end) => {
                assert_eq!(end, shm_frame::End::Closed);
                break;
            }
        }
    }
    println!(
        "frames={frames} skipped={skipped} torn={} last={last}",
        receiver.torn()
    );
}

/// The file that tells holders to go on.
fn go_on(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-go-on", &name[1..]))
}

/// Leases a frame, is stopped with it in hand, and looks at it again.
fn hold(name: &Name) {
    let checked = Checked::new();
    let mut receiver = open(name);
    assert_eq!(receiver.wait(common::PATIENCE).unwrap(), Wait::Frame);
    let lease = receiver.lease().unwrap().expect("a frame");
    let frame = lease.frame();
    println!("leased {}", frame.number);
    // Stopped here, and not to go on before it is told so, whoever else may continue it.
    wait_until("it may go on", || {
        go_on(&std::env::var(NAME).unwrap()).exists()
    });
    checked.check(frame.number, frame.shape, lease.pixels());
    assert!(lease.is_intact());
    println!("still whole");
}

fn sender(name: &TestName, checked: &Checked, slots: usize) -> Sender {
    let options = SenderOptions {
        capacity: checked.capacity(),
        slots,
        ..SenderOptions::default()
    };
    Sender::create(&Name::new(name.as_str()).unwrap(), &options).unwrap()
}

fn number(text: &str, key: &str) -> u64 {
    let value = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    value
        .unwrap_or_else(|| panic!("no {key} in {text:?}"))
        .parse()
        .unwrap()
}

/// Runs a sender beside receivers and checks what they report.
fn stress(slots: usize, roles: &[&str], period: Option<Duration>) {
    let checked = Checked::new();
    let name = TestName::new(&format!("stress-{slots}"));
    let mut sender = sender(&name, &checked, slots);
    // One after the other: lease entries go to those who come first.
    let attached = |role: &&str| {
        let mut receiver = start(role, &name);
        receiver.wait_for("attached");
        receiver
    };
    let mut receivers: Vec<_> = roles.iter().map(attached).collect();
    let mut frame = 0;
    let mut publish = |sender: &mut Sender| {
        frame += 1;
        checked.send(sender, frame);
        period.inspect(|&period| std::thread::sleep(period));
        frame
    };
    // Until each has frames, and then for a while.
    for receiver in &mut receivers {
        receiver.wait_until("it has a frame", |receiver| {
            for _ in 0..10 {
                publish(&mut sender);
            }
            receiver.stdout().contains("first frame")
        });
    }
    let end = Instant::now() + Duration::from_millis(700);
    let mut last = 0;
    while Instant::now() < end {
        last = publish(&mut sender);
    }
    drop(sender);
    for (receiver, role) in receivers.iter_mut().zip(roles) {
        receiver.ends_with(0);
        let report = receiver.stdout();
        assert!(number(&report, "frames") > 0, "{role}: {report}");
        assert_eq!(
            number(&report, "last"),
            last,
            "{role} got the last frame: {report}"
        );
        println!(
            "{slots} slots, {last} sent, {role}: {}",
            report
                .lines()
                .find(|line| line.contains("frames="))
                .unwrap()
        );
    }
    assert!(!name.file().exists(), "the segment is gone");
}

#[test]
fn no_frame_is_torn_or_goes_backwards_with_two_slots() {
    // No lease entries: copies only, and flat out they may starve, so at a rate.
    stress(2, &["copy", "copy"], Some(Duration::from_micros(300)));
}

#[test]
fn no_frame_is_torn_or_goes_backwards_with_three_slots() {
    stress(3, &["lease", "copy"], None);
}

#[test]
fn no_frame_is_torn_or_goes_backwards_with_four_slots() {
    stress(4, &["lease", "lease", "copy", "copy"], None);
}

#[test]
fn no_frame_is_torn_or_goes_backwards_with_five_to_eight_slots() {
    for slots in 5..=8 {
        stress(slots, &["lease", "copy", "lease"], None);
    }
}

#[test]
fn no_frame_is_torn_or_goes_backwards_with_one_slot_and_a_rate() {
    stress(1, &["copy", "copy"], Some(Duration::from_millis(1)));
}

#[test]
fn the_sender_goes_on_beside_receivers_that_are_stopped_with_a_lease_in_hand() {
    let checked = Checked::new();
    let name = TestName::new("stopped");
    let mut sender = sender(&name, &checked, 4);
    checked.send(&mut sender, 1);
    let mut holders = [start("hold", &name), start("hold", &name)];
    let mut frame = 1;
    for holder in &mut holders {
        holder.wait_for("leased");
        holder.signal("STOP");
        holder.wait_until("it is stopped", |holder| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", holder.pid())).unwrap();
            stat.rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('T')
        });
        for _ in 0..2000 {
            frame += 1;
            checked.send(&mut sender, frame);
        }
    }
    // All entries are taken, so this one copies.
    let mut copier = open(&Name::new(name.as_str()).unwrap());
    assert!(!copier.can_lease());
    let taken = copy(&mut copier, &checked, &mut Vec::new()).expect("a whole frame");
    assert_eq!(taken.number, frame);
    std::fs::write(go_on(name.as_str()), "").unwrap();
    for holder in &mut holders {
        holder.signal("CONT");
        holder.ends_with(0);
        assert!(
            holder.stdout().contains("still whole"),
            "{}",
            holder.stdout()
        );
    }
}
