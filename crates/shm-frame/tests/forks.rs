//! Forks: what a child inherits is its parent's, and stays that whatever the child does and however
//! long it lives.
#![expect(unsafe_code, reason = "fork")]

use std::fs;
use std::time::Duration;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use shm_frame::{End, Error, Name, Receiver, Waited};
use shm_frame_testing::frames::{self, create, start};
use shm_frame_testing::{PATIENCE, TestName, open, open_name, shape, take, wait_until};

/// Not a test but where the other processes come in. In the only thread of theirs, as a program
/// that forks should.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    match role.as_str() {
        "send and fork" => send_and_fork(&name),
        "child of a sender" => child_of_a_sender(&name),
        "child of a receiver" => child_of_a_receiver(&name),
        "child of a notifier" => child_of_a_notifier(&name),
        _ => panic!("no role {role}"),
    }
}

/// Runs this in a child, which must come to its end.
fn in_child(child: impl FnOnce()) {
    // SAFETY: this process has no other thread that holds a lock which the child might need.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // What the parent has is not the child's to end.
            // SAFETY: a system call.
            unsafe { nix::libc::_exit(i32::from(done.is_err())) };
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
}

/// What stands in the lease table, by the format's offsets.
fn lease_entries(name: &Name) -> [u32; 2] {
    let bytes = fs::read(name.path()).unwrap();
    let page = &bytes[bytes.len() - 4096..];
    [0, 1].map(|j| u32::from_le_bytes(*page[1152 + 64 * j..].first_chunk().unwrap()))
}

fn child_of_a_sender(name: &Name) {
    let shape = shape(8, 8, 3);
    let mut sender = create(name, 4, 192).unwrap();
    let mut receiver = open_name(name);
    sender.publish(shape, &[1; 192]).unwrap();
    take(&mut receiver);
    let mut inherited = Some(sender);
    in_child(|| {
        let mut sender = inherited.take().unwrap();
        match sender.publish(shape, &[9; 192]) {
            Err(Error::Forked { name: of }) => assert_eq!(of, *name),
            other => panic!("{other:?}"),
        }
        assert!(matches!(sender.tend(), Err(Error::Forked { .. })));
        assert!(matches!(sender.loan(shape), Err(Error::Forked { .. })));
        drop(sender);
        assert!(name.path().exists(), "the name is its parent's");
        // It can have one of its own.
        let own = Name::new(&format!("{name}-child")).unwrap();
        let mut own_sender = create(&own, 4, 192).unwrap();
        own_sender.publish(shape, &[8; 192]).unwrap();
        take(&mut open_name(&own));
        drop(own_sender);
        assert!(!own.path().exists());
    });
    assert!(name.path().exists());
    // Nobody told the receiver that it ended.
    let brief = Duration::from_millis(50);
    assert_eq!(receiver.wait(brief).unwrap(), Waited::Timeout);
    let mut sender = inherited.unwrap();
    sender.publish(shape, &[2; 192]).unwrap();
    assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
    assert_eq!(take(&mut receiver).1, [2; 192]);
    match create(name, 4, 0) {
        Err(Error::Live { .. }) => {}
        other => panic!("{other:?}"),
    }
    // A loan that was begun is the parent's, too.
    let mut loan = Some(sender.into_loan(shape, 0).unwrap());
    in_child(|| {
        let (sender, sent) = loan.take().unwrap().publish();
        assert!(matches!(sent, Err(Error::Forked { .. })), "{sent:?}");
        drop(sender);
    });
    let mut loan = loan.unwrap();
    loan.pixels().fill(3);
    let (sender, sent) = loan.publish();
    assert_eq!(sent.unwrap().number, 3);
    assert_eq!(take(&mut receiver).1, [3; 192]);
    drop(sender);
    assert!(!name.path().exists());
    println!("right");
}

#[test]
fn a_child_does_not_end_its_parents_stream() {
    let name = TestName::new("child-sender");
    start("child of a sender", &name)
        .ends_with(0)
        .assert_stdout("right");
}

fn child_of_a_receiver(name: &Name) {
    let shape = shape(8, 8, 3);
    let mut sender = create(name, 4, 192).unwrap();
    sender.publish(shape, &[1; 192]).unwrap();
    let mut receiver = open_name(name);
    let owned = receiver.lease_owned().unwrap().unwrap();
    sender.publish(shape, &[2; 192]).unwrap();
    let entries = lease_entries(name);
    assert_ne!(entries, [0, 0]);
    let mut inherited = Some((receiver, owned));
    in_child(|| {
        let (mut receiver, owned) = inherited.take().unwrap();
        assert!(!owned.is_intact(), "nobody holds it for the child");
        drop(owned);
        assert_eq!(lease_entries(name), entries, "it is its parent's");
        // The receiver goes on with locks of its own: the parent has one entry, this one takes the
        // other.
        let lease = receiver.lease().unwrap().expect("an entry of its own");
        assert_eq!((lease.frame().number, lease.pixels()), (2, &[2; 192][..]));
        let [parents, own] = lease_entries(name);
        assert_eq!((parents, own != 0), (entries[0], true));
        drop(lease);
        drop(receiver);
        assert_eq!(lease_entries(name), entries);
    });
    let (mut receiver, owned) = inherited.unwrap();
    // What the parent holds was never written.
    for i in 3..100 {
        sender.publish(shape, &[i; 192]).unwrap();
    }
    assert!(owned.is_intact());
    assert_eq!(owned.pixels(), [1; 192]);
    assert_eq!(receiver.lease().unwrap().unwrap().pixels(), [99; 192]);
    drop(owned);
    assert_eq!(lease_entries(name), [0, 0]);
    println!("right");
}

#[test]
fn a_child_does_not_give_back_its_parents_leases() {
    let name = TestName::new("child-receiver");
    start("child of a receiver", &name)
        .ends_with(0)
        .assert_stdout("right");
}

fn child_of_a_notifier(name: &Name) {
    let mut notifier = Some(shm_frame::Notifier::new(name).unwrap());
    in_child(|| drop(notifier.take()));
    drop(notifier);
    println!("right");
}

#[test]
fn a_child_does_not_wait_for_a_thread_that_is_its_parents() {
    let name = TestName::new("child-notifier");
    start("child of a notifier", &name)
        .ends_with(0)
        .assert_stdout("right");
}

/// Sends, has a receiver and a lease, and leaves a child that does nothing, until it is told to
/// end.
fn send_and_fork(name: &Name) {
    let shape = shape(8, 8, 3);
    let mut sender = create(name, 4, 192).unwrap();
    sender.publish(shape, &[1; 192]).unwrap();
    let mut receiver = open_name(name);
    let _owned = receiver.lease_owned().unwrap().unwrap();
    // SAFETY: as above.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let until = name.path().with_extension("end");
            while !until.exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            // SAFETY: a system call.
            unsafe { nix::libc::_exit(0) };
        }
        ForkResult::Parent { child } => {
            println!("child={child}");
            loop {
                sender.publish(shape, &[1; 192]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn a_dead_parent_is_dead_though_its_idle_child_lives() {
    let name = TestName::new("idle-child");
    let mut parent = start("send and fork", &name);
    parent.wait_for("child=");
    let child = frames::number(&parent.stdout(), "child");
    let mut receiver = open(&name);
    take(&mut receiver);
    // By hand: the child has its output open, so nobody waits for the end of that here.
    parent.signal("KILL");
    wait_until("the receiver is told", || {
        match receiver.wait(Duration::from_millis(10)).unwrap() {
            Waited::Frame => drop(receiver.copy(&mut Vec::new()).unwrap()),
            Waited::Ended(end) => assert_eq!(end, End::Dead),
            _ => {}
        }
        receiver.ended().is_some()
    });
    let alive = || fs::metadata(format!("/proc/{child}")).is_ok();
    assert!(alive(), "the child lives");
    assert!(name.file().exists(), "the segment is kept");
    // The name is free for the next one, and so are its lease entries for its receivers.
    let mut next = create(&name.name(), 4, 192).unwrap();
    next.publish(shape(8, 8, 3), &[2; 192]).unwrap();
    let receivers = [open(&name), open(&name)];
    assert!(receivers.iter().all(Receiver::can_lease));
    assert!(alive(), "all of it beside the child");
    let until = name.file().with_extension("end");
    fs::write(&until, "").unwrap();
    wait_until("the child ended", || !alive());
    fs::remove_file(until).unwrap();
}
