//! Whose name it is: many senders at once, and none that removes what is not its own.

mod common;

use std::path::Path;
use std::time::Duration;

use common::frames::{self, Checked, create, signal_file, start, wait_for_file};
use common::{Program, TestName, open, take, wait_until};
use shm_frame::{Error, Name, Sender, SenderOptions, Wait};

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
        let options = SenderOptions {
            replace: before(round) == Before::Live,
            ..SenderOptions::default()
        };
        // Without a pause, so that all begin at once.
        while !begin.exists() {
            std::thread::yield_now();
        }
        match Sender::create(name, &options) {
            Ok(sender) => {
                println!("{round} won");
                hold(sender, round, &end);
            }
            Err(Error::Live { pid, .. }) => println!("{round} refused, by {pid}"),
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
    let senders: Vec<_> = (0..SENDERS).map(|_| start("claim", &name)).collect();
    let (mut won, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let before = before(round);
        let live = match before {
            Before::Nothing => None,
            Before::Dead => {
                let segment = create(&name.name(), 4, 192).unwrap();
                let bytes = std::fs::read(name.file()).unwrap();
                drop(segment);
                std::fs::write(name.file(), bytes).unwrap();
                None
            }
            Before::Live => Some(create(&name.name(), 4, 192).unwrap()),
        };
        let round_end = file(&name.name(), round, "end");
        let begin = file(&name.name(), round, "begin");
        std::fs::write(&begin, "").unwrap();
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
        std::fs::write(&round_end, "").unwrap();
        wait_until("the name is free", || !name.file().exists());
        std::fs::remove_file(begin).unwrap();
    }
    for mut sender in senders {
        sender.ends_with(0);
    }
    for round in 0..ROUNDS {
        std::fs::remove_file(file(&name.name(), round, "end")).unwrap();
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
    let options = SenderOptions {
        replace: true,
        ..SenderOptions::default()
    };
    let mut second = Sender::create(&name.name(), &options).unwrap();
    second.publish(shape, &pixels).unwrap();
    wait_until("the receiver is told", || {
        matches!(
            receiver.wait(Duration::from_millis(10)).unwrap(),
            Wait::Ended(_)
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
    let inode = std::fs::metadata(name.file()).unwrap().ino();
    Path::new("/dev/shm").join(format!(".shm-frame-{inode}"))
}

#[test]
fn what_a_sender_left_that_was_killed_while_it_took_a_name_is_removed() {
    let name = TestName::new("half-taken");
    let owner = create(&name.name(), 4, 192).unwrap();
    let left = successor(&name);
    std::fs::write(&left, "killed between link and rename").unwrap();
    drop(owner);
    assert!(!left.exists(), "by the owner, when it ends");

    let owner = create(&name.name(), 4, 192).unwrap();
    let left = successor(&name);
    std::fs::write(&left, "killed between link and rename").unwrap();
    let options = SenderOptions {
        replace: true,
        ..SenderOptions::default()
    };
    let next = Sender::create(&name.name(), &options).unwrap();
    assert!(!left.exists(), "by the next one that takes the name");
    drop((owner, next));
    assert!(!name.file().exists());
}
