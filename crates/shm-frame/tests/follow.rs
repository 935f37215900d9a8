//! Waiting as programs do: for one stream or several, until somebody cancels it, through restarts,
//! and in an event loop.
#![expect(unsafe_code, reason = "a filter of system calls")]

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_frame::{
    End, Error, Followed, Follower, FrameHeader, Name, Notifier, Receiver, Sender, SenderOptions,
    WaitMode, Waited,
};
use shm_frame_testing::frames::{self, Checked, create, start};
use shm_frame_testing::{PATIENCE, Program, TestName, example, open, shape, take, wait_until};

const SHAPES: &[[u32; 3]] = &[[8, 8, 3]];

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    match role.as_str() {
        "send" => send(&name),
        "without waitv" => without_waitv(&name),
        _ => panic!("no role {role}"),
    }
}

fn checked() -> Checked {
    Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    }
}

/// Sends a frame every 5 ms, until it is killed.
fn send(name: &Name) {
    let mut sender = create(name, 4, 0).unwrap();
    println!("sending");
    for frame in 1.. {
        checked().send(&mut sender, frame);
        thread::sleep(Duration::from_millis(5));
    }
}

fn publish(sender: &mut Sender, value: u8) {
    sender.publish(shape(8, 8, 3), &[value; 192]).unwrap();
}

// --- cancelling

#[test]
fn a_wait_is_cancelled_from_another_thread_however_it_waits() {
    let plain = TestName::new("cancel-plain");
    let header = FrameHeader::default().encode();
    fs::write(plain.file(), [&header[..], &[0; 192]].concat()).unwrap();
    let native = TestName::new("cancel");
    let _sender = create(&native.name(), 4, 192).unwrap();
    for (name, mode) in [
        (&native, WaitMode::Sleep),
        (&native, WaitMode::Predict),
        (&native, WaitMode::Spin),
        (&plain, WaitMode::Sleep),
    ] {
        let mut receiver = open(name);
        receiver.set_wait_mode(mode);
        let canceller = receiver.canceller();
        let waiting = thread::spawn(move || {
            let waited = receiver.wait(Duration::MAX).unwrap();
            (receiver, waited)
        });
        thread::sleep(Duration::from_millis(30));
        canceller.clone().cancel();
        let (mut receiver, waited) = waiting.join().unwrap();
        assert_eq!(waited, Waited::Cancelled, "{mode:?}");
        // Once for each time; one that comes before the wait counts for it.
        let brief = Duration::from_millis(20);
        assert_eq!(receiver.wait(brief).unwrap(), Waited::Timeout);
        canceller.cancel();
        canceller.cancel();
        assert_eq!(receiver.wait(Duration::MAX).unwrap(), Waited::Cancelled);
        assert_eq!(receiver.wait(brief).unwrap(), Waited::Timeout);
    }
}

#[test]
fn a_sleeping_receiver_is_woken_to_be_cancelled() {
    const ROUNDS: u32 = 20;
    let name = TestName::new("cancel-woken");
    let _sender = create(&name.name(), 4, 192).unwrap();
    let mut receiver = open(&name);
    let canceller = receiver.canceller();
    let mut woken = 0;
    for _ in 0..ROUNDS {
        let cancelling = {
            let canceller = canceller.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(130));
                canceller.cancel();
                Instant::now()
            })
        };
        assert_eq!(receiver.wait(Duration::MAX).unwrap(), Waited::Cancelled);
        // One that is not woken looks every 0.1 s by itself, so by chance it would be as quick once
        // or twice.
        let late = cancelling.join().unwrap().elapsed();
        woken += u32::from(late < Duration::from_millis(10));
    }
    assert!(woken > ROUNDS / 2, "{woken} of {ROUNDS}");
}

#[test]
fn frames_come_as_ever_to_a_receiver_that_can_be_cancelled() {
    let name = TestName::new("cancellable");
    let mut sender = create(&name.name(), 4, 192).unwrap();
    let mut receiver = open(&name);
    let _canceller = receiver.canceller();
    let sending = thread::spawn(move || {
        for frame in 1..=40 {
            thread::sleep(Duration::from_millis(20));
            checked().send(&mut sender, frame);
        }
    });
    let mut frames = 0;
    while receiver.wait(PATIENCE).unwrap() == Waited::Frame || receiver.reopen().unwrap() {
        frames += u32::from(receiver.ended().is_none() && receiver.lease().unwrap().is_some());
    }
    sending.join().unwrap();
    // One that is not woken looks ten times a second by itself.
    assert!(frames > 20, "{frames} of 40");
}

// --- several at once

/// Three streams and their receivers, and what `wait_any` says of them.
fn waits_for_any(names: &[TestName; 3]) {
    let mut senders = names
        .each_ref()
        .map(|name| create(&name.name(), 4, 192).unwrap());
    let mut receivers = names.each_ref().map(open);
    let any = |receivers: &mut [Receiver; 3], time| {
        let mut all: Vec<_> = receivers.iter_mut().collect();
        Receiver::wait_any(&mut all, time).unwrap()
    };
    assert_eq!(any(&mut receivers, Duration::from_millis(30)), []);
    for (i, sender) in senders.iter_mut().enumerate() {
        publish(sender, 1);
        assert_eq!(any(&mut receivers, PATIENCE), [(i, Waited::Frame)]);
        // It stays news until it is taken.
        assert_eq!(any(&mut receivers, PATIENCE), [(i, Waited::Frame)]);
        take(&mut receivers[i]);
    }
    publish(&mut senders[0], 2);
    publish(&mut senders[2], 2);
    let both = [(0, Waited::Frame), (2, Waited::Frame)];
    assert_eq!(any(&mut receivers, PATIENCE), both);
    take(&mut receivers[0]);
    take(&mut receivers[2]);

    // Asleep, each wakes it: far more often than it looks by itself.
    let [mut first, second, third] = senders;
    let mut others = [second, third];
    let sending = thread::spawn(move || {
        for frame in 0..40 {
            thread::sleep(Duration::from_millis(20));
            publish(&mut others[frame % 2], 3);
        }
        others
    });
    let mut woken = 0;
    while !sending.is_finished() {
        for (i, waited) in any(&mut receivers, Duration::from_millis(500)) {
            assert_eq!(waited, Waited::Frame);
            take(&mut receivers[i]);
            woken += 1;
        }
    }
    assert!(woken > 20, "{woken} of 40");
    let others = sending.join().unwrap();

    let canceller = receivers[1].canceller();
    let cancelling = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        canceller.cancel();
    });
    assert_eq!(any(&mut receivers, Duration::MAX), [(1, Waited::Cancelled)]);
    cancelling.join().unwrap();

    drop(others);
    wait_until("both have ended", || {
        let told = any(&mut receivers, PATIENCE);
        told.iter()
            .all(|(_, waited)| *waited == Waited::Ended(End::Closed))
            && told.len() == 2
    });
    publish(&mut first, 9);
    assert_eq!(any(&mut receivers, PATIENCE).len(), 3);
}

fn three(test: &str) -> [TestName; 3] {
    [0, 1, 2].map(|i| TestName::new(&format!("{test}-{i}")))
}

#[test]
fn one_thread_waits_for_several_streams() {
    waits_for_any(&three("any"));
}

/// The same in a process whose system has no `futex_waitv`.
fn without_waitv(_: &Name) {
    const FUTEX_WAITV: u32 = 449;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    // Load the number of the call; for this one answer ENOSYS, allow all others (seccomp(2)).
    let filter = [
        step(0x20, 0, 0, 0),
        step(0x15, FUTEX_WAITV, 0, 1),
        step(
            0x06,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
            0,
            0,
        ),
        step(0x06, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: a system call with numbers.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: the filter is there for as long as the call takes, and the kernel copies it.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: it fails before it looks at anything.
    let missing = unsafe { libc::syscall(libc::SYS_futex_waitv, 0, 0, 0, 0, 0) };
    assert_eq!(
        (missing, nix::errno::Errno::last()),
        (-1, nix::errno::Errno::ENOSYS)
    );
    waits_for_any(&three("no-waitv"));
    a_wait_is_cancelled_from_another_thread_however_it_waits();
    frames_come_as_ever_to_a_receiver_that_can_be_cancelled();
    println!("without it, too");
}

#[test]
fn where_the_system_cannot_sleep_on_several_words_all_is_the_same() {
    let name = TestName::new("no-waitv");
    start("without waitv", &name)
        .ends_with(0)
        .assert_stdout("without it, too");
}

#[test]
fn streams_without_a_control_page_are_waited_for_with_the_others() {
    let (plain, native) = (TestName::new("any-plain"), TestName::new("any-native"));
    let header = FrameHeader::default().encode();
    fs::write(plain.file(), [&header[..], &[5; 192]].concat()).unwrap();
    let mut sender = create(&native.name(), 4, 192).unwrap();
    let (mut first, mut second) = (open(&plain), open(&native));
    let writing = {
        let path = plain.file();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap();
            let header = FrameHeader {
                width: 8,
                height: 8,
                channels: 3,
                timestamp_ms: now.as_millis().try_into().unwrap(),
                frame_valid: 1,
            };
            let file = fs::File::options().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &header.encode(), 0).unwrap();
        })
    };
    let told = Receiver::wait_any(&mut [&mut first, &mut second], PATIENCE).unwrap();
    assert_eq!(told, [(0, Waited::Frame)]);
    writing.join().unwrap();
    assert_eq!(take(&mut first).1, [5; 192]);
    publish(&mut sender, 1);
    let told = Receiver::wait_any(&mut [&mut first, &mut second], PATIENCE).unwrap();
    assert_eq!(told, [(1, Waited::Frame)]);
}

#[test]
fn more_streams_than_the_system_can_sleep_on_are_waited_for_all_the_same() {
    let name = TestName::new("crowd");
    let mut sender = create(&name.name(), 4, 192).unwrap();
    // Each with a word of its own to be cancelled by: more than 128.
    let mut receivers: Vec<_> = (0..70).map(|_| open(&name)).collect();
    let cancellers: Vec<_> = receivers.iter_mut().map(Receiver::canceller).collect();
    let any = |receivers: &mut Vec<Receiver>| {
        let mut all: Vec<_> = receivers.iter_mut().collect();
        Receiver::wait_any(&mut all, PATIENCE).unwrap()
    };
    let sending = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        publish(&mut sender, 1);
        sender
    });
    let told = any(&mut receivers);
    assert!(told.iter().all(|&(_, waited)| waited == Waited::Frame));
    let _sender = sending.join().unwrap();
    for receiver in &mut receivers {
        take(receiver);
    }
    let cancelling = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        cancellers[69].cancel();
    });
    assert_eq!(any(&mut receivers), [(69, Waited::Cancelled)]);
    cancelling.join().unwrap();
}

#[test]
fn no_receivers_have_nothing_to_tell_and_time_passes() {
    let brief = Duration::from_millis(20);
    let begin = Instant::now();
    assert_eq!(Receiver::wait_any(&mut [], brief).unwrap(), []);
    assert!(begin.elapsed() >= brief);
}

// --- a name, whatever it means

/// What a follower is told until it has a frame of a sender that it had none of before: that
/// sender, and all else.
fn next_sender(follower: &mut Follower, seen: &mut Vec<u64>) -> (u32, Vec<String>) {
    let mut told = Vec::new();
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "no other sender: {told:?}");
        match follower.wait(Duration::from_millis(100)).unwrap() {
            Followed::Frame(receiver) => {
                let sender = receiver.sender_pid().unwrap();
                let Some(lease) = receiver.lease().unwrap() else {
                    continue;
                };
                let frame = lease.frame();
                let checked = Checked {
                    sender,
                    shapes: SHAPES,
                };
                checked.check(frame.number, frame.shape, lease.pixels());
                checked.check_extras(&frame, lease.meta());
                if !seen.contains(&frame.session) {
                    seen.push(frame.session);
                    return (sender, told);
                }
            }
            Followed::Attached(_) => told.push("attached".to_owned()),
            Followed::Ended(end) => told.push(format!("ended {end}")),
            Followed::Missing(why) => told.push(format!("missing: {why}")),
            Followed::Timeout => {}
            Followed::Cancelled => panic!("nobody did"),
        }
    }
}

fn sending(name: &TestName) -> Program {
    let mut sender = start("send", name);
    sender.wait_for("sending");
    sender
}

#[test]
fn a_follower_goes_through_kills_replacements_growth_and_removal() {
    let name = TestName::new("follower");
    let mut follower = Follower::new(&name.name());
    let mut seen = Vec::new();
    match follower.wait(Duration::from_secs(1)).unwrap() {
        Followed::Missing(Error::NotFound { .. }) => {}
        other => panic!("{other:?}"),
    }
    // Told once, as long as nothing changes.
    let brief = Duration::from_millis(20);
    assert!(matches!(follower.wait(brief).unwrap(), Followed::Timeout));
    assert!(!follower.is_attached());

    // The receiver came first.
    let mut first = sending(&name);
    let (sender, told) = next_sender(&mut follower, &mut seen);
    assert_eq!(sender, first.pid());
    // The sender's first frame needs more than its capacity, which was 0.
    assert_eq!(told[0], "attached");
    assert!(follower.is_attached());

    // Killed, and nobody comes for a while; then another.
    first.kill();
    let end = loop {
        match follower.wait(Duration::from_secs(10)).unwrap() {
            Followed::Frame(receiver) => drop(receiver.copy(&mut Vec::new()).unwrap()),
            Followed::Ended(end) => break end,
            _ => {}
        }
    };
    assert_eq!(end, End::Dead);
    match follower.wait(Duration::from_secs(10)).unwrap() {
        Followed::Missing(Error::Ended { end: End::Dead, .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut second = sending(&name);
    let (sender, told) = next_sender(&mut follower, &mut seen);
    assert_eq!(sender, second.pid());
    assert!(told.contains(&"attached".to_owned()), "{told:?}");

    // Its name is taken away: it makes its segment anew, in the same session.
    let session = *seen.last().unwrap();
    fs::remove_file(name.file()).unwrap();
    let mut frames = 0;
    wait_until("frames come through a new segment", || {
        if let Followed::Frame(receiver) = follower.wait(Duration::from_millis(100)).unwrap()
            && let Some(frame) = receiver.copy(&mut Vec::new()).unwrap()
        {
            assert_eq!(frame.session, session);
            frames += 1;
        }
        frames > 50 && name.file().exists()
    });

    // Another takes the name over from it.
    let options = SenderOptions::new().replace(true);
    let mut third = Sender::create(&name.name(), &options).unwrap();
    let publishing = thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(3);
        for frame in 1.. {
            checked().send(&mut third, frame);
            if Instant::now() > end {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    let (sender, told) = next_sender(&mut follower, &mut seen);
    assert_eq!(sender, std::process::id());
    assert!(
        told.iter().any(|what| what.starts_with("ended")),
        "{told:?}"
    );
    publishing.join().unwrap();
    let end = loop {
        match follower.wait(PATIENCE).unwrap() {
            Followed::Frame(receiver) => drop(receiver.copy(&mut Vec::new()).unwrap()),
            Followed::Ended(end) => break end,
            Followed::Timeout => panic!("no end"),
            _ => {}
        }
    };
    assert_eq!(end, End::Closed);
    assert_eq!(seen.len(), 3);
    second.kill();
}

#[test]
fn a_follower_is_cancelled_with_and_without_a_segment() {
    let name = TestName::new("follower-cancel");
    let mut follower = Follower::new(&name.name());
    let canceller = follower.canceller();
    let cancel_soon = || {
        let canceller = canceller.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            canceller.cancel();
        })
    };
    let is_cancelled = |follower: &mut Follower| {
        let cancelling = cancel_soon();
        loop {
            match follower.wait(Duration::MAX).unwrap() {
                Followed::Cancelled => break,
                Followed::Missing(_) | Followed::Attached(_) => {}
                other => panic!("{other:?}"),
            }
        }
        cancelling.join().unwrap();
    };
    is_cancelled(&mut follower);
    let sender = create(&name.name(), 4, 192).unwrap();
    assert!(matches!(
        follower.wait(PATIENCE).unwrap(),
        Followed::Attached(_)
    ));
    is_cancelled(&mut follower);
    drop(sender);
    assert!(matches!(
        follower.wait(PATIENCE).unwrap(),
        Followed::Ended(End::Closed)
    ));
    is_cancelled(&mut follower);
    // One that exists before its canceller.
    let _sender = create(&name.name(), 4, 192).unwrap();
    let mut late = Follower::new(&name.name());
    assert!(matches!(
        late.wait(PATIENCE).unwrap(),
        Followed::Attached(_)
    ));
    let canceller = late.canceller();
    canceller.cancel();
    assert!(matches!(
        late.wait(Duration::MAX).unwrap(),
        Followed::Cancelled
    ));
}

#[test]
fn a_file_that_is_no_segment_is_told_of_and_waited_out() {
    let name = TestName::new("follower-other");
    fs::write(name.file(), "not a segment").unwrap();
    let mut follower = Follower::new(&name.name());
    match follower.wait(PATIENCE).unwrap() {
        Followed::Missing(Error::NotASegment { .. }) => {}
        other => panic!("{other:?}"),
    }
    fs::remove_file(name.file()).unwrap();
    match follower.wait(PATIENCE).unwrap() {
        Followed::Missing(Error::NotFound { .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut sender = create(&name.name(), 4, 192).unwrap();
    assert!(matches!(
        follower.wait(PATIENCE).unwrap(),
        Followed::Attached(_)
    ));
    publish(&mut sender, 1);
    assert!(matches!(
        follower.wait(PATIENCE).unwrap(),
        Followed::Frame(_)
    ));
}

// --- event loops

/// Whether the descriptor becomes readable in that many ms.
fn readable(notifier: &Notifier, ms: u16) -> bool {
    let mut files = [PollFd::new(notifier.as_fd(), PollFlags::POLLIN)];
    poll(&mut files, PollTimeout::from(ms)).unwrap() == 1
}

/// Waits until nothing more is told of what has happened so far.
fn settle(notifier: &Notifier) {
    wait_until("nothing is told for a while", || {
        notifier.clear();
        !readable(notifier, 600)
    });
}

#[test]
fn a_notifiers_descriptor_is_readable_when_there_is_news_until_it_is_cleared() {
    let name = TestName::new("notifier");
    let notifier = Notifier::new(&name.name()).unwrap();
    settle(&notifier);
    assert!(!notifier.clear(), "there is none");
    // A segment, a frame, a larger one in another segment, an end.
    let mut sender = create(&name.name(), 4, 192).unwrap();
    assert!(readable(&notifier, 30_000));
    settle(&notifier);
    for value in 0..20 {
        publish(&mut sender, value);
        assert!(readable(&notifier, 30_000));
        assert!(readable(&notifier, 0), "until it is cleared");
        assert!(notifier.clear());
        assert!(!readable(&notifier, 0));
    }
    let larger = shape(100, 100, 3);
    sender.publish(larger, &vec![1; larger.bytes()]).unwrap();
    assert!(readable(&notifier, 30_000));
    settle(&notifier);
    // It keeps no receiver from a lease entry.
    let receivers = [open(&name), open(&name)];
    assert!(receivers.iter().all(Receiver::can_lease));
    drop(sender);
    assert!(readable(&notifier, 30_000));
    settle(&notifier);
    assert!(notifier.as_raw_fd() >= 0);
    drop(notifier);
}

#[test]
fn a_receiver_that_looks_only_when_told_misses_no_frame_that_stands_still() {
    let name = TestName::new("notified");
    let notifier = Notifier::new(&name.name()).unwrap();
    let follower = std::cell::RefCell::new(Follower::new(&name.name()));
    // Takes what there is, each time it is told, until there is what is waited for.
    let until = |what: &str, found: &dyn Fn(&Receiver, &[u8]) -> bool| {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "{what} never came");
            if !readable(&notifier, 1000) {
                continue;
            }
            notifier.clear();
            loop {
                match follower.borrow_mut().wait(Duration::ZERO).unwrap() {
                    Followed::Frame(receiver) => {
                        let mut pixels = Vec::new();
                        receiver.copy(&mut pixels).unwrap();
                        if found(receiver, &pixels) {
                            return;
                        }
                    }
                    Followed::Timeout => break,
                    _ => {}
                }
            }
        }
    };
    let received = |value: u8| {
        until(&value.to_string(), &|_, pixels| {
            pixels.first() == Some(&value)
        });
    };
    let taken_from = |pid: u32| {
        until("a frame of that process", &|receiver, _| {
            receiver.sender_pid() == Some(pid)
        });
    };
    // One frame each, of senders that come after one another in every way: the last one's is not
    // followed by any other.
    for round in 0..6 {
        let mut sender = match round % 3 {
            0 => create(&name.name(), 4, 192).unwrap(),
            1 => Sender::create(&name.name(), &SenderOptions::new().replace(true)).unwrap(),
            _ => create(&name.name(), 1, 192).unwrap(),
        };
        publish(&mut sender, 10 + round);
        received(10 + round);
    }
    // The same after a sender that is killed in the middle of its stream: whoever looks last is
    // told when all have.
    for round in 0..8 {
        let mut process = sending(&name);
        taken_from(process.pid());
        thread::sleep(Duration::from_millis(15 * round));
        process.kill();
        let mut sender = create(&name.name(), 4, 192).unwrap();
        publish(&mut sender, 77);
        received(77);
        drop(sender);
    }
    // And from a sender that knows only the header, and takes its time.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let header = |frame_valid| {
        FrameHeader {
            width: 8,
            height: 8,
            channels: 3,
            timestamp_ms: now.as_millis().try_into().unwrap(),
            frame_valid,
        }
        .encode()
    };
    fs::write(name.file(), [&header(0)[..], &[88; 192]].concat()).unwrap();
    thread::sleep(Duration::from_millis(400));
    notifier.clear();
    let file = fs::File::options().write(true).open(name.file()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &header(1), 0).unwrap();
    received(88);
}

#[test]
fn the_example_for_tokio_receives_what_is_sent() {
    let name = TestName::new("tokio");
    let mut command = Command::new(example("tokio"));
    command.args([name.as_str(), "10"]);
    let mut example = Program::start(&mut command);
    wait_until("it waits, or says why not", || {
        example.stdout().contains("waiting: there is no segment") || !example.running()
    });
    let _sender = sending(&name);
    example.ends_with(0);
    let frames = example.stdout().matches(" of 8x8x3\n").count();
    assert_eq!(frames, 10, "{}", example.stdout());
}
