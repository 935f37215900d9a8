//! Frames and loans that borrow nothing: kept, queued, sent to other threads, and outliving what
//! they came from.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use shm_frame::{
    Error, LoanMemory, Notifier, OwnedLease, OwnedLoan, Receiver, Sender, SenderOptions, Waited,
};
use shm_frame_testing::frames::{Checked, create};
use shm_frame_testing::{PATIENCE, TestName, open, shape, wait_until};

const SHAPES: &[[u32; 3]] = &[[101, 320, 3], [202, 320, 1], [50, 100, 4]];

fn checked() -> Checked {
    Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    }
}

fn check(lease: &OwnedLease) {
    let frame = lease.frame();
    checked().check(frame.number, frame.shape, lease.pixels());
    checked().check_extras(&frame, lease.meta());
    assert!(lease.is_intact());
}

/// What stands in the lease table, by the format's offsets.
fn lease_entries(name: &TestName) -> Vec<u32> {
    let bytes = fs::read(name.file()).unwrap();
    let page = &bytes[bytes.len() - 4096..];
    let entry = |j: usize| u32::from_le_bytes(*page[1152 + 64 * j..].first_chunk().unwrap());
    (0..14).map(entry).collect()
}

#[test]
fn what_owns_its_memory_can_be_sent_and_shared() {
    fn sent_and_shared<T: Send + Sync + 'static>() {}
    sent_and_shared::<OwnedLease>();
    sent_and_shared::<LoanMemory>();
    sent_and_shared::<OwnedLoan>();
    sent_and_shared::<Notifier>();
    sent_and_shared::<Sender>();
    sent_and_shared::<Receiver>();
}

#[test]
fn one_receiver_holds_as_many_frames_as_there_are_entries_while_the_sender_goes_on() {
    let name = TestName::new("several");
    let mut sender = create(&name.name(), 6, checked().capacity()).unwrap();
    let mut receiver = open(&name);
    let mut frame = 0;
    let mut send = |frames| {
        for _ in 0..frames {
            frame += 1;
            checked().send(&mut sender, frame);
        }
        frame
    };
    let mut held = Vec::new();
    for _ in 0..4 {
        let last = send(10);
        held.push(receiver.lease_owned().unwrap().expect("an entry"));
        assert_eq!(held.last().unwrap().frame().number, last);
    }
    // There are no more, for leases of either kind; a copy needs none.
    let last = send(10);
    assert!(receiver.lease_owned().unwrap().is_none());
    assert!(receiver.lease().unwrap().is_none());
    let copied = receiver.copy(&mut Vec::new()).unwrap();
    assert_eq!(copied.expect("a frame").number, last);
    send(1000);
    held.iter().for_each(check);
    // One that is given back is there for the next, at once.
    held.remove(1);
    let last = send(1);
    assert_eq!(receiver.lease().unwrap().expect("one").frame().number, last);
    let last = send(1);
    let again = receiver.lease_owned().unwrap().expect("the same");
    assert_eq!(again.frame().number, last);
    send(1000);
    held.iter().chain([&again]).for_each(check);
    drop((held, again));
    assert!(lease_entries(&name).iter().all(|&entry| entry == 0));
}

#[test]
fn leases_outlive_their_receiver_and_their_segment() {
    let name = TestName::new("outlives");
    let mut sender = create(&name.name(), 4, checked().capacity()).unwrap();
    let mut receiver = open(&name);
    checked().send(&mut sender, 1);
    let first = receiver.lease_owned().unwrap().unwrap();
    checked().send(&mut sender, 2);
    let second = receiver.lease_owned().unwrap().unwrap();
    drop(receiver);
    for frame in 3..1000 {
        checked().send(&mut sender, frame);
    }
    check(&first);
    check(&second);
    // Its entry is free when the lease ends, for somebody else.
    let mut other = open(&name);
    assert!(!other.can_lease());
    thread::spawn(move || drop(first)).join().unwrap();
    wait_until("the other has its entry", || {
        let _ = other.copy(&mut Vec::new()).unwrap();
        other.can_lease()
    });
    drop(other);
    drop(sender);
    assert!(!name.file().exists());
    check(&second);
    assert!(format!("{second:?}").len() < 1000, "{second:?}");
}

#[test]
fn a_receiver_that_goes_away_keeps_no_more_entries_than_its_leases_need() {
    let name = TestName::new("no-more");
    let mut sender = create(&name.name(), 4, checked().capacity()).unwrap();
    let mut receiver = open(&name);
    checked().send(&mut sender, 1);
    let kept = receiver.lease_owned().unwrap().unwrap();
    checked().send(&mut sender, 2);
    drop(receiver.lease_owned().unwrap().unwrap());
    assert!(!open(&name).can_lease(), "it owns both");
    drop(receiver);
    assert!(open(&name).can_lease(), "one is free again");
    check(&kept);
}

/// Ends the threads that look at it, however a test ends.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn leases_cross_threads_flat_out_and_every_frame_is_whole() {
    let name = TestName::new("threads");
    let mut sender = create(&name.name(), 8, checked().capacity()).unwrap();
    let mut receiver = open(&name);
    let done = AtomicBool::new(false);
    let (to, from) = mpsc::sync_channel::<OwnedLease>(4);
    thread::scope(|scope| {
        scope.spawn(|| {
            for frame in 1.. {
                checked().send(&mut sender, frame);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        scope.spawn(move || {
            let (mut last, mut frames) = (0, 0);
            for lease in from {
                check(&lease);
                assert!(lease.frame().number > last);
                last = lease.frame().number;
                frames += 1;
            }
            println!("{frames} frames, the last was {last}");
        });
        let _end = End(&done);
        for _ in 0..2000 {
            assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
            if let Some(lease) = receiver.lease_owned().unwrap() {
                to.send(lease).unwrap();
            }
        }
        drop(to);
    });
    assert!(lease_entries(&name).iter().all(|&entry| entry == 0));
}

#[test]
fn a_loan_that_owns_its_sender_is_filled_elsewhere_and_gives_it_back() {
    let name = TestName::new("loan");
    let shape = shape(8, 8, 3);
    let mut sender = create(&name.name(), 4, 0).unwrap();
    let mut receiver = open(&name);
    for number in 1..10 {
        let filled = thread::spawn(move || {
            // It grows, too: the capacity was 0.
            let mut loan = sender.into_loan(shape, 100).unwrap();
            assert_eq!(loan.shape(), shape);
            loan.pixels().fill(number);
            loan.set_meta(b"made elsewhere").unwrap();
            loan.set_captured_ns(7);
            loan
        });
        let (back, sent) = filled.join().unwrap().publish();
        sender = back;
        assert_eq!(sent.unwrap().number, number.into());
        wait_until("the receiver has followed", || {
            receiver.ended().is_none() && receiver.wait(PATIENCE).unwrap() == Waited::Frame
                || !receiver.reopen().unwrap()
        });
        let lease = receiver.lease().unwrap().unwrap();
        assert_eq!(lease.pixels(), [number; 192]);
        assert_eq!(lease.meta(), b"made elsewhere");
        assert_eq!(lease.frame().captured_ns, Some(7));
    }
    // Given up, nobody sees it, and the numbers go on.
    let mut loan = sender.into_loan(shape, 0).unwrap();
    loan.pixels().fill(99);
    let mut sender = loan.discard();
    assert_eq!(
        receiver.wait(std::time::Duration::ZERO).unwrap(),
        Waited::Timeout
    );
    assert_eq!(sender.publish(shape, &[10; 192]).unwrap().number, 10);
    // What cannot be lent comes back with the reason.
    let options = SenderOptions::new().replace(true);
    let _other = Sender::create(&name.name(), &options).unwrap();
    let mut sender = Some(sender);
    wait_until("it is told that it has lost the name", || {
        match sender.take().unwrap().into_loan(shape, 0) {
            Ok(loan) => {
                sender = Some(loan.discard());
                false
            }
            Err((_, error)) => {
                assert!(matches!(error, Error::TakenOver { .. }), "{error}");
                true
            }
        }
    });
    assert!(name.file().exists(), "the other's");
}

#[test]
fn a_loan_that_is_dropped_ends_the_stream() {
    let name = TestName::new("dropped-loan");
    let sender = create(&name.name(), 4, 192).unwrap();
    let mut receiver = open(&name);
    drop(sender.into_loan(shape(8, 8, 3), 0).unwrap());
    assert!(!name.file().exists());
    wait_until("the receiver is told", || {
        matches!(receiver.wait(PATIENCE).unwrap(), Waited::Ended(_))
    });
}

#[test]
fn memory_of_a_loan_stays_mapped_as_long_as_anybody_wants_it() {
    let name = TestName::new("loan-memory");
    let sender = create(&name.name(), 4, 192).unwrap();
    let inode = format!(" {} ", fs::metadata(name.file()).unwrap().ino());
    let mapped = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains(&inode)).count()
    };
    assert_eq!(mapped(), 2, "slots and control page");
    let loan = sender.into_loan(shape(8, 8, 3), 0).unwrap();
    let memory = loan.memory();
    let again = memory.clone();
    drop(loan.publish());
    assert_eq!(mapped(), 1, "the slots");
    drop(memory);
    assert_eq!(mapped(), 1);
    drop(again);
    assert_eq!(mapped(), 0);
}
