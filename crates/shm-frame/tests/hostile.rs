//! Segments that somebody truncates, removes and scribbles on while they are in use.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shm_frame::{Error, FrameHeader, Name, Receiver, Waited};
use shm_frame_testing::frames::{self, Checked, Random, Take, create, number, signal_file, start};
use shm_frame_testing::{
    Program, Scratch, TestName, open_name, open_read_only, status_kb, take, wait_until,
};

const SHAPES: &[[u32; 3]] = &[[101, 320, 3], [202, 320, 1], [50, 100, 4]];
const PAGE: u64 = 4096;

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    let until = signal_file(&name.to_string(), "end");
    match role.as_str() {
        "send" => send(&name, &until),
        "lease" => frames::follow(open_name(&name), Take::Lease, SHAPES, || until.exists()),
        "view" => frames::follow(open_read_only(&name), Take::Lease, SHAPES, || {
            until.exists()
        }),
        "copy" => frames::follow(open_name(&name), Take::Copy, SHAPES, || until.exists()),
        "believe" => believe(&name, &until),
        _ => panic!("no role {role}"),
    }
}

fn send(name: &Name, until: &Path) {
    let checked = Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    };
    let mut sender = create(name, 4, checked.capacity()).unwrap();
    println!("sending");
    for frame in 1.. {
        checked.send(&mut sender, frame);
        if until.exists() {
            println!("sent={frame}");
            return;
        }
    }
}

fn inode(name: &TestName) -> Option<u64> {
    fs::metadata(name.file()).ok().map(|file| file.ino())
}

#[test]
fn truncation_and_removal_end_neither_side_and_show_no_frame_that_is_not_whole() {
    const ROUNDS: u64 = 120;
    let name = TestName::new("truncated");
    let _scratch = Scratch::new(&name);
    let mut programs = [
        start("send", &name),
        start("lease", &name),
        start("view", &name),
        start("copy", &name),
    ];
    programs[0].wait_for("sending");
    let mut random = Random(3);
    for round in 0..ROUNDS {
        for receiver in &mut programs[1..] {
            let seen = receiver.stdout().len();
            receiver.wait_until("it has frames", |receiver| receiver.stdout().len() > seen);
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        let before = inode(&name);
        let file = fs::File::options().write(true).open(name.file()).unwrap();
        let len = file.metadata().unwrap().len();
        match round % 7 {
            0 => file.set_len(0).unwrap(),
            1 => file.set_len(24).unwrap(),
            // In the middle of a slot, and of the pages that are mapped together.
            2 => file.set_len(len / 2 + 1000).unwrap(),
            3 => {
                // Away and back raises no signal, and leaves zeros.
                file.set_len(0).unwrap();
                file.set_len(len).unwrap();
            }
            4 => file.set_len(len + PAGE).unwrap(),
            5 => fs::remove_file(name.file()).unwrap(),
            _ => {
                let away = name.file().with_extension("away");
                fs::rename(name.file(), &away).unwrap();
                fs::remove_file(away).unwrap();
            }
        }
        if round % 10 == 0 {
            // Sent by somebody it means nothing, and the guard is there the next time, too.
            for program in &programs {
                program.signal("BUS");
            }
        }
        wait_until("there is another segment", || {
            inode(&name).is_some_and(|now| Some(now) != before)
        });
        for program in &mut programs {
            if !program.running() {
                program.fail(&format!("it ended in round {round}"));
            }
        }
    }
    let until = signal_file(name.as_str(), "end");
    fs::write(&until, "").unwrap();
    for program in &mut programs {
        program.ends_with(0);
    }
    println!(
        "{ROUNDS} times in {} frames: {} leased, {} copied, all whole",
        number(&programs[0].stdout(), "sent"),
        number(&programs[1].stdout(), "frames"),
        number(&programs[2].stdout(), "frames"),
    );
}

// --- lies

/// Address space that this process has at most had.
fn peak_kb() -> u64 {
    status_kb(std::process::id(), "VmPeak")
}

/// Takes whatever it is given, in either way, and reads all of it.
fn believe(name: &Name, until: &Path) {
    let mut receiver = open_name(name);
    // What the allocator and the runtime take at first is not what is asked about.
    take(&mut receiver);
    println!("begins");
    let (before, mut pixels) = (peak_kb(), Vec::new());
    let (mut frames, mut refused, mut ends, mut sum) = (0, 0, 0, 0_u64);
    let mut leases = false;
    while !until.exists() {
        match receiver.wait(Duration::from_millis(20)).unwrap() {
            Waited::Frame => {
                leases = !leases;
                let taken = if leases && receiver.can_lease() {
                    receiver.lease().map(|lease| {
                        lease
                            .inspect(|lease| {
                                sum += lease
                                    .pixels()
                                    .iter()
                                    .map(|&byte| u64::from(byte))
                                    .sum::<u64>();
                            })
                            .map(|lease| lease.frame())
                    })
                } else {
                    receiver.copy(&mut pixels)
                };
                match taken {
                    Ok(Some(_)) => frames += 1,
                    Ok(None) => {}
                    Err(Error::Shape { .. } | Error::TooLarge { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            Waited::Timeout | Waited::Cancelled => {}
            Waited::Ended(_) => {
                ends += 1;
                reopen(&mut receiver, until);
            }
        }
    }
    let grown = peak_kb() - before;
    println!("frames={frames} refused={refused} ends={ends} grown_kb={grown} sum={sum}");
}

/// Goes on with the next segment. What it meets there may be anything.
fn reopen(receiver: &mut Receiver, until: &Path) {
    while !until.exists() {
        match receiver.reopen() {
            Ok(true) => return,
            Ok(false) | Err(Error::NotASegment { .. } | Error::Version { .. }) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writes lies over the headers and the control page of whatever the name means, until it means
/// nothing else for a while.
fn scribble(name: &TestName, random: &mut Random, time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut lies = 0;
    while Instant::now() < end {
        let Ok(file) = fs::File::options().read(true).write(true).open(name.file()) else {
            continue;
        };
        let page = file.metadata().unwrap().len().saturating_sub(PAGE);
        for _ in 0..random.below(2000) {
            lie(&file, page, random);
            lies += 1;
        }
        // Let it be for a moment, so that something is believed.
        std::thread::sleep(Duration::from_micros(random.below(2000)));
    }
    lies
}

/// One lie, by the offsets of docs/format.md.
fn lie(file: &fs::File, page: u64, random: &mut Random) {
    let value = match random.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => random.below(20),
        3 => 1 << random.below(64),
        // The kind of number that `latest` and the sequences are.
        4 => (random.below(1000) << 8) | random.below(5),
        _ => random.below(u64::MAX),
    };
    let at = match random.below(10) {
        // A header, of any slot that this segment's stride would give.
        0..4 => random.below(4) * (page / 4) / PAGE * PAGE + 4 * random.below(6),
        // latest, wake word, state and asked, sequences and times, leases
        4 => page + 64 + 4 * random.below(5),
        5..7 => page + 128 + 64 * random.below(4) + 8 * random.below(3),
        7 => page + 1152 + 64 * random.below(2),
        // Magic, version, session and geometry: a receiver that is attached has read them, the next
        // one has not.
        8 if random.below(20) == 0 => page + 4 * random.below(12),
        _ => random.below(page + PAGE),
    };
    let bytes = value.to_le_bytes();
    let _ = file.write_all_at(&bytes[..if random.below(2) == 0 { 4 } else { 8 }], at);
}

#[test]
fn lies_in_headers_and_control_page_crash_nobody_and_take_no_memory() {
    let name = TestName::new("lies");
    let _scratch = Scratch::new(&name);
    let mut sender = start("send", &name);
    sender.wait_for("sending");
    let mut receivers: Vec<Program> = (0..3).map(|_| start("believe", &name)).collect();
    for receiver in &mut receivers {
        receiver.wait_for("begins");
    }
    let mut random = Random(4);
    let lies = scribble(&name, &mut random, Duration::from_secs(6));
    for program in receivers.iter_mut().chain([&mut sender]) {
        if !program.running() {
            program.fail("it ended");
        }
    }
    // Then everybody finds the truth again, by itself.
    let mut seen = open_name(&name.name());
    take(&mut seen);
    let until = signal_file(name.as_str(), "end");
    fs::write(&until, "").unwrap();
    sender.ends_with(0);
    for receiver in &mut receivers {
        receiver.ends_with(0);
        let report = receiver.stdout();
        println!(
            "{lies} lies: {}",
            report
                .lines()
                .find(|line| line.contains("frames="))
                .unwrap()
        );
        assert!(number(&report, "frames") > 0, "{report}");
        assert!(number(&report, "refused") > 0, "no lie was met: {report}");
        // Both its mappings again, and a copy of what is in them.
        let file_kb = SEGMENT_BYTES / 1024;
        assert!(number(&report, "grown_kb") < 4 * file_kb, "{report}");
    }
}

#[test]
fn a_receiver_that_was_lied_to_hears_again() {
    let checked = Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    };
    let name = TestName::new("deaf");
    let mut sender = create(&name.name(), 4, checked.capacity()).unwrap();
    let mut frame = 0;
    let mut send = || {
        frame += 1;
        checked.send(&mut sender, frame);
        frame
    };
    send();
    let mut receiver = open_name(&name.name());
    take(&mut receiver);
    let file = fs::File::options().write(true).open(name.file()).unwrap();
    let len = file.metadata().unwrap().len();
    let put = |at: u64, value: u64| {
        let page = len - PAGE;
        file.write_all_at(&value.to_le_bytes(), page + at).unwrap();
    };
    // A frame from a far future, in slot 3.
    put(128 + 64 * 3, 2 << 50);
    file.write_all_at(&[8, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0], (len - PAGE) / 4 * 3)
        .unwrap();
    put(64, 1 << 58 | 3);
    put(72, 1 << 20);
    let (lie, _) = take(&mut receiver);
    assert_eq!(lie.number, 1 << 50);
    let hears = |receiver: &mut Receiver, send: &mut dyn FnMut() -> u64| {
        wait_until("it hears again", || {
            let number = send();
            match receiver.wait(Duration::from_millis(10)).unwrap() {
                Waited::Frame => take(receiver).0.number == number,
                Waited::Timeout | Waited::Cancelled => false,
                Waited::Ended(_) => {
                    let _ = receiver.reopen();
                    false
                }
            }
        });
    };
    hears(&mut receiver, &mut send);

    // An end that is none: changed and put back before the sender looked.
    for (change, back) in [(len + PAGE, len), (len, len)] {
        file.set_len(change).unwrap();
        if change == len {
            put(72, 1 << 32);
        }
        wait_until("the receiver believes it", || {
            matches!(
                receiver.wait(Duration::from_millis(10)).unwrap(),
                Waited::Ended(_)
            )
        });
        file.set_len(back).unwrap();
        put(72, 0);
        hears(&mut receiver, &mut send);
    }
}

#[test]
fn a_sparse_file_is_not_filled_by_reading_it() {
    let name = TestName::new("sparse");
    let file = fs::File::create(name.file()).unwrap();
    file.set_len(24 + 4000 * 4000 * 4).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let header = FrameHeader {
        width: 4000,
        height: 4000,
        channels: 4,
        timestamp_ms: now.as_millis().try_into().unwrap(),
        frame_valid: 1,
    };
    file.write_all_at(&header.encode(), 0).unwrap();
    let mut receiver = Receiver::open(&name.name()).unwrap();
    assert_eq!(
        receiver.wait(Duration::from_secs(1)).unwrap(),
        Waited::Frame
    );
    match receiver.copy(&mut Vec::new()) {
        Err(Error::TooLarge { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
}

/// More than the test's segments have.
const SEGMENT_BYTES: u64 = 4 * 101 * 320 * 3 + 5 * PAGE;
