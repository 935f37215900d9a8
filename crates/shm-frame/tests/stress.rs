//! Self-checking frames through real processes, flat out.

use std::time::{Duration, Instant};

use shm_frame::{End, Name, Receiver, Via, WaitMode, Waited};
use shm_frame_testing::frames::{
    self, Checked, Random, Take, create, number, signal_file, start, wait_for_file,
};
use shm_frame_testing::{
    PATIENCE, Program, Scratch, TestName, open, open_name, open_read_only, status_kb, wait_until,
};

const SHAPES: &[[u32; 3]] = &[[101, 320, 3], [202, 320, 1], [50, 100, 4]];
/// The size that people send.
const USUAL: &[[u32; 3]] = &[[404, 640, 3]];

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    let until = signal_file(&name.to_string(), "end");
    match role.as_str() {
        "lease" => receive(open_name(&name), Take::Lease, Via::Leased),
        "view" => receive(open_read_only(&name), Take::Lease, Via::LeasedReadOnly),
        "copy" => receive(open_name(&name), Take::Copy, Via::Copied),
        "hold" => hold(open_name(&name)),
        "hold and view" => hold(open_read_only(&name)),
        "send usual" => send_usual(&name, &until),
        _ => visit(&name, &role, &until),
    }
}

/// Receives until the sender closes the segment, at least one frame by that way.
fn receive(mut receiver: Receiver, take: Take, via: Via) {
    println!("attached");
    let mut by_way = 0_u64;
    let (mut frames, mut skipped, mut last, mut pixels) = (0_u64, 0, 0, Vec::new());
    loop {
        match receiver.wait(PATIENCE).unwrap() {
            Waited::Frame => {
                let Some(taken) = take.take(&mut receiver, SHAPES, &mut pixels) else {
                    continue;
                };
                assert!(taken.number > last, "frame {} after {last}", taken.number);
                if frames > 0 {
                    assert_eq!(taken.skipped, taken.number - last - 1);
                }
                last = taken.number;
                skipped += taken.skipped;
                frames += 1;
                by_way += u64::from(taken.via == via);
                if by_way == 1 && taken.via == via {
                    println!("first frame");
                }
            }
            Waited::Timeout | Waited::Cancelled => panic!("no frame in {PATIENCE:?}"),
            Waited::Ended(end) => {
                assert_eq!(end, End::Closed);
                break;
            }
        }
    }
    println!(
        "frames={frames} {via}={by_way} skipped={skipped} torn={} last={last}",
        receiver.torn()
    );
}

/// Leases a frame, is stopped with it in hand, and looks at it again.
fn hold(mut receiver: Receiver) {
    let name = receiver.name().clone();
    wait_until("it can lease", || {
        receiver.wait(Duration::from_millis(1)).unwrap();
        receiver.can_lease()
    });
    let sender = receiver.sender_pid().unwrap();
    assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
    let lease = receiver.lease().unwrap().expect("a frame");
    let frame = lease.frame();
    println!("leased {}", frame.number);
    // Stopped here, and not to go on before it is told so, whoever else may continue it.
    wait_for_file(&signal_file(&name.to_string(), "go-on"));
    let checked = Checked {
        sender,
        shapes: SHAPES,
    };
    checked.check(frame.number, frame.shape, lease.pixels());
    assert!(lease.is_intact());
    println!("still whole");
}

fn checked() -> Checked {
    Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    }
}

/// Runs a sender beside receivers and checks what they report.
fn stress(slots: usize, roles: &[&str], period: Option<Duration>) {
    let checked = checked();
    let name = TestName::new(&format!("stress-{slots}"));
    let mut sender = create(&name.name(), slots, checked.capacity()).unwrap();
    // One after the other: lease entries go to those who come first.
    let attached = |role: &&str| {
        let mut receiver = start(role, &name);
        receiver.wait_for("attached");
        receiver
    };
    let mut receivers: Vec<_> = roles.iter().map(attached).collect();
    let mut frame = 0;
    let mut publish = || {
        frame += 1;
        checked.send(&mut sender, frame);
        period.inspect(|&period| std::thread::sleep(period));
        frame
    };
    // Until each has frames, and then for a while.
    for receiver in &mut receivers {
        receiver.wait_until("it has a frame", |receiver| {
            for _ in 0..10 {
                publish();
            }
            receiver.stdout().contains("first frame")
        });
    }
    let end = Instant::now() + Duration::from_millis(700);
    let mut last = 0;
    while Instant::now() < end {
        last = publish();
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
        let line = report.lines().find(|line| line.contains("frames="));
        println!("{slots} slots, {last} sent, {role}: {}", line.unwrap());
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
fn no_frame_is_torn_or_goes_backwards_with_leases_by_entry_and_by_lock() {
    stress(3, &["view", "copy"], None);
    stress(4, &["lease", "view", "copy"], None);
    stress(4, &["view", "view", "copy"], None);
    stress(6, &["view", "lease", "view", "lease"], None);
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
    let checked = checked();
    let name = TestName::new("stopped");
    let _scratch = Scratch::new(&name);
    let mut sender = create(&name.name(), 4, checked.capacity()).unwrap();
    checked.send(&mut sender, 1);
    let mut holders = [start("hold", &name), start("hold and view", &name)];
    let mut frame = 1;
    for holder in &mut holders {
        holder.wait_until("it holds a frame", |holder| {
            frame += 1;
            checked.send(&mut sender, frame);
            holder.stdout().contains("leased")
        });
        holder.stop();
        for _ in 0..2000 {
            frame += 1;
            checked.send(&mut sender, frame);
        }
    }
    // All entries are taken, so this one copies.
    let mut copier = open(&name);
    assert!(!copier.can_lease());
    let taken = Take::Copy.take(&mut copier, SHAPES, &mut Vec::new());
    assert_eq!(taken.expect("a whole frame").number, frame);
    let go_on = signal_file(name.as_str(), "go-on");
    std::fs::write(&go_on, "").unwrap();
    for holder in &mut holders {
        holder.signal("CONT");
        holder.ends_with(0);
        holder.assert_stdout("still whole");
    }
}

#[test]
fn receivers_that_sleep_are_woken_for_each_frame_however_they_wait() {
    const FRAMES: u64 = 60;
    for wait_mode in [WaitMode::Sleep, WaitMode::Predict, WaitMode::Spin] {
        let checked = checked();
        let name = TestName::new("woken");
        let mut sender = create(&name.name(), 4, checked.capacity()).unwrap();
        let mut receiver = open(&name);
        receiver.set_wait_mode(wait_mode);
        let sending = std::thread::spawn(move || {
            for frame in 1..=FRAMES {
                std::thread::sleep(Duration::from_millis(20));
                checked.send(&mut sender, frame);
            }
        });
        let (mut frames, mut pixels) = (0, Vec::new());
        while receiver.wait(PATIENCE).unwrap() == Waited::Frame {
            frames += u64::from(
                Take::Lease
                    .take(&mut receiver, SHAPES, &mut pixels)
                    .is_some(),
            );
        }
        sending.join().unwrap();
        // Who is not woken looks ten times a second by himself.
        assert!(frames > FRAMES / 2, "{wait_mode:?}: {frames} of {FRAMES}");
    }
}

#[test]
fn the_first_frame_that_a_receiver_sleeps_for_wakes_it() {
    const ROUNDS: u64 = 20;
    let checked = checked();
    let name = TestName::new("asked");
    let mut sender = create(&name.name(), 4, checked.capacity()).unwrap();
    let mut woken = 0;
    for round in 1..=ROUNDS {
        // The sender has just looked, and does so again in 0.1 s, as the receiver does.
        std::thread::sleep(Duration::from_millis(110));
        checked.send(&mut sender, 3 * round - 2);
        let mut receiver = open(&name);
        assert!(receiver.lease().unwrap().is_some());
        let sleeping = std::thread::spawn(move || {
            assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
            receiver.lease().unwrap().unwrap().frame().number
        });
        std::thread::sleep(Duration::from_millis(20));
        checked.send(&mut sender, 3 * round - 1);
        std::thread::sleep(Duration::from_millis(40));
        checked.send(&mut sender, 3 * round);
        woken += u64::from(sleeping.join().unwrap() == 3 * round - 1);
    }
    assert!(woken > ROUNDS / 2, "{woken} of {ROUNDS}");
}

/// Together with the test above: a receiver that polled would be as quick as one that is woken.
#[test]
fn a_receiver_that_sleeps_for_nothing_is_left_alone() {
    let name = TestName::new("left-alone");
    let _sender = create(&name.name(), 4, checked().capacity()).unwrap();
    let mut receiver = open(&name);
    let begin = sleeps();
    assert_eq!(
        receiver.wait(Duration::from_secs(1)).unwrap(),
        Waited::Timeout
    );
    // It looks ten times a second; who polls does a thousand times.
    let sleeps = sleeps() - begin;
    assert!(sleeps < 100, "slept {sleeps} times in a second");
}

/// How often this thread has gone to sleep.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// Sends flat out, and says now and then how far it got.
fn send_usual(name: &Name, until: &std::path::Path) {
    let checked = Checked {
        sender: std::process::id(),
        shapes: USUAL,
    };
    let mut sender = create(name, 4, checked.capacity()).unwrap();
    for frame in 1.. {
        checked.send(&mut sender, frame);
        if frame % 4096 == 0 {
            println!("sent={frame}");
            if until.exists() {
                break;
            }
        }
    }
}

/// Receives for so many ms, as the role says, or until everybody is to end.
fn visit(name: &Name, role: &str, until: &std::path::Path) {
    let (take, stay, receiver) = match role.split_once(' ') {
        Some(("lease", stay)) => (Take::Lease, stay, open_name(name)),
        Some(("view", stay)) => (Take::Lease, stay, open_read_only(name)),
        Some(("copy", stay)) => (Take::Copy, stay, open_name(name)),
        _ => panic!("no role {role}"),
    };
    let end = Instant::now() + Duration::from_millis(stay.parse().unwrap());
    let end = || Instant::now() > end || until.exists();
    frames::follow(receiver, take, USUAL, end);
}

fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.pid()))
        .unwrap()
        .count()
}

/// Half a minute, or as many seconds as `SHM_FRAME_LONG_RUN_S` says: one sender flat out, and four
/// receivers that come and go, some by kill -9.
#[test]
fn a_long_run_is_whole_and_memory_stays_flat() {
    let seconds = std::env::var("SHM_FRAME_LONG_RUN_S");
    let seconds = seconds.map_or(30, |seconds| seconds.parse().unwrap());
    let name = TestName::new("long");
    let _scratch = Scratch::new(&name);
    let until = signal_file(name.as_str(), "end");
    let mut sender = start("send usual", &name);
    sender.wait_for("sent=");
    // One receiver stays, to see that its memory is flat, too.
    let mut resident = start(&format!("copy {}", u32::MAX), &name);
    resident.wait_for("frames=");
    let held = |program: &Program| (status_kb(program.pid(), "RssAnon"), descriptors(program));
    let before = [held(&sender), held(&resident)];
    let shared = std::fs::metadata(name.file()).unwrap().len();

    let mut random = Random(2026);
    let mut visitor = |i: u64| {
        let take = ["lease", "copy", "view"][usize::try_from(i % 3).unwrap()];
        let stay = 100 + random.below(3000);
        // Half of them are killed, the others leave by themselves.
        let kill = random.below(2) == 0;
        let role = format!("{take} {}", if kill { u64::from(u32::MAX) } else { stay });
        let kill_at = kill.then(|| Instant::now() + Duration::from_millis(stay));
        (start(&role, &name), kill_at)
    };
    let mut visitors: Vec<_> = (0..4).map(&mut visitor).collect();
    let (mut visits, mut killed, mut crossed) = (4, 0, 0);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        assert!(sender.running(), "{}", sender.stderr());
        for place in &mut visitors {
            let (program, kill_at) = place;
            if kill_at.is_some_and(|at| Instant::now() > at) {
                assert!(program.running(), "{}", program.stderr());
                program.kill();
                killed += 1;
            } else if program.running() {
                continue;
            } else {
                program.ends_with(0);
            }
            crossed += last_number(&program.stdout(), "frames");
            *place = visitor(visits);
            visits += 1;
        }
    }
    for (program, (memory, files)) in [&sender, &resident].into_iter().zip(before) {
        let grown = status_kb(program.pid(), "RssAnon").saturating_sub(memory);
        assert!(grown < 1024, "grew by {grown} kB");
        assert_eq!(descriptors(program), files);
        println!("memory grew by {grown} kB");
    }
    assert_eq!(std::fs::metadata(name.file()).unwrap().len(), shared);
    std::fs::write(&until, "").unwrap();
    let visiting = visitors.iter_mut().map(|(program, _)| program);
    for program in visiting.chain([&mut resident]) {
        program.ends_with(0);
        crossed += last_number(&program.stdout(), "frames");
    }
    sender.ends_with(0);
    assert!(!name.file().exists());
    assert!(crossed > 0, "frames crossed");
    println!(
        "{seconds} s: {} sent, {crossed} crossed and were whole, in {visits} visits, {killed} of them killed",
        number(&sender.stdout(), "sent")
    );
}

/// The last number of that name that a process printed before it was killed, 0 if it got to none.
fn last_number(text: &str, key: &str) -> u64 {
    if text.contains(&format!("{key}=")) {
        number(text, key)
    } else {
        0
    }
}
