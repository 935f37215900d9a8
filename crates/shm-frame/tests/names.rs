//! Whose name it is: many senders at once, and none that removes what is not its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use shm_frame::{Error, Name, Receiver, Sender, SenderOptions, Waited};
use shm_frame_testing::frames::{self, Checked, create, signal_file, start, wait_for_file};
use shm_frame_testing::{Program, Scratch, TestName, open, shape, take, wait_until};

const SHAPES: &[[u32; 3]] = &[[8, 8, 3]];
const SENDERS: usize = 20;
const ROUNDS: u64 = 200;

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    match role.as_str() {
        "claim" => claim(&name),
        _ => panic!("no role {role}"),
    }
}

/// What a round is about.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// A segment whose sender is dead.
    Dead,
    /// A segment whose sender is alive, and everybody takes it over.
    Live,
}

fn before(round: u64) -> Before {
    [Before::Nothing, Before::Dead, Before::Live][usize::try_from(round % 3).unwrap()]
}

fn file(name: &Name, round: u64, what: &str) -> std::path::PathBuf {
    signal_file(&name.to_string(), &format!("{round}-{what}"))
}

/// Takes part in every round: tries to get the name as soon as that begins, and says how it went.
fn claim(name: &Name) {
    for round in 0..ROUNDS {
        let (begin, end) = (file(name, round, "begin"), file(name, round, "end"));
        let options = SenderOptions::new().replace(before(round) == Before::Live);
        // Without a pause, so that all begin at once.
        while !begin.exists() {
            std::thread::yield_now();
        }
        match Sender::create(name, &options) {
            Ok(sender) => {
                println!("{round} won");
                hold(sender, round, &end);
            }
            Err(Error::Live { pid, .. }) => println!("{round} refused, by {}", pid.unwrap()),
            Err(error) => println!("{round} failed: {error}"),
        }
        wait_for_file(&end);
    }
}

/// Sends until the round ends, or somebody else has the name.
fn hold(mut sender: Sender, round: u64, end: &Path) {
    let checked = Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    };
    while !end.exists() {
        let shape = checked.shape(0);
        match sender.publish(shape, &vec![0; shape.bytes()]) {
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(Error::TakenOver { .. }) => {
                drop(sender);
                println!("{round} lost");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The senders that said something of a round.
fn said<'a>(senders: &'a [Program], round: u64, what: &str) -> Vec<&'a Program> {
    let text = format!("{round} {what}");
    let says = |sender: &&Program| {
        let out = sender.stdout();
        out.lines()
            .any(|line| line.trim_start_matches("test role ... ").starts_with(&text))
    };
    senders.iter().filter(says).collect()
}

#[test]
fn of_twenty_senders_that_start_at_once_exactly_one_has_the_name() {
    let name = TestName::new("twenty");
    let _scratch = Scratch::new(&name);
    let senders: Vec<_> = (0..SENDERS).map(|_| start("claim", &name)).collect();
    let (mut won, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let before = before(round);
        let live = match before {
            Before::Nothing => None,
            Before::Dead => {
                let segment = create(&name.name(), 4, 192).unwrap();
                let bytes = fs::read(name.file()).unwrap();
                drop(segment);
                fs::write(name.file(), bytes).unwrap();
                None
            }
            Before::Live => Some(create(&name.name(), 4, 192).unwrap()),
        };
        let round_end = file(&name.name(), round, "end");
        let begin = file(&name.name(), round, "begin");
        fs::write(&begin, "").unwrap();
        wait_until("everybody tried", || {
            said(&senders, round, "").len() == SENDERS
        });
        assert!(said(&senders, round, "failed").is_empty());
        let winners = said(&senders, round, "won");
        if before == Before::Live {
            assert_eq!(winners.len(), SENDERS, "everybody took it over");
            // Each but the last finds out and says so, and removes nothing.
            wait_until("all but one have lost it", || {
                said(&senders, round, "lost").len() == SENDERS - 1
            });
            // Neither does the one that was there before.
            drop(live);
        } else {
            assert_eq!(winners.len(), 1, "exactly one wins in round {round}");
            let by = format!("refused, by {}", winners[0].pid());
            assert_eq!(said(&senders, round, &by).len(), SENDERS - 1, "{by}");
        }
        won += winners.len();
        refused += said(&senders, round, "refused").len();
        // Whoever has it is at work.
        take(&mut open(&name));
        fs::write(&round_end, "").unwrap();
        wait_until("the name is free", || !name.file().exists());
    }
    for mut sender in senders {
        sender.ends_with(0);
    }
    println!("{ROUNDS} rounds: {won} won, {refused} refused");
}

#[test]
fn receivers_follow_a_name_that_is_taken_over() {
    let name = TestName::new("taken-over");
    let shape = Checked {
        sender: 0,
        shapes: SHAPES,
    }
    .shape(0);
    let pixels = vec![0; shape.bytes()];
    let mut first = create(&name.name(), 4, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    first.publish(shape, &pixels).unwrap();
    take(&mut receiver);
    let mut second = take_over(&name);
    second.publish(shape, &pixels).unwrap();
    wait_until("the receiver is told", || {
        matches!(
            receiver.wait(Duration::from_millis(10)).unwrap(),
            Waited::Ended(_)
        )
    });
    assert!(
        receiver.reopen().unwrap(),
        "in one step: there is no time without a segment"
    );
    take(&mut receiver);
    let mut lost = None;
    wait_until("the first sender is told", || {
        lost = first.publish(shape, &pixels).err();
        lost.is_some()
    });
    match lost {
        Some(Error::TakenOver { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(first);
    second.publish(shape, &pixels).unwrap();
    take(&mut receiver);
}

/// Where a segment stands for a moment before it takes another's place.
fn successor(name: &TestName) -> std::path::PathBuf {
    use std::os::unix::fs::MetadataExt;
    let inode = fs::metadata(name.file()).unwrap().ino();
    Path::new("/dev/shm").join(format!(".shm-frame-{inode}"))
}

fn take_over(name: &TestName) -> Sender {
    let options = SenderOptions::new().replace(true);
    Sender::create(&name.name(), &options).unwrap()
}

#[test]
fn what_a_sender_left_that_was_killed_while_it_took_a_name_is_removed() {
    let name = TestName::new("half-taken");
    let leave = || {
        let left = successor(&name);
        fs::write(&left, "killed between link and rename").unwrap();
        left
    };
    let owner = create(&name.name(), 4, 192).unwrap();
    let left = leave();
    drop(owner);
    assert!(!left.exists(), "by the owner, when it ends");

    let mut owner = create(&name.name(), 4, 192).unwrap();
    let left = leave();
    fs::remove_file(name.file()).unwrap();
    let shape = shape(8, 8, 3);
    wait_until("the segment is made anew", || {
        owner.publish(shape, &[0; 192]).unwrap();
        name.file().exists()
    });
    assert!(
        !left.exists(),
        "by the owner, when it makes its segment anew"
    );

    let left = leave();
    let next = take_over(&name);
    assert!(!left.exists(), "by the next one that takes the name");
    drop((owner, next));
    assert!(!name.file().exists());
}

#[test]
fn nobody_is_kept_from_a_name_by_what_stands_where_it_would_pass() {
    let name = TestName::new("in-the-way");
    let owner = create(&name.name(), 4, 192).unwrap();
    // As another user's file, a directory is nothing that could be removed.
    let in_the_way = successor(&name);
    fs::create_dir(&in_the_way).unwrap();
    let next = take_over(&name);
    fs::remove_dir(in_the_way).unwrap();
    drop(owner);
    assert!(name.file().exists());
    drop(next);
    assert!(!name.file().exists());
}

/// Shares a read lock on a byte of the segment, for which permission to read is enough, until
/// dropped.
fn share(name: &TestName, byte: i64) -> fs::File {
    let file = fs::File::open(name.file()).unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    file
}

#[test]
fn a_reader_that_locks_what_it_may_makes_no_dead_sender_look_alive() {
    let name = TestName::new("locked");
    let live = create(&name.name(), 4, 192).unwrap();
    let bytes = fs::read(name.file()).unwrap();
    drop(live);
    fs::write(name.file(), bytes).unwrap();
    let _shared = share(&name, 0);
    create(&name.name(), 4, 192).unwrap();
}

#[test]
fn a_reader_that_locks_what_it_may_keeps_nobody_from_publishing() {
    let shape = shape(8, 8, 3);
    for removed in [false, true] {
        let name = TestName::new("locked-live");
        let mut sender = create(&name.name(), 4, 192).unwrap();
        let shared = share(&name, 1);
        // Gone or broken, and not to be made anew while that is locked.
        if removed {
            fs::remove_file(name.file()).unwrap();
        } else {
            let file = fs::File::options().write(true).open(name.file()).unwrap();
            file.set_len(0).unwrap();
        }
        let end = Instant::now() + Duration::from_millis(500);
        let mut publish = || match sender.publish(shape, &[0; 192]) {
            Ok(_) => {}
            // There is no memory behind the segment, and no right to make another yet.
            Err(Error::Lost { .. }) if !removed => {}
            Err(error) => panic!("{error}"),
        };
        while Instant::now() < end {
            publish();
        }
        drop(shared);
        wait_until("the segment is made anew", || {
            publish();
            fs::metadata(name.file()).is_ok_and(|file| file.len() > 0)
        });
        take(&mut open(&name));
    }
}

#[test]
fn a_live_senders_name_is_refused_whatever_was_done_to_its_segment() {
    let name = TestName::new("live-broken");
    let sender = create(&name.name(), 4, 40_000).unwrap();
    let file = fs::File::options().write(true).open(name.file()).unwrap();
    let len = file.metadata().unwrap().len();
    for len in [0, 24, 4096, len / 2, len + 4096] {
        file.set_len(len).unwrap();
        match create(&name.name(), 4, 192) {
            Err(Error::Live { pid: None, .. }) => {}
            other => panic!("{len}: {other:?}"),
        }
        // Nor is it taken for a segment without a control page.
        match Receiver::open(&name.name()) {
            Err(Error::NotASegment { what, .. }) => assert!(what.contains("anew"), "{what}"),
            other => panic!("{len}: {other:?}"),
        }
    }
    drop(sender);
    assert!(!name.file().exists());
}
