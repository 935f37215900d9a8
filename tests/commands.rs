//! The two commands as a user has them: flags, outputs, signals, restarts, exit codes.
mod common;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use common::{Json as _, RECV, SEND, command, keys, publisher, recv, send};
use serde_json::{Value, json};
use shm_frame::{FrameHeader, Sender, Shape};
use shm_frame_testing::{Program, Scratch, TestName, open, shape, take};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");

/// A sender in this process, for frames one at a time.
fn publish(sender: &mut Sender, shape: Shape) {
    sender.publish(shape, &vec![7; shape.bytes()]).unwrap();
}

fn run(command: &mut Command) -> Program {
    let mut program = Program::start(command);
    program.end();
    program
}

/// Fails unless the program ends with this exit code, prints all this on stderr and leaves no
/// segment.
fn refuses(program: &mut Program, name: &TestName, code: i32, says: &[&str]) {
    program.ends_with(code);
    for text in says {
        program.assert_stderr(text);
    }
    assert!(
        !program.stderr().contains("panicked"),
        "{}",
        program.stderr()
    );
    assert!(!name.file().exists(), "it left a segment");
}

fn lines_of<'a>(stdout: &'a str, event: &str) -> Vec<&'a str> {
    let begin = format!(r#"{{"event":"{event}""#);
    stdout
        .lines()
        .filter(|line| line.starts_with(&begin))
        .collect()
}

fn numbers(events: &[Value], key: &str) -> Vec<u64> {
    events
        .iter()
        .map(|event| event[key].as_u64().unwrap())
        .collect()
}

fn unix_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

// --- help, versions, usage

#[test]
fn help_names_every_flag_and_the_default_name() {
    for (program, flags) in [
        (
            SEND,
            "image name fps count slots mode replace size channels show json quiet",
        ),
        (
            RECV,
            "name width height channels count timeout view save record raw log json quiet plot list clean",
        ),
    ] {
        let mut help = run(Command::new(program).arg("--help"));
        help.ends_with(0);
        for flag in flags.split(' ') {
            help.assert_stdout(&format!("--{flag}"));
        }
        help.assert_stdout("/frame");
        assert_eq!(help.stderr(), "");
        let mut version = run(Command::new(program).arg("--version"));
        version.ends_with(0);
        version.assert_stdout(env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn usage_errors_exit_2_and_name_the_flag() {
    let name = TestName::new("usage");
    for (program, args, says) in [
        (SEND, "--bogus", "--bogus"),
        (SEND, "word", "word"),
        (SEND, "--fps=-1", "--fps"),
        (SEND, "--fps=nan", "--fps"),
        (SEND, "--fps=fast", "--fps"),
        (SEND, "--count=-1", "--count"),
        (SEND, "--count=0", "--count"),
        (SEND, "--slots=0", "1..=16"),
        (SEND, "--slots=17", "1..=16"),
        (SEND, "--slots=-1", "--slots"),
        (SEND, "--mode=0680", "octal"),
        (SEND, "--mode=1000", "0777"),
        (SEND, "--mode=rw", "octal"),
        (SEND, "--size=640", "640x404"),
        (SEND, "--size=0x404", "640x404"),
        (SEND, "--size=640x-1", "640x404"),
        (SEND, "--channels=0", "--channels"),
        (SEND, "--channels=2", "--channels"),
        (SEND, "--channels=5", "--channels"),
        (SEND, "--image=x.png --size=64x48", "--size"),
        (RECV, "--bogus", "--bogus"),
        (RECV, "--width=0", "--width"),
        (RECV, "--width=wide", "--width"),
        (RECV, "--height=-1", "--height"),
        (RECV, "--channels=2", "--channels"),
        (RECV, "--channels=5", "--channels"),
        (RECV, "--count=x", "--count"),
        (RECV, "--count=0", "--count"),
        (RECV, "--timeout=0", "--timeout"),
        (RECV, "--timeout=-1", "--timeout"),
        (RECV, "--timeout=soon", "--timeout"),
        (RECV, "--view=screen", "--view"),
        (RECV, "--record=x.gif", ".mp4"),
        (RECV, "--record=x", "--record"),
        (RECV, "--raw=file", "--raw"),
        (RECV, "--plot=x.pdf", ".svg"),
        (RECV, "--raw=- --json", "--json"),
        (RECV, "--log --json", "--json"),
        (RECV, "--log --quiet", "--quiet"),
        (RECV, "--view=terminal --json", "--json"),
        (RECV, "--view=terminal --log", "--log"),
        (RECV, "--view=terminal --raw=-", "--raw"),
        (RECV, "--list --clean", "--clean"),
        (RECV, "--list --count=1", "--count"),
        (RECV, "--clean --view=none", "--view"),
    ] {
        // If the arguments were accepted after all, the program would still end.
        let bounds = if program == SEND {
            "--fps=0 --count=1"
        } else {
            "--timeout=1"
        };
        let flag = args.split('=').next().unwrap();
        let bounds = bounds.split(' ').filter(|bound| !bound.starts_with(flag));
        let mut refused = Program::start(command(program, &name, args).args(bounds));
        refuses(&mut refused, &name, 2, &[says]);
        assert_eq!(refused.stdout(), "", "{args}");
    }
}

#[test]
fn names_that_shm_open_refuses_exit_2_with_the_reason() {
    let long = "x".repeat(256);
    for (name, why) in [
        ("", "empty"),
        ("/", "empty"),
        (".", "directory"),
        ("/..", "directory"),
        ("a/b", "slash"),
        ("//a", "slash"),
        ("a/", "slash"),
        (&long, "255"),
    ] {
        for program in [SEND, RECV] {
            let mut refused = Program::start(Command::new(program).args(["--name", name]));
            refused.ends_with(2);
            refused.assert_stderr(why);
            refused.assert_stderr("--name");
            assert_eq!(refused.stdout(), "");
        }
    }
}

#[test]
fn the_leading_slash_of_a_name_may_be_left_out() {
    let name = TestName::new("a name, of ümläuts");
    let bare = &name.as_str()[1..];
    let mut sender = Program::start(Command::new(SEND).args(["--name", bare]));
    sender.wait_for("sending");
    assert!(name.file().exists());
    for name in [bare, name.as_str()] {
        let mut receiver = Program::start(
            Command::new(RECV).args(["--name", name, "--count", "1", "--view", "none"]),
        );
        receiver.ends_with(0);
    }
    sender.interrupt();
    assert!(!name.file().exists());
}

// --- shm-send

#[test]
fn count_ends_the_sender_after_that_many_frames() {
    let name = TestName::new("count");
    let mut sender = send(&name, "--count 5 --fps 0 --json");
    sender.ends_with(0);
    assert_eq!(numbers(&sender.events("sent"), "frame"), [1, 2, 3, 4, 5]);
    assert_eq!(sender.events("summary")[0]["frames"], 5);
    assert!(!name.file().exists());
}

#[test]
fn a_rate_is_never_exceeded_and_30_is_the_default() {
    for (args, fps) in [("", 30.0), ("--fps 50", 50.0), ("--fps 12.5", 12.5)] {
        let name = TestName::new("rate");
        let mut sender = send(&name, &format!("--count 8 --json {args}"));
        sender.ends_with(0);
        let seconds = sender.events("summary")[0]["seconds"].as_f64().unwrap();
        // Seven periods lie between eight frames; the summary is rounded to a ms.
        assert!(seconds >= 7.0 / fps - 0.001, "{args}: {seconds} s");
    }
}

#[test]
fn from_1_to_16_slots_frames_arrive() {
    for slots in 1..=16 {
        let name = TestName::new("slots");
        let mut sender = send(&name, &format!("--slots {slots} --size 64x48"));
        let mut receiver = recv(&name, "--count 2 --json");
        receiver.ends_with(0);
        assert_eq!(receiver.events("attached")[0]["slots"], slots);
        // Receivers can lease all slots but two.
        let path = if slots > 2 { "leased" } else { "copied" };
        assert_eq!(receiver.events("frame")[0]["path"], path, "{slots} slots");
        sender.interrupt();
    }
}

#[test]
fn four_slots_are_the_default_and_two_receivers_can_lease_them() {
    let name = TestName::new("leases");
    let _sender = send(&name, "--size 64x48");
    let mut receivers = [(); 3].map(|()| {
        let mut receiver = recv(&name, "--json");
        receiver.wait_for_events("frame", 2);
        receiver
    });
    for (receiver, path) in receivers.iter().zip(["leased", "leased", "copied"]) {
        assert_eq!(receiver.events("attached")[0]["slots"], 4);
        for frame in receiver.events("frame") {
            assert_eq!(frame["path"], path, "{frame}");
        }
    }
    // Who copied for want of a lease gets the one that another lets go.
    let [first, _, last] = &mut receivers;
    first.interrupt();
    last.wait_until("it leases", |last| {
        last.events("frame").last().unwrap()["path"] == "leased"
    });
}

#[test]
fn a_receiver_that_only_reads_copies_first_and_then_reads_in_place() {
    let name = TestName::new("read-only");
    let _sender = send(&name, "--size 64x48");
    let mut receiver = recv(&name, "--read-only --json");
    receiver.wait_until("it leases", |receiver| {
        let frames = receiver.events("frame");
        frames
            .iter()
            .any(|frame| frame["path"] == "leased-read-only")
    });
    assert_eq!(receiver.events("frame")[0]["path"], "copied");
    let mut log = recv(&name, "--read-only --log");
    log.wait_for("leased-read-only");
    let maps = fs::read_to_string(format!("/proc/{}/maps", receiver.pid())).unwrap();
    let mut mapped = maps.lines().filter(|line| line.contains("/dev/shm/"));
    assert!(mapped.all(|line| line.contains(" r--s ")), "{maps}");
}

#[test]
fn the_mode_does_not_depend_on_the_umask() {
    for (umask, args, mode) in [
        ("077", "--mode 0644", 0o644),
        ("000", "", 0o600),
        ("022", "--mode 666", 0o666),
        ("777", "--mode 0606", 0o606),
    ] {
        let name = TestName::new("mode");
        let script = format!("umask {umask}; exec \"$0\" --name \"$1\" {args}");
        let mut sender =
            Program::start(Command::new("sh").args(["-c", &script, SEND, name.as_str()]));
        sender.wait_for("sending");
        let permissions = fs::metadata(name.file()).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode, "umask {umask}, {args}");
        sender.interrupt();
        assert!(!name.file().exists());
    }
}

#[test]
fn the_test_picture_has_the_size_and_channels_asked_for() {
    for (args, expected) in [
        ("", shape(640, 404, 3)),
        ("--size 64x48", shape(64, 48, 3)),
        ("--size 7x5 --channels 1", shape(7, 5, 1)),
        ("--size 33x100 --channels 4", shape(33, 100, 4)),
        ("--size 1x1", shape(1, 1, 3)),
        ("--size 5000x2 --channels 3", shape(5000, 2, 3)),
    ] {
        let name = TestName::new("size");
        let mut sender = send(&name, args);
        let (frame, pixels) = take(&mut open(&name));
        assert_eq!(frame.shape, expected, "{args}");
        assert_eq!(pixels.len(), expected.bytes(), "{args}");
        sender.interrupt();
        assert!(!name.file().exists());
    }
}

#[test]
fn a_size_that_is_too_large_is_an_error_that_says_so() {
    let name = TestName::new("too-large");
    for (size, says) in [
        // No image can be this large.
        (
            "2147483647x2147483647",
            "2147483647x2147483647x3 is no image",
        ),
        // An image can, but it does not fit into /dev/shm.
        ("2147483647x100000 --channels 1", "/dev/shm has"),
    ] {
        let mut sender = send(&name, &format!("--fps 0 --count 1 --size {size}"));
        refuses(&mut sender, &name, 1, &[says]);
    }
}

#[test]
fn frames_of_the_test_picture_are_all_different() {
    // The background repeats after 256 frames: then only the number on it differs. In the tall
    // picture the number's first digit alone would not do.
    for (args, repeats) in [
        ("--size 640x404", 0),
        ("--size 64x48 --channels 1 --slots 3", 0),
        ("--size 64x48 --channels 4 --slots 16", 0),
        ("--size 60x400", 40),
    ] {
        let name = TestName::new("different");
        let _sender = send(&name, &format!("--fps 0 {args}"));
        let mut receiver = open(&name);
        let mut last = Vec::new();
        let mut seen: HashMap<u64, (u64, Vec<u8>)> = HashMap::new();
        let (mut frames, mut repeated) = (0, 0);
        while frames < 20 || repeated < repeats {
            let (frame, pixels) = take(&mut receiver);
            let number = frame.number;
            assert!(
                pixels != last,
                "{args}: frame {number} and the one taken before"
            );
            last.clone_from(&pixels);
            frames += 1;
            if let Some((other, same)) = seen.insert(number % 256, (number, pixels)) {
                assert!(same != last, "{args}: frames {other} and {number}");
                let first = |number: u64| number.to_string().remove(0);
                repeated += usize::from(first(other) == first(number));
            }
        }
    }
}

#[test]
fn an_unreadable_image_exits_1_and_makes_no_segment() {
    let name = TestName::new("image");
    let scratch = Scratch::new(&name);
    let picture = fs::read(PICTURE).unwrap();
    let file = |file: &str, bytes: &[u8]| {
        let path = scratch.path().join(file);
        fs::write(&path, bytes).unwrap();
        path
    };
    for path in [
        scratch.path().join("missing.png"),
        scratch.path().to_owned(),
        file("empty.png", b""),
        file("text.png", b"not a picture"),
        file("cut.png", &picture[..picture.len() / 2]),
    ] {
        for channels in ["1", "3", "4"] {
            let mut start = command(SEND, &name, "--fps 0 --count 1 --channels");
            let mut sender = Program::start(start.arg(channels).arg("--image").arg(&path));
            refuses(&mut sender, &name, 1, &["--image", path.to_str().unwrap()]);
            assert_eq!(sender.stdout(), "");
        }
    }
}

#[test]
fn a_window_without_a_display_exits_1_and_makes_no_segment() {
    let name = TestName::new("display");
    refuses(
        &mut send(&name, "--show --count 1"),
        &name,
        1,
        &["--show", "DISPLAY"],
    );
    let mut receiver = recv(&name, "--view window --timeout 1");
    refuses(&mut receiver, &name, 1, &["--view window", "DISPLAY"]);
}

#[test]
fn a_live_senders_name_is_refused_with_its_pid_and_taken_with_replace() {
    let name = TestName::new("replace");
    let mut first = send(&name, "--size 64x48");
    first.wait_for("sending");
    let mut receiver = recv(&name, "--json");
    receiver.wait_for_events("frame", 1);
    let inode = fs::metadata(name.file()).unwrap().ino();

    let mut refused = send(&name, "");
    refused.ends_with(1);
    let pid = format!("pid {}", first.pid());
    refused.assert_stderr(&pid);
    refused.assert_stderr("--replace");
    assert!(first.running());
    assert_eq!(
        fs::metadata(name.file()).unwrap().ino(),
        inode,
        "nothing changed"
    );

    let mut second = send(&name, "--size 64x48 --replace");
    first.ends_with(1);
    let taken = format!("taken over by another sender, pid {}", second.pid());
    first.assert_stderr(&taken);
    first.assert_stdout("frames/s");
    assert!(second.running());
    let inode_2 = fs::metadata(name.file()).unwrap().ino();
    assert_ne!(
        inode_2, inode,
        "the segment is the second sender's, and the first sender left it alone"
    );
    let temporary = PathBuf::from(format!("/dev/shm/.shm-frame-{inode}"));
    assert!(!temporary.exists(), "nothing is left of the replacement");

    let attached = receiver.wait_for_events("attached", 2);
    assert_eq!(
        numbers(&attached, "pid"),
        [first.pid(), second.pid()].map(u64::from)
    );
    second.interrupt();
    // The receiver may see first that its segment was replaced, or that the first sender ended.
    receiver.wait_until("it noticed both ends", |receiver| {
        receiver.events("lost").len() + receiver.events("closed").len() == 2
    });
    receiver.interrupt();
    assert!(!name.file().exists());
}

#[test]
fn something_else_under_the_name_is_described_and_refused() {
    let name = TestName::new("no-segment");
    let path = name.file();
    let refused = |what: &str| {
        let programs = [
            (send(&name, "--count 1"), "remove it"),
            (recv(&name, "--count 1"), "start its sender"),
        ];
        for (mut program, remedy) in programs {
            program.ends_with(1);
            program.assert_stderr(what);
            program.assert_stderr("use another --name");
            program.assert_stderr(remedy);
        }
    };
    fs::write(&path, "").unwrap();
    refused("it is empty");
    fs::write(&path, "short").unwrap();
    refused("it has 5 bytes");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("it is a directory");
    fs::remove_dir(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    refused("it is a symbolic link");
    fs::remove_file(&path).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    refused("it is a FIFO");
    fs::remove_file(&path).unwrap();
    let text = "a text that is longer than a header, but is none";
    fs::write(&path, text).unwrap();
    refused("no control page");
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        text,
        "it is still there"
    );

    let mut sender = send(&name, "--replace");
    take(&mut open(&name));
    sender.interrupt();
    assert!(!path.exists());
}

#[test]
fn a_killed_senders_name_is_free_again() {
    let name = TestName::new("free");
    let mut dead = send(&name, "");
    dead.wait_for("sending");
    dead.kill();
    assert!(name.file().exists());
    let mut sender = send(&name, "");
    sender.wait_for("sending");
    sender.interrupt();
    assert!(!name.file().exists());
}

#[test]
fn a_segment_that_was_removed_or_truncated_is_made_again() {
    let name = TestName::new("anew");
    let mut sender = send(&name, "--size 64x48");
    let mut receiver = recv(&name, "--json");
    for attached in [1, 2, 3] {
        receiver.wait_for_events("attached", attached);
        let frames = receiver.events("frame").len();
        receiver.wait_for_events("frame", frames + 2);
        match attached {
            1 => fs::remove_file(name.file()).unwrap(),
            2 => fs::File::options()
                .write(true)
                .open(name.file())
                .unwrap()
                .set_len(0)
                .unwrap(),
            _ => {}
        }
    }
    receiver.interrupt();
    for attached in receiver.events("attached") {
        assert_eq!(attached["pid"], sender.pid());
    }
    // It is the same sender, so its numbers go on.
    let frames = numbers(&receiver.events("frame"), "frame");
    assert!(
        frames.windows(2).all(|pair| pair[0] < pair[1]),
        "{frames:?}"
    );
    sender.interrupt();
    assert!(!name.file().exists());
}

// --- ending

#[test]
fn signals_end_both_with_a_summary_and_nothing_left() {
    for signal in ["INT", "TERM", "HUP"] {
        // Once both wait for long, and once both never wait.
        for fps in ["0.01", "0"] {
            let name = TestName::new("signal");
            let mut sender = send(&name, &format!("--fps {fps}"));
            let mut receiver = recv(&name, "");
            receiver.wait_for("frame ");
            for program in [&mut receiver, &mut sender] {
                program.signal(signal);
                program.ends_with(0);
                program.assert_stdout(" frames/s");
            }
            assert!(!name.file().exists(), "SIG{signal}");
        }
        // A receiver that waits for a sender.
        let name = TestName::new("signal");
        let mut receiver = recv(&name, "");
        receiver.wait_for("waiting");
        receiver.signal(signal);
        receiver.ends_with(0);
        receiver.assert_stdout("0 frames in ");
    }
}

#[test]
fn signals_at_the_same_time_count_as_one_and_an_ignored_sighup_stays_ignored() {
    let name = TestName::new("twice");
    let mut sender = send(&name, "--fps 0");
    let mut receiver = recv(&name, "");
    receiver.wait_for("frame ");
    for program in [&mut receiver, &mut sender] {
        // As by timeout(1), which signals its child and then the group.
        for _ in 0..3 {
            program.signal("TERM");
        }
        program.ends_with(0);
        program.assert_stdout(" frames/s");
    }
    assert!(!name.file().exists());

    let script = format!("trap '' HUP; exec {SEND} --name {}", name.as_str());
    let mut sender = Program::start(Command::new("sh").args(["-c", &script]));
    sender.wait_for("sending");
    sender.signal("HUP");
    let mut receiver = recv(&name, "--count 5");
    receiver.ends_with(0);
    assert!(sender.running(), "as nohup(1) wants it");
    sender.interrupt();
}

#[test]
fn a_segment_with_an_overwritten_control_page_is_made_again() {
    for (offset, byte) in [
        (0, 0),
        (8, 9),
        (16, 1),
        (24, 9),
        (32, 1),
        (40, 1),
        (76, 1),
        (76, 2),
    ] {
        let name = TestName::new("scribbled");
        let _sender = send(&name, "");
        let mut receiver = recv(&name, "--json");
        receiver.wait_for_events("frame", 2);
        let file = fs::OpenOptions::new()
            .write(true)
            .open(name.file())
            .unwrap();
        let (before, page) = (
            file.metadata().unwrap().ino(),
            file.metadata().unwrap().len() - 4096,
        );
        file.write_all_at(&[byte], page + offset).unwrap();
        receiver.wait_until("there is another segment", |_| {
            fs::metadata(name.file()).is_ok_and(|now| now.ino() != before)
        });
        let seen = receiver.events("frame").len();
        receiver.wait_for_events("frame", seen + 5);
        let numbers = numbers(&receiver.events("frame"), "frame");
        assert!(numbers.is_sorted(), "offset {offset}: {numbers:?}");
        receiver.interrupt();
    }
}

#[test]
fn a_frame_larger_than_memory_is_thrown_away() {
    let name = TestName::new("sparse");
    let header = FrameHeader {
        width: 200_000,
        height: 250_000,
        channels: 4,
        timestamp_ms: unix_ms(),
        frame_valid: 1,
    };
    let file = fs::File::create(name.file()).unwrap();
    file.set_len(24 + 200_000 * 250_000 * 4).unwrap();
    file.write_all_at(&header.encode(), 0).unwrap();
    let mut receiver = recv(&name, "--json --timeout 1");
    let code = receiver.end().code();
    assert_eq!(code, Some(1), "{}", receiver.stderr());
}

/// Runs a command in a pipeline whose other end reads one line and ends.
fn piped_into_head(program: &str, name: &TestName, args: &str) -> Program {
    let script = r#"{ timeout 30 "$@"; echo "exit $?" >&2; } | head -n 1"#;
    let inner = command(program, name, args);
    let mut shell = Command::new("sh");
    shell.env_remove("DISPLAY").args(["-c", script, "sh"]);
    let mut pipeline = Program::start(shell.arg(program).args(inner.get_args()));
    pipeline.ends_with(0);
    assert_eq!(
        pipeline.stdout().lines().count(),
        1,
        "{}",
        pipeline.stdout()
    );
    pipeline
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let name = TestName::new("pipe");
    let mut sender = send(&name, "--size 64x48");
    sender.wait_for("sending");
    for args in ["", "--json"] {
        let pipeline = piped_into_head(RECV, &name, args);
        let stderr = pipeline.stderr();
        let lines: Vec<_> = stderr.lines().collect();
        let exit = lines.iter().position(|&line| line == "exit 0");
        assert!(exit.is_some_and(|at| at + 1 == lines.len()), "{stderr}");
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line.starts_with("attached")),
            "{stderr}"
        );
    }
    sender.interrupt();

    let pipeline = piped_into_head(SEND, &name, "--json --fps 0 --size 64x48");
    let stderr = pipeline.stderr();
    let lines: Vec<_> = stderr.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("sending") && lines[1] == "exit 0",
        "{stderr}"
    );
    assert!(!name.file().exists());
}

#[test]
fn a_full_disk_under_stdout_exits_1() {
    let name = TestName::new("full");
    for (program, args) in [(SEND, "--fps 0 --count 1"), (RECV, "--timeout 0.1")] {
        let script = format!("exec \"$0\" --name \"$1\" {args} > /dev/full");
        let mut program =
            Program::start(Command::new("sh").args(["-c", &script, program, name.as_str()]));
        refuses(&mut program, &name, 1, &[]);
    }
    let mut sender = Program::start(Command::new("sh").args([
        "-c",
        "exec \"$0\" --name \"$1\" --json > /dev/full",
        SEND,
        name.as_str(),
    ]));
    refuses(&mut sender, &name, 1, &["No space left"]);
}

// --- shm-recv

#[test]
fn either_may_start_first() {
    let name = TestName::new("first");
    let mut early = recv(&name, "--count 3");
    early.wait_for(&format!("there is no segment {}: waiting", name.as_str()));
    let mut sender = send(&name, "--fps 5");
    early.ends_with(0);
    early.assert_stdout("frame 1  640x404x3  sent ");
    early.assert_stderr("attached to");
    let mut late = recv(&name, "--count 3");
    late.ends_with(0);
    assert!(!late.stderr().contains("waiting"), "{}", late.stderr());
    sender.interrupt();
    assert!(!name.file().exists());
}

#[test]
fn as_text_each_frame_is_a_line_and_the_end_a_summary() {
    let name = TestName::new("text");
    let _sender = send(&name, "--size 64x48");
    let mut receiver = recv(&name, "--count 3");
    receiver.ends_with(0);
    let stdout = receiver.stdout();
    let lines: Vec<_> = stdout.lines().collect();
    for line in &lines[..3] {
        let words: Vec<_> = line.split_whitespace().collect();
        let [
            "frame",
            number,
            "64x48x3",
            "sent",
            sent,
            // The age of a frame that was there before the receiver.
            "delay" | "age",
            delay,
            "ms",
            "skipped",
            skipped,
        ] = words[..]
        else {
            panic!("{line}");
        };
        assert!(number.parse::<u64>().unwrap() > 0, "{line}");
        assert_eq!(sent.len(), "12:34:56.789Z".len(), "{line}");
        assert_eq!(delay.split_once('.').unwrap().1.len(), 3, "{line}");
        assert!(delay.parse::<f64>().unwrap() > 0.0, "{line}");
        skipped.parse::<u64>().unwrap();
    }
    assert!(lines[3].starts_with("3 frames in "), "{stdout}");
    for word in ["frames/s", "skipped", "torn", "min", "p50", "p99", "max"] {
        assert!(lines[3].contains(word), "{word}: {stdout}");
    }
    // The delays as bars: "0.1 to 0.2  3  ###".
    assert!(lines[4].starts_with("delay in ms"), "{stdout}");
    let counts = lines[5..].iter().map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[1], "to", "{stdout}");
        words[3].parse::<u64>().unwrap()
    });
    let delays = lines[..3].iter().filter(|line| line.contains(" delay "));
    assert_eq!(counts.sum::<u64>(), delays.count() as u64, "{stdout}");
}

#[test]
fn json_has_the_promised_fields_in_their_order() {
    let name = TestName::new("json");
    let begin = unix_ms();
    let mut sender = send(&name, "--json --fps 60 --size 64x48 --channels 4");
    let mut receiver = recv(&name, "--json --count 5");
    receiver.ends_with(0);
    sender.interrupt();

    let stdout = receiver.stdout();
    for line in lines_of(&stdout, "frame") {
        let expected = "event frame width height channels sent_ms received_ms delay_ms skipped path element order \
             found captured_ms capture_age_ms meta";
        assert_eq!(keys(line), expected.split(' ').collect::<Vec<_>>());
        let delay = line
            .split(r#""delay_ms":"#)
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        assert!(delay.split_once('.').unwrap().1.len() <= 3, "{line}");
        assert!(delay.parse::<f64>().unwrap() > 0.0, "{line}");
    }
    for frame in receiver.events("frame") {
        assert_eq!(
            [&frame["width"], &frame["height"], &frame["channels"]],
            [64, 48, 4]
        );
        let [sent, got] = ["sent_ms", "received_ms"].map(|key| frame[key].as_i64());
        assert!(
            Some(begin) <= sent && sent <= got && got <= Some(unix_ms()),
            "{frame}"
        );
    }
    let summary = lines_of(&stdout, "summary");
    assert_eq!(summary, [stdout.lines().last().unwrap()], "one, at the end");
    let expected = "event frames seconds fps skipped torn delay_ms min p50 p99 max undrawn dropped";
    assert_eq!(keys(summary[0]), expected.split(' ').collect::<Vec<_>>());
    let summary = &receiver.events("summary")[0];
    assert_eq!(summary["frames"], 5);
    assert_eq!(summary["torn"], 0);
    let delays = ["min", "p50", "p99", "max"].map(|key| summary["delay_ms"][key].as_f64().unwrap());
    assert!(delays.is_sorted(), "{summary}");
    let seen: Vec<_> = receiver
        .events("frame")
        .iter()
        // The age of a frame that was there before the receiver is no delay.
        .filter(|frame| frame["found"] == false)
        .map(|frame| frame["delay_ms"].as_f64().unwrap())
        .collect();
    let extremes = seen
        .iter()
        .fold((f64::MAX, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
    assert_eq!((delays[0], delays[3]), extremes, "{summary}");

    let stdout = sender.stdout();
    for line in lines_of(&stdout, "sent") {
        assert_eq!(keys(line), ["event", "frame", "sent_ms", "write_ms"]);
    }
    assert!(sender.json().len() >= 5);
    let last = &sender.json()[sender.json().len() - 1];
    assert_eq!(last["event"], "summary");
    assert_eq!(last["frames"], sender.events("sent").len());
}

#[test]
fn without_frames_there_is_a_json_summary_too() {
    let name = TestName::new("no-frames");
    let mut receiver = recv(&name, "--json --timeout 0.1");
    receiver.ends_with(1);
    let summary = &receiver.events("summary")[0];
    assert_eq!(summary["frames"], 0);
    assert_eq!(summary["delay_ms"], Value::Null);
    assert_eq!(receiver.events("waiting").len(), 1);
}

#[test]
fn quiet_prints_only_the_summary() {
    let name = TestName::new("quiet");
    let mut sender = send(&name, "--quiet");
    let mut receiver = recv(&name, "--quiet --count 2");
    receiver.ends_with(0);
    sender.interrupt();
    for program in [&receiver, &sender] {
        assert_eq!(program.stdout().lines().count(), 1, "{}", program.stdout());
        program.assert_stdout("frames/s");
        // Nothing, whether the receiver found the segment at once or waited.
        assert_eq!(program.stderr(), "");
    }

    let mut sender = send(&name, "--quiet --json --fps 0 --count 3");
    sender.ends_with(0);
    assert_eq!(sender.events("sent").len(), 0);
    assert_eq!(sender.events("summary").len(), 1);
}

#[test]
fn a_receiver_survives_restarts_of_its_sender_with_the_same_size_or_another() {
    let name = TestName::new("restart");
    let mut receiver = recv(&name, "--json");
    receiver.wait_for_events("waiting", 1);
    let mut expected = Vec::new();
    for (args, size, killed) in [
        ("--size 64x48", [64, 48, 3], false),
        ("--size 64x48", [64, 48, 3], true),
        ("--size 320x240", [320, 240, 3], true),
        ("--size 32x24 --channels 1 --slots 1", [32, 24, 1], false),
    ] {
        let mut sender = send(&name, args);
        receiver.wait_for_events("attached", expected.len() / 2 + 1);
        let before = receiver.events("frame").len();
        let frames = receiver.wait_for_events("frame", before + 2);
        for frame in &frames[before..] {
            assert_eq!(
                [&frame["width"], &frame["height"], &frame["channels"]],
                size,
                "{frame}"
            );
        }
        let (end, why) = if killed {
            sender.kill();
            ("lost", json!("died"))
        } else {
            sender.interrupt();
            ("closed", Value::Null)
        };
        expected.push(("attached".to_owned(), json!(sender.pid()), Value::Null));
        expected.push((end.to_owned(), json!(sender.pid()), why));
        receiver.wait_until("it noticed the end", |receiver| {
            receiver.events("lost").len() + receiver.events("closed").len() == expected.len() / 2
        });
    }
    receiver.interrupt();
    let mut story = receiver.json();
    story.retain(|event| {
        ["attached", "closed", "lost"]
            .iter()
            .any(|kind| event["event"] == *kind)
    });
    let story: Vec<_> = story
        .iter()
        .map(|event| {
            let kind = event["event"].as_str().unwrap().to_owned();
            (kind, event["pid"].clone(), event["why"].clone())
        })
        .collect();
    assert_eq!(story, expected);
    assert!(!name.file().exists());
}

#[test]
fn unexpected_frames_are_told_once_per_change_and_not_counted() {
    let name = TestName::new("mismatch");
    let (wanted, gray, wide) = (shape(64, 48, 3), shape(64, 48, 1), shape(65, 48, 3));
    let mut sender = publisher(&name, wide.bytes());
    let scratch = Scratch::new(&name);
    let mut start = command(RECV, &name, "--width 64 --height 48 --channels 3 --json");
    let mut receiver = Program::start(start.arg("--save").arg(scratch.path()));
    receiver.wait_for_events("attached", 1);

    let (mut frames, mut warnings) = (0, 0);
    for (shape, news) in [
        (gray, true),
        (wanted, true),
        (wanted, true),
        (gray, true),
        (gray, false),
        (gray, false),
        (wide, true),
        (gray, true),
        (wanted, true),
    ] {
        publish(&mut sender, shape);
        if shape == wanted {
            frames += 1;
        } else {
            warnings += usize::from(news);
        }
        receiver.wait_for_events("frame", frames);
        receiver.wait_for_events("mismatch", warnings);
    }
    receiver.interrupt();
    assert_eq!(receiver.events("frame").len(), frames);
    for frame in receiver.events("frame") {
        assert_eq!(frame["channels"], 3, "{frame}");
    }
    let got: Vec<_> = receiver
        .events("mismatch")
        .into_iter()
        .map(|event| {
            assert_eq!(
                event["expected"],
                json!({"width": 64, "height": 48, "channels": 3})
            );
            event["got"].clone()
        })
        .collect();
    let object = |shape: Shape| json!({"width": shape.width(), "height": shape.height(), "channels": shape.channels()});
    assert_eq!(got, [gray, gray, wide, gray].map(object));
    let summary = &receiver.events("summary")[0];
    assert_eq!(summary["frames"], frames);
    assert_eq!(summary["skipped"], 0);
    assert_eq!(scratch.saved().len(), frames);
    // As text: what came, and which expectation it does not meet.
    let stderr = receiver.stderr();
    let warnings: Vec<_> = stderr
        .lines()
        .filter_map(|line| line.strip_suffix(": not shown")?.split(" are ").nth(1))
        .collect();
    let (gray, wide) = ("64x48x1, not of 3 channels", "65x48x3, not 64 wide");
    assert_eq!(warnings, [gray, gray, wide, gray]);
}

#[test]
fn each_expectation_stands_alone() {
    let name = TestName::new("expectation");
    let _sender = send(&name, "--size 64x48 --channels 1");
    for args in ["--width 64", "--height 48", "--channels 1"] {
        recv(&name, &format!("--count 1 {args}")).ends_with(0);
    }
    for (args, unmet) in [
        ("--width 63", "not 63 wide"),
        ("--height 64", "not 64 high"),
        ("--channels 3", "not of 3 channels"),
        ("--width 64 --height 48 --channels 4", "not of 4 channels"),
        (
            "--width 63 --height 64 --channels 1",
            "not 63 wide nor 64 high",
        ),
    ] {
        let mut receiver = recv(&name, args);
        receiver.wait_for(&format!("are 64x48x1, {unmet}: not shown"));
        receiver.interrupt();
        assert!(
            receiver.stdout().starts_with("0 frames"),
            "{}",
            receiver.stdout()
        );
    }
}

#[test]
fn a_timeout_exits_1_with_the_reason_why_no_frame_came() {
    let name = TestName::new("timeout");
    let no_segment = format!(
        "no new frame for 1 s: there is no segment {}",
        name.as_str()
    );
    let timed_out = |args: &str, why: &str| {
        let mut receiver = recv(&name, &format!("--timeout 1 {args}"));
        receiver.ends_with(1);
        let stderr = receiver.stderr();
        assert!(
            stderr.lines().last().unwrap().contains(why),
            "{why}: {stderr}"
        );
        receiver.assert_stdout(" frames/s");
    };
    timed_out("", &no_segment);

    let mut sender = send(&name, "--size 64x48");
    take(&mut open(&name));
    timed_out("--width 640", "are 64x48x3, not 640 wide");
    sender.stop();
    timed_out("", "publishes nothing");

    sender.kill();
    timed_out(
        "",
        &format!("left by a sender that is gone, pid {}", sender.pid()),
    );
    fs::remove_file(name.file()).unwrap();
    timed_out("", &no_segment);
}

#[test]
fn a_timeout_tells_the_latest_reason() {
    let name = TestName::new("timeout-now");
    // The sender of unexpected frames ends before the time is up.
    let mut receiver = recv(&name, "--width 640 --timeout 4");
    receiver.wait_for("waiting");
    let mut sender = send(&name, "--size 64x48");
    receiver.wait_for("not 640 wide");
    sender.interrupt();
    receiver.ends_with(1);
    let stderr = receiver.stderr();
    assert!(
        stderr
            .lines()
            .last()
            .unwrap()
            .contains("there is no segment"),
        "{stderr}"
    );

    // The sender is killed while the receiver runs.
    let mut sender = send(&name, "--size 64x48");
    sender.wait_for("sending");
    let mut receiver = recv(&name, "--timeout 2");
    receiver.wait_for("frame ");
    sender.kill();
    receiver.ends_with(1);
    let stderr = receiver.stderr();
    let died = format!("left by a sender that is gone, pid {}", sender.pid());
    assert!(stderr.lines().last().unwrap().contains(&died), "{stderr}");
}

#[test]
fn frames_are_saved_by_number_and_nothing_is_overwritten() {
    let name = TestName::new("save");
    let scratch = Scratch::new(&name);
    // A directory that does not exist yet.
    let directory = scratch.path().join("in/there");
    let size = shape(64, 48, 3);
    let mut start = command(RECV, &name, "--json --save");
    let mut receiver = Program::start(start.arg(&directory));
    receiver.wait_for_events("waiting", 1);
    let mut frames = 0;
    for (restart, count) in [(1, 3), (2, 2), (3, 1)] {
        let mut sender = publisher(&name, size.bytes());
        receiver.wait_for_events("attached", restart);
        for _ in 0..count {
            publish(&mut sender, size);
            frames += 1;
            receiver.wait_for_events("frame", frames);
        }
    }
    receiver.wait_for_events("closed", 3);
    receiver.interrupt();
    let mut saved: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    saved.sort();
    let expected = [
        "000001-2.png",
        "000001-3.png",
        "000001.png",
        "000002-2.png",
        "000002.png",
        "000003.png",
        "frames.jsonl",
    ];
    assert_eq!(saved, expected);

    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let mut receiver = Program::start(command(RECV, &name, "--timeout 1 --save").arg(&file));
    refuses(&mut receiver, &name, 1, &["--save", file.to_str().unwrap()]);
}

#[test]
fn frames_that_a_receiver_never_saw_count_as_skipped() {
    let name = TestName::new("skipped");
    let mut sender = send(&name, "--json --fps 200 --size 64x48");
    let mut receiver = recv(&name, "--json");
    receiver.wait_for_events("frame", 3);
    receiver.stop();
    let sent = sender.events("sent").len();
    sender.wait_for_events("sent", sent + 20);
    receiver.signal("CONT");
    let frames = receiver.events("frame").len();
    receiver.wait_for_events("frame", frames + 3);
    receiver.interrupt();
    let most = adds_up(&receiver);
    assert!(most >= 15, "{most}");

    sender.interrupt();

    // A receiver that is always slower than its sender: a PNG takes longer than a frame.
    let scratch = Scratch::new(&name);
    let _fast = send(&name, "--fps 0");
    let mut start = command(RECV, &name, "--json --count 10 --save");
    let mut receiver = Program::start(start.arg(scratch.path()));
    receiver.ends_with(0);
    assert!(adds_up(&receiver) > 0);
}

/// Fails unless the frames that a receiver took and skipped are all that were sent in between.
/// Returns the largest number that was skipped at a time.
fn adds_up(receiver: &Program) -> u64 {
    let frames = receiver.events("frame");
    let (numbers, skipped) = (numbers(&frames, "frame"), numbers(&frames, "skipped"));
    assert_eq!(skipped[0], 0, "nothing before the first frame counts");
    for (pair, &skipped) in numbers.windows(2).zip(&skipped[1..]) {
        assert_eq!(pair[1] - pair[0] - 1, skipped, "frame {}", pair[1]);
    }
    let summary = &receiver.events("summary")[0];
    assert_eq!(summary["skipped"], skipped.iter().sum::<u64>());
    assert_eq!(summary["frames"], frames.len());
    assert_eq!(summary["torn"], 0, "leases tear nothing");
    skipped.into_iter().max().unwrap()
}

#[test]
fn the_last_frame_of_a_dead_sender_is_never_new() {
    let name = TestName::new("old-frame");
    let mut dead = send(&name, "--size 64x48");
    take(&mut open(&name));
    dead.kill();
    let mut receiver = recv(&name, "--json --timeout 0.5");
    receiver.ends_with(1);
    assert_eq!(receiver.events("frame").len(), 0);

    let mut receiver = recv(&name, "--json");
    let waiting = &receiver.wait_for_events("waiting", 1)[0];
    let pid = format!("pid {}", dead.pid());
    assert!(waiting["why"].as_str().unwrap().contains(&pid), "{waiting}");
    let restart = unix_ms();
    let _sender = send(&name, "--size 64x48");
    for frame in receiver.wait_for_events("frame", 2) {
        assert!(frame["sent_ms"].as_i64().unwrap() >= restart, "{frame}");
    }
}

#[test]
fn a_frame_without_a_control_page_is_not_new_if_it_is_old_or_from_the_future() {
    for age_ms in [3_000, -60_000] {
        let name = TestName::new("stale");
        let mut header = FrameHeader {
            width: 64,
            height: 48,
            channels: 3,
            timestamp_ms: unix_ms() - age_ms,
            frame_valid: 1,
        };
        let mut segment = vec![0; FrameHeader::LEN + shape(64, 48, 3).bytes()];
        segment[..FrameHeader::LEN].copy_from_slice(&header.encode());
        fs::write(name.file(), &segment).unwrap();
        let mut receiver = recv(&name, "--json --timeout 0.5");
        receiver.ends_with(1);
        assert_eq!(receiver.events("frame").len(), 0, "{age_ms} ms old");

        // The next frame is new: its sender goes on.
        let mut receiver = recv(&name, "--json");
        receiver.wait_for_events("attached", 1);
        header.timestamp_ms = unix_ms();
        let segment = fs::File::options().write(true).open(name.file()).unwrap();
        segment.write_all_at(&header.encode(), 0).unwrap();
        let frames = receiver.wait_for_events("frame", 1);
        assert_eq!(frames[0]["sent_ms"], header.timestamp_ms);
        assert_eq!(frames[0]["path"], "plain");
        receiver.interrupt();
    }
}
