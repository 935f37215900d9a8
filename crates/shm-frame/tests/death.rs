//! kill -9, a thousand times, of either side.

use std::time::{Duration, Instant};

use shm_frame::{Error, Name, Waited};
use shm_frame_testing::frames::{self, Checked, Random, Take, create, signal_file, start};
use shm_frame_testing::{
    PATIENCE, Program, Scratch, TestName, open, open_name, open_read_only, wait_until,
};

const ROUNDS: u64 = 1000;

/// Ever larger ones, so that the sender is killed while it moves to another segment, too.
const GROWING: &[[u32; 3]] = &[
    [8, 8, 3],
    [40, 40, 1],
    [60, 80, 3],
    [120, 160, 4],
    [240, 320, 3],
    [404, 640, 3],
];

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    let until = signal_file(&name.to_string(), "end");
    match role.as_str() {
        "send" => send(&name),
        "lease" => frames::follow(open_name(&name), Take::Lease, GROWING, || until.exists()),
        "view" => frames::follow(open_read_only(&name), Take::Lease, GROWING, || {
            until.exists()
        }),
        "copy" => frames::follow(open_name(&name), Take::Copy, GROWING, || until.exists()),
        "hold" => hold(&name),
        _ => panic!("no role {role}"),
    }
}

fn send(name: &Name) {
    let checked = Checked {
        sender: std::process::id(),
        shapes: GROWING,
    };
    let mut sender = create(name, 4, 0).unwrap();
    println!("sending");
    checked.send_for_ever(&mut sender);
}

/// Leases a frame and keeps it.
fn hold(name: &Name) {
    let mut receiver = open_name(name);
    while receiver.wait(PATIENCE).unwrap() == Waited::Frame {
        if let Some(_lease) = receiver.lease().unwrap() {
            println!("leased");
            std::thread::sleep(PATIENCE);
        }
    }
}

/// The senders that a receiver followed, each with whether it said that this one died.
fn followed(receiver: &Program) -> Vec<(u32, bool)> {
    let mut followed: Vec<(u32, bool)> = Vec::new();
    let pid = |line: &str| line.split_whitespace().next().unwrap().parse().unwrap();
    for line in receiver.stdout().lines() {
        // The first line begins with what the test runner says.
        if let Some((_, sender)) = line.split_once("attached ") {
            followed.push((pid(sender), false));
        } else if let Some(sender) = line.strip_prefix("died ") {
            let (attached, died) = followed.last_mut().expect("it was attached");
            assert_eq!((pid(sender), false), (*attached, *died), "{line}");
            *died = true;
        }
    }
    followed
}

#[test]
fn senders_die_at_any_moment_and_receivers_say_so_and_go_on_with_the_next() {
    let name = TestName::new("dying");
    let _scratch = Scratch::new(&name);
    let mut receivers = ["lease", "view", "copy"].map(|role| start(role, &name));
    let mut random = Random(1);
    let mut said_after = Vec::new();
    for round in 0..ROUNDS {
        let mut sender = start("send", &name);
        if round % 8 == 0 {
            // While it begins, or any time after.
            std::thread::sleep(Duration::from_micros(random.below(10_000)));
        } else {
            for receiver in &mut receivers {
                let attached = format!("attached {}\n", sender.pid());
                receiver.wait_until("it is attached", |receiver| {
                    receiver.stdout().contains(&attached)
                });
            }
            std::thread::sleep(Duration::from_micros(random.below(5_000)));
        }
        let killed = Instant::now();
        sender.kill();
        for receiver in &mut receivers {
            if !receiver.running() {
                receiver.fail("a receiver ended");
            }
            let pid = sender.pid();
            if receiver.stdout().contains(&format!("attached {pid}\n")) {
                receiver.wait_for(&format!("died {pid} "));
                said_after.push(killed.elapsed());
            }
        }
    }
    let until = signal_file(name.as_str(), "end");
    std::fs::write(&until, "").unwrap();
    for receiver in &mut receivers {
        receiver.ends_with(0);
        let followed = followed(receiver);
        assert!(followed.len() as u64 >= ROUNDS * 7 / 8);
        assert!(followed.iter().all(|&(_, died)| died), "{followed:?}");
    }
    said_after.sort();
    println!(
        "{ROUNDS} senders killed; {} times a receiver said so, after {:?} at the median and {:?} at most",
        said_after.len(),
        said_after[said_after.len() / 2],
        said_after[said_after.len() - 1],
    );
    // The last one's segment is there; the next sender takes its place, and leaves nothing.
    drop(create(&name.name(), 4, 0).unwrap());
    assert!(!name.file().exists());
}

#[test]
fn receivers_die_with_leases_in_hand_and_the_sender_loses_no_slot() {
    let checked = Checked {
        sender: std::process::id(),
        shapes: GROWING,
    };
    let name = TestName::new("leaving");
    let mut sender = create(&name.name(), 4, checked.capacity()).unwrap();
    let (mut frame, mut longest) = (0, Duration::ZERO);
    let mut send = |frames| {
        for _ in 0..frames {
            frame += 1;
            let begin = Instant::now();
            checked.send(&mut sender, frame);
            longest = longest.max(begin.elapsed());
        }
        frame
    };
    let mut random = Random(2);
    for _ in 0..ROUNDS / 2 {
        // As many as there are entries.
        let mut holders = [start("hold", &name), start("hold", &name)];
        for holder in &mut holders {
            holder.wait_until("it holds a frame", |holder| {
                send(10);
                holder.stdout().contains("leased")
            });
        }
        send(random.below(50));
        assert!(
            lease_entries(&name)
                .iter()
                .all(|&slot_plus_1| slot_plus_1 != 0)
        );
        for holder in &mut holders {
            holder.kill();
            send(random.below(20));
        }
    }
    let mut holder = start("hold", &name);
    holder.wait_until("it holds a frame", |holder| {
        send(10);
        holder.stdout().contains("leased")
    });
    holder.kill();
    // A new owner empties its entry first, whatever the last one left there; the sender does
    // nothing meanwhile.
    assert_ne!(lease_entries(&name), [0, 0]);
    let mut receivers = [open(&name), open(&name)];
    assert!(receivers.iter().all(shm_frame::Receiver::can_lease));
    assert_eq!(lease_entries(&name), [0, 0]);
    // They can lease, each a frame of its own, and the sender goes on.
    let mut leases = Vec::new();
    for receiver in &mut receivers {
        send(1);
        leases.push(receiver.lease().unwrap().expect("a frame"));
    }
    let last = send(100);
    for lease in leases {
        let frame = lease.frame();
        checked.check(frame.number, frame.shape, lease.pixels());
        assert!(lease.is_intact());
        drop(lease);
    }
    assert_eq!(lease_entries(&name), [0, 0], "given back");
    println!("{last} frames beside {ROUNDS} dying receivers, {longest:?} at most for one");
}

/// What stands in the lease table, by the offsets of docs/format.md.
fn lease_entries(name: &TestName) -> [u32; 2] {
    let bytes = std::fs::read(name.file()).unwrap();
    let page = &bytes[bytes.len() - 4096..];
    [0, 1].map(|j| u32::from_le_bytes(*page[1152 + 64 * j..].first_chunk().unwrap()))
}

#[test]
fn a_lease_of_a_dead_receiver_is_taken_back_when_it_had_the_only_entry() {
    let checked = Checked {
        sender: std::process::id(),
        shapes: GROWING,
    };
    let name = TestName::new("only");
    let mut sender = create(&name.name(), 3, checked.capacity()).unwrap();
    let mut frame = 0;
    let mut holder = start("hold", &name);
    holder.wait_until("it holds a frame", |holder| {
        frame += 1;
        checked.send(&mut sender, frame);
        holder.stdout().contains("leased")
    });
    holder.stop();
    // However long it is stopped, it has it.
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        frame += 1;
        checked.send(&mut sender, frame);
        assert_ne!(lease_entries(&name)[0], 0);
    }
    holder.kill();
    // Nobody owns the entry, and what stands in it is taken back without a new owner.
    wait_until("the entry is free", || {
        frame += 1;
        checked.send(&mut sender, frame);
        lease_entries(&name)[0] == 0
    });
}

#[test]
fn a_live_senders_name_is_refused_even_while_it_stands_still() {
    let name = TestName::new("still");
    let mut sender = start("send", &name);
    sender.wait_for("sending");
    // While its frames grow it may be stopped with the lock on the name in hand.
    let mut receiver = open(&name);
    wait_until("it has sent all sizes", || {
        if let Waited::Ended(_) = receiver.wait(PATIENCE).unwrap() {
            receiver.reopen().unwrap();
        }
        let frame = receiver.copy(&mut Vec::new()).ok().flatten();
        frame.is_some_and(|frame| frame.number > 2 * GROWING.len() as u64)
    });
    sender.stop();
    match create(&name.name(), 4, 0) {
        Err(Error::Live { pid, .. }) => assert_eq!(pid, Some(sender.pid())),
        other => panic!("{other:?}"),
    }
}
