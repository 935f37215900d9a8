//! The two commands as their users run them.
#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Program, TestName, wait_until};
use serde_json::Value;
use shm_frame::{Name, Receiver, Wait};

const SEND: &str = env!("CARGO_BIN_EXE_shm-send");
const RECV: &str = env!("CARGO_BIN_EXE_shm-recv");
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");

fn start(program: &str, name: &TestName, args: &[&str]) -> Program {
    let mut command = Command::new(program);
    // No display: `auto` is `none`.
    Program::start(
        command
            .env_remove("DISPLAY")
            .args(["--name", name.as_str()])
            .args(args),
    )
}

fn shm_send(name: &TestName, args: &[&str]) -> Program {
    start(SEND, name, args)
}

fn shm_recv(name: &TestName, args: &[&str]) -> Program {
    start(RECV, name, args)
}

fn run(program: &str, args: &[&str]) -> Program {
    let mut program = Program::start(Command::new(program).args(args));
    program.end();
    program
}

fn events(program: &Program, event: &str) -> Vec<Value> {
    let json = |line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    program
        .stdout()
        .lines()
        .map(json)
        .filter(|line| line["event"] == event)
        .collect()
}

fn wait_for_segment(name: &TestName) {
    wait_until("there is a segment", || name.file().exists());
}

fn scratch(name: &TestName, what: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{what}", &name.as_str()[1..]));
    let _ = fs::remove_dir_all(&path);
    path
}

#[test]
fn names_that_shm_open_refuses_are_usage_errors_that_say_why() {
    let long = "x".repeat(256);
    for program in [SEND, RECV] {
        for (name, why) in [
            ("", "empty"),
            ("/", "empty"),
            ("a/b", "slash"),
            ("..", "directory"),
            (&long, "255"),
        ] {
            let mut program = run(program, &["--name", name]);
            program.ends_with(2);
            assert!(
                program.stderr().contains(why) && program.stderr().contains("--name"),
                "{}",
                program.stderr()
            );
        }
    }
}

#[test]
fn flags_out_of_range_are_usage_errors() {
    let send: &[&[&str]] = &[
        &["--slots", "0"],
        &["--slots", "17"],
        &["--fps", "-1"],
        &["--fps", "nan"],
        &["--count", "0"],
        &["--mode", "888"],
        &["--mode", "1777"],
        &["--size", "640"],
        &["--size", "0x4"],
        &["--size", "9x9", "--image", PICTURE],
        &["--channels", "5"],
        &["--what"],
    ];
    let recv: &[&[&str]] = &[
        &["--width", "0"],
        &["--height", "-4"],
        &["--timeout", "0"],
        &["--timeout", "soon"],
        &["--view", "wall"],
        &["--count", "0"],
    ];
    for (program, lists) in [(SEND, send), (RECV, recv)] {
        for args in lists {
            run(program, args).ends_with(2);
        }
    }
}

#[test]
fn help_and_version_are_told() {
    for program in [SEND, RECV] {
        let mut help = run(program, &["--help"]);
        assert!(
            help.ends_with(0).stdout().contains("--name"),
            "{}",
            help.stdout()
        );
        let mut version = run(program, &["--version"]);
        assert!(
            version
                .ends_with(0)
                .stdout()
                .contains(env!("CARGO_PKG_VERSION"))
        );
    }
}

#[test]
fn either_side_may_start_first_and_count_ends_both() {
    let name = TestName::new("first");
    let mut receiver = shm_recv(&name, &["--count", "5"]);
    receiver.wait_for("waiting for a sender");
    let mut sender = shm_send(&name, &["--count", "60"]);
    receiver.ends_with(0);
    assert!(
        receiver.stdout().contains("frame 1  640x404x3  sent "),
        "{}",
        receiver.stdout()
    );
    assert!(
        receiver.stdout().contains("5 frames in "),
        "{}",
        receiver.stdout()
    );
    let mut late = shm_recv(&name, &["--count", "5"]);
    late.ends_with(0);
    sender.ends_with(0);
    assert!(
        sender.stdout().contains("60 frames in "),
        "{}",
        sender.stdout()
    );
    assert!(!name.file().exists());
}

#[test]
fn a_receiver_waits_out_a_restart_with_the_same_size_and_another() {
    let name = TestName::new("restart");
    let mut receiver = shm_recv(&name, &["--json"]);
    for (size, width) in [
        ("320x200", 320),
        ("320x200", 320),
        ("640x400", 640),
        ("160x100", 160),
    ] {
        let before = events(&receiver, "frame").len();
        let mut sender = shm_send(&name, &["--size", size]);
        receiver.wait_until("it has frames", |receiver| {
            events(receiver, "frame").len() > before + 2
        });
        assert!(
            events(&receiver, "frame")[before..]
                .iter()
                .all(|frame| frame["width"] == width)
        );
        let closed = events(&receiver, "closed").len();
        sender.signal("INT");
        sender.ends_with(0);
        receiver.wait_until("it says that the sender ended", |receiver| {
            events(receiver, "closed").len() == closed + 1
        });
    }
    receiver.signal("INT");
    receiver.ends_with(0);
    assert_eq!(events(&receiver, "attached").len(), 4);
}

#[test]
fn signals_end_both_cleanly() {
    for signal in ["INT", "TERM", "HUP"] {
        // In a wait for a segment, in a wait for a frame, and flat out.
        for fps in ["0.1", "0"] {
            let name = TestName::new("signal");
            let mut waiting = shm_recv(&name, &[]);
            waiting.wait_for("waiting");
            waiting.signal(signal);
            waiting.ends_with(0);
            let mut sender = shm_send(&name, &["--fps", fps]);
            sender.wait_for("sending");
            let mut receiver = shm_recv(&name, &[]);
            receiver.wait_for("attached");
            receiver.signal(signal);
            receiver.ends_with(0);
            assert!(receiver.stdout().contains(" torn"), "{}", receiver.stdout());
            sender.signal(signal);
            sender.ends_with(0);
            assert!(sender.stdout().contains("frames/s"), "{}", sender.stdout());
            assert!(!name.file().exists(), "SIG{signal} left the segment");
        }
    }
}

#[test]
fn the_mode_is_what_was_asked_for_whatever_the_umask() {
    for (umask, args, mode) in [
        ("077", "--mode 0644", 0o644),
        ("000", "", 0o600),
        ("777", "--mode 666", 0o666),
    ] {
        let name = TestName::new("mode");
        let script = format!("umask {umask}; exec {SEND} --name {} {args}", name.as_str());
        let mut sender = Program::start(Command::new("sh").args(["-c", &script]));
        wait_for_segment(&name);
        assert_eq!(
            fs::metadata(name.file()).unwrap().permissions().mode() & 0o7777,
            mode
        );
        sender.signal("INT");
        sender.ends_with(0);
    }
}

#[test]
fn a_picture_that_cannot_be_read_is_an_error_and_no_segment_is_made() {
    let name = TestName::new("unreadable");
    let directory = scratch(&name, "pictures");
    fs::create_dir_all(&directory).unwrap();
    let file = |file: &str, bytes: &[u8]| {
        let path = directory.join(file);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let corrupt = [&fs::read(PICTURE).unwrap()[..40], b"not a picture any more"].concat();
    for (path, why) in [
        ("/no/such/file.png".to_owned(), "No such file"),
        (directory.to_str().unwrap().to_owned(), "directory"),
        (file("empty.png", b""), "no picture"),
        (file("text.png", b"hello"), "no picture"),
        (file("corrupt.png", &corrupt), "no picture"),
    ] {
        let mut sender = shm_send(&name, &["--image", &path, "--count", "1"]);
        sender.ends_with(1);
        let error = sender.stderr();
        assert!(
            error.contains(why) && error.contains("--image") && error.contains(&path),
            "{error}"
        );
        assert!(!name.file().exists());
    }
}

#[test]
fn a_second_sender_is_refused_with_the_pid_and_may_take_over() {
    let name = TestName::new("second");
    let mut first = shm_send(&name, &[]);
    let mut receiver = shm_recv(&name, &["--json"]);
    receiver.wait_for("\"frame\"");
    let mut second = shm_send(&name, &[]);
    second.ends_with(1);
    assert!(
        second.stderr().contains(&format!("pid {}", first.pid())),
        "{}",
        second.stderr()
    );
    assert!(second.stderr().contains("--replace"), "{}", second.stderr());
    let mut third = shm_send(&name, &["--replace"]);
    first.ends_with(1);
    assert!(
        first.stderr().contains(&format!(
            "taken over by another sender, pid {}",
            third.pid()
        )),
        "{}",
        first.stderr()
    );
    let pid = third.pid();
    receiver.wait_until("it follows", |receiver| {
        events(receiver, "attached")
            .iter()
            .any(|event| event["pid"] == pid)
    });
    assert!(
        name.file().exists(),
        "the first removed what is not its own"
    );
    third.signal("INT");
    third.ends_with(0);
    receiver.wait_for("\"closed\"");
}

#[test]
fn a_sender_starts_where_a_dead_one_left_its_segment_and_old_frames_are_not_news() {
    let name = TestName::new("dead");
    let mut dead = shm_send(&name, &["--size", "320x200"]);
    wait_for_segment(&name);
    let mut witness = shm_recv(&name, &["--count", "1"]);
    witness.ends_with(0);
    dead.kill();
    let mut receiver = shm_recv(&name, &["--json", "--timeout", "0.5"]);
    receiver.ends_with(1);
    assert_eq!(events(&receiver, "frame").len(), 0, "{}", receiver.stdout());
    let left = format!("left by a sender that is gone, pid {}", dead.pid());
    assert!(receiver.stderr().contains(&left), "{}", receiver.stderr());

    let mut receiver = shm_recv(&name, &["--json", "--count", "2"]);
    receiver.wait_for("waiting");
    let _sender = shm_send(&name, &["--size", "64x48"]);
    receiver.ends_with(0);
    assert!(
        events(&receiver, "frame")
            .iter()
            .all(|frame| frame["width"] == 64)
    );
}

#[test]
fn a_mismatch_is_warned_of_once_for_each_change_and_nothing_of_it_is_shown() {
    let name = TestName::new("mismatch");
    let mut receiver = shm_recv(
        &name,
        &[
            "--json",
            "--width",
            "640",
            "--height",
            "404",
            "--channels",
            "3",
        ],
    );
    for args in [
        ["--size", "320x200", "--channels", "3"],
        ["--size", "640x404", "--channels", "1"],
    ] {
        let before = events(&receiver, "mismatch").len();
        let mut sender = shm_send(
            &name,
            &[&args[..], &["--count", "20", "--fps", "100"]].concat(),
        );
        sender.ends_with(0);
        receiver.wait_until("it warns", |receiver| {
            events(receiver, "mismatch").len() == before + 1
        });
    }
    let mut sender = shm_send(&name, &[]);
    receiver.wait_until("it has frames", |receiver| {
        events(receiver, "frame").len() > 2
    });
    sender.signal("INT");
    sender.ends_with(0);
    receiver.signal("INT");
    receiver.ends_with(0);
    let mismatches = events(&receiver, "mismatch");
    assert_eq!(mismatches.len(), 2, "{}", receiver.stdout());
    assert_eq!(mismatches[0]["got"]["width"], 320);
    assert_eq!(mismatches[0]["expected"]["width"], 640);
    assert_eq!(mismatches[1]["got"]["channels"], 1);
    assert!(
        events(&receiver, "frame")
            .iter()
            .all(|frame| frame["width"] == 640 && frame["channels"] == 3)
    );
    assert!(
        receiver
            .stderr()
            .contains("are 320x200x3, expected 640x404x3"),
        "{}",
        receiver.stderr()
    );
}

#[test]
fn a_timeout_says_what_was_waited_for() {
    let name = TestName::new("timeout");
    let mut receiver = shm_recv(&name, &["--timeout", "0.2"]);
    receiver.ends_with(1);
    assert!(
        receiver
            .stderr()
            .contains("no new frame for 0.2 s: there is no segment"),
        "{}",
        receiver.stderr()
    );

    let mut sender = shm_send(&name, &[]);
    wait_for_segment(&name);
    let mut receiver = shm_recv(&name, &["--timeout", "0.5", "--width", "7"]);
    receiver.ends_with(1);
    assert!(
        receiver
            .stderr()
            .contains("are 640x404x3, expected 7xanyxany"),
        "{}",
        receiver.stderr()
    );

    let mut receiver = shm_recv(&name, &["--timeout", "1"]);
    receiver.wait_for("frame");
    sender.signal("STOP");
    receiver.ends_with(1);
    assert!(
        receiver.stderr().contains("publishes nothing"),
        "{}",
        receiver.stderr()
    );
    sender.signal("CONT");
    sender.signal("INT");
    sender.ends_with(0);
}

#[test]
fn saved_frames_are_named_by_number_and_never_overwritten() {
    let name = TestName::new("save");
    let directory = scratch(&name, "frames");
    for _ in 0..2 {
        let mut receiver = shm_recv(
            &name,
            &[
                "--save",
                directory.to_str().unwrap(),
                "--json",
                "--count",
                "1",
            ],
        );
        receiver.wait_for("waiting");
        let mut sender = shm_send(&name, &["--fps", "2"]);
        receiver.ends_with(0);
        assert_eq!(events(&receiver, "frame")[0]["frame"], 1);
        sender.signal("INT");
        sender.ends_with(0);
    }
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["000001-2.png", "000001.png"]);
}

/// The names of an object's fields, as they stand in the line.
fn fields(line: &str) -> Vec<String> {
    let words = line
        .split('"')
        .enumerate()
        .filter(|(i, _)| i % 2 == 1)
        .map(|(_, word)| word);
    words
        .filter(|word| line.contains(&format!("\"{word}\":")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn json_has_the_documented_fields_in_order_and_stdout_nothing_else() {
    let name = TestName::new("json");
    let mut receiver = shm_recv(&name, &["--json", "--count", "3"]);
    let mut sender = shm_send(&name, &["--json", "--count", "30"]);
    receiver.ends_with(0);
    sender.ends_with(0);
    let line = |program: &Program, event: &str| {
        let start = format!("{{\"event\":\"{event}\"");
        let stdout = program.stdout();
        stdout
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("no {event}: {stdout}"))
            .to_owned()
    };
    let frame = [
        "event",
        "frame",
        "width",
        "height",
        "channels",
        "sent_ms",
        "received_ms",
        "delay_ms",
        "skipped",
        "path",
        "leased",
    ];
    let expect = |line: String, names: &[&str]| assert_eq!(fields(&line), names, "{line}");
    // "frame" is a value and a key.
    expect(
        line(&receiver, "frame"),
        &[&["event", "frame"], &frame[1..10]].concat(),
    );
    let quantiles = ["min", "p50", "p99", "max"];
    let summary = [
        "event", "frames", "seconds", "fps", "skipped", "torn", "delay_ms",
    ];
    expect(
        line(&receiver, "summary"),
        &[&summary[..], &quantiles].concat(),
    );
    expect(
        line(&sender, "sent"),
        &["event", "frame", "sent_ms", "write_ms"],
    );
    expect(
        line(&sender, "summary"),
        &[
            &["event", "frames", "seconds", "fps", "write_ms"][..],
            &quantiles,
        ]
        .concat(),
    );
    for program in [&sender, &receiver] {
        for line in program.stdout().lines() {
            assert!(
                serde_json::from_str::<Value>(line).unwrap().is_object(),
                "{line}"
            );
        }
    }
    assert_eq!(events(&sender, "sent").len(), 30);
    let first = &events(&receiver, "frame")[0];
    assert!(first["received_ms"].as_i64() >= first["sent_ms"].as_i64());
    assert!(first["delay_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn quiet_prints_the_summary_alone() {
    let name = TestName::new("quiet");
    let mut sender = shm_send(&name, &["--quiet"]);
    let mut receiver = shm_recv(&name, &["--quiet", "--count", "3"]);
    receiver.ends_with(0);
    sender.signal("INT");
    sender.ends_with(0);
    for program in [&sender, &receiver] {
        assert_eq!(program.stdout().lines().count(), 1, "{}", program.stdout());
        assert_eq!(program.stderr(), "");
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let name = TestName::new("closed");
    let sender = shm_send(&name, &[]);
    wait_for_segment(&name);
    for (command, status) in [
        (
            format!(
                "{RECV} --quiet --json --name {}-none --timeout 0.1",
                name.as_str()
            ),
            1,
        ),
        (format!("{RECV} --view none --name {}", name.as_str()), 0),
        (
            format!("{RECV} --view none --json --name {}", name.as_str()),
            0,
        ),
        (format!("{SEND} --json --name {}-other", name.as_str()), 0),
    ] {
        let script = format!("{{ {command}; echo \"ended with $?\" >&2; }} | head -n 1");
        let mut shell = Program::start(Command::new("sh").args(["-c", &script]));
        shell.ends_with(0);
        assert!(
            shell.stderr().contains(&format!("ended with {status}")),
            "{command}: {}",
            shell.stderr()
        );
        assert!(
            !shell.stderr().to_lowercase().contains("pipe"),
            "{}",
            shell.stderr()
        );
    }
    drop(sender);
    assert!(!PathBuf::from(format!("{}-other", name.file().display())).exists());
}

#[test]
fn skipped_frames_are_counted() {
    let name = TestName::new("skipped");
    let directory = scratch(&name, "frames");
    let _sender = shm_send(&name, &["--fps", "0"]);
    let mut receiver = shm_recv(
        &name,
        &[
            "--json",
            "--count",
            "5",
            "--save",
            directory.to_str().unwrap(),
        ],
    );
    receiver.ends_with(0);
    let frames = events(&receiver, "frame");
    assert_eq!(frames[0]["skipped"], 0);
    for pair in frames.windows(2) {
        let number = |i: usize| pair[i]["frame"].as_u64().unwrap();
        assert_eq!(pair[1]["skipped"], number(1) - number(0) - 1);
    }
    let skipped: u64 = frames
        .iter()
        .map(|frame| frame["skipped"].as_u64().unwrap())
        .sum();
    assert!(skipped > 0, "a PNG takes longer than a frame");
    assert_eq!(events(&receiver, "summary")[0]["skipped"], skipped);
}

#[test]
fn every_frame_of_the_test_picture_is_different_with_any_channels_and_slots() {
    for (channels, slots) in [("1", "1"), ("3", "4"), ("4", "16")] {
        let name = TestName::new("picture");
        let _sender = shm_send(
            &name,
            &["--channels", channels, "--slots", slots, "--fps", "200"],
        );
        wait_for_segment(&name);
        let mut receiver = Receiver::open(&Name::new(name.as_str()).unwrap()).unwrap();
        let mut last = Vec::new();
        for _ in 0..20 {
            let mut pixels = Vec::new();
            while pixels.is_empty() {
                assert_eq!(receiver.wait(common::PATIENCE).unwrap(), Wait::Frame);
                if receiver.copy(&mut pixels).unwrap().is_none() {
                    pixels.clear();
                }
            }
            assert!(pixels != last, "two frames are the same");
            last = pixels;
        }
        assert_eq!(receiver.slots().unwrap().to_string(), slots);
    }
}

#[test]
fn what_is_no_segment_is_refused_with_what_it_is() {
    let name = TestName::new("strange");
    let path = name.file();
    let refused = |what: &str| {
        for program in [SEND, RECV] {
            let mut program = start(program, &name, &["--count", "1"]);
            program.ends_with(1);
            assert!(
                program.stderr().contains(what),
                "{what}: {}",
                program.stderr()
            );
        }
    };
    fs::write(&path, "").unwrap();
    refused("it is empty");
    fs::write(&path, "short").unwrap();
    refused("it has 5 bytes");
    fs::write(
        &path,
        "a text that is longer than any header of ours, and is none",
    )
    .unwrap();
    refused("no control page");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("it is a directory");
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
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
}
