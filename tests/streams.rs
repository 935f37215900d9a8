//! Which streams are received, and for how long: names, patterns and none, in a /dev/shm of their
//! own where other segments would matter.
mod common;

use std::process::Command;
use std::time::Duration;

use common::{Json as _, RECV, Shm, needs, recv, send};
use serde_json::Value;
use shm_frame::{Sender, SenderOptions};
use shm_frame_testing::{Program, TestName, shape};

/// The names in some lines, without repetition.
fn names(lines: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = lines
        .iter()
        .map(|line| line["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[test]
fn names_need_no_flag_and_several_are_received_at_once() {
    let (left, right) = (TestName::new("left"), TestName::new("right"));
    let mut senders = [send(&left, "--quiet"), send(&right, "--quiet --size 32x24")];
    let mut command = Command::new(RECV);
    command.args([
        left.as_str(),
        "-n",
        right.as_str(),
        "-v",
        "none",
        "--json",
        "-c",
        "5",
    ]);
    let mut receiver = Program::start(&mut command);
    receiver.ends_with(0);
    let both = [left.as_str(), right.as_str()];
    for event in ["attached", "frame", "summary"] {
        assert_eq!(names(&receiver.events(event)), both, "{event}");
    }
    for summary in receiver.events("summary") {
        assert_eq!(summary["frames"], 5, "each has its count");
    }
    let mut command = Command::new(RECV);
    command.args([left.as_str(), right.as_str(), "-v", "none", "-c", "2"]);
    let mut receiver = Program::start(&mut command);
    receiver.ends_with(0);
    for name in both {
        receiver.assert_stdout(&format!("{name}  frame "));
        receiver.assert_stdout(&format!("{name}: 2 frames in "));
    }
    for sender in &mut senders {
        sender.signal("INT");
        sender.ends_with(0);
    }
}

#[test]
fn one_of_several_that_fails_ends_all_and_each_is_summed_up() {
    let (here, missing) = (TestName::new("here"), TestName::new("missing"));
    let _sender = send(&here, "--quiet");
    let mut command = Command::new(RECV);
    command.args([
        here.as_str(),
        missing.as_str(),
        "-v",
        "none",
        "--json",
        "-t",
        "1",
    ]);
    let mut receiver = Program::start(&mut command);
    receiver.ends_with(1);
    receiver.assert_stderr(&format!(
        "no new frame for 1 s: there is no segment {}",
        missing.as_str()
    ));
    assert_eq!(
        names(&receiver.events("summary")),
        [here.as_str(), missing.as_str()]
    );
}

#[test]
fn the_pixels_of_several_are_not_mixed_on_stdout() {
    let mut receiver = recv(&TestName::new("raw"), "other --raw -");
    receiver.ends_with(2);
    receiver.assert_stderr("--raw is for a single stream");
}

#[test]
fn a_pattern_takes_those_that_there_are_and_those_that_come_later() {
    if !needs("unshare nsenter mount") {
        return;
    }
    let shm = Shm::new();
    let _first = shm.sender("-n cam1");
    let _other = shm.sender("-n other");
    let mut receiver = Program::start(&mut shm.command(RECV, "cam* -v none --json"));
    receiver.wait_for_events("frame", 3);
    let second = shm.sender("-n cam2");
    receiver.wait_until("the second is received", |receiver| {
        names(&receiver.events("frame")) == ["/cam1", "/cam2"]
    });
    drop(second);
    receiver.wait_until("its end is told", |receiver| {
        names(&receiver.events("lost")) == ["/cam2"]
    });
    receiver.interrupt();
    assert_eq!(names(&receiver.events("summary")), ["/cam1", "/cam2"]);
    let mut nobody = Program::start(&mut shm.command(RECV, "none* -v none -t 1"));
    nobody.ends_with(1);
    nobody.assert_stderr("no new frame for 1 s: no segment matches /none*");
}

#[test]
fn without_a_name_it_is_the_one_stream_there_is() {
    if !needs("unshare nsenter mount") {
        return;
    }
    let shm = Shm::new();
    // None: waits for the sender's default.
    let mut waiting = Program::start(&mut shm.command(RECV, "-v none --json -c 1"));
    assert_eq!(waiting.wait_for_events("waiting", 1)[0]["name"], "/frame");
    let mut default = shm.sender("");
    assert_eq!(default.events("sending")[0]["name"], "/frame");
    waiting.ends_with(0);
    default.interrupt();
    // One, whatever its name.
    let _cam = shm.sender("-n cam");
    let one = shm.run("-v none --json -c 1");
    assert_eq!(names(&one.events("frame")), ["/cam"]);
    // Several: which there are is told.
    let _other = shm.sender("-n other --size 32x24");
    let mut several = Program::start(&mut shm.command(RECV, "-v none"));
    several.ends_with(1);
    several.assert_stderr("there are 2 streams: name one, or all with '*'");
    several.assert_stderr("/cam  640x404x3");
    several.assert_stderr("/other  32x24x3");
    // A name that is not there: those that are.
    let mut wrong = Program::start(&mut shm.command(RECV, "came -v none -t 1"));
    wrong.ends_with(1);
    wrong.assert_stderr("there are other streams: /cam, /other");
}

#[test]
fn a_run_ends_after_its_duration_or_with_its_sender() {
    let name = TestName::new("duration");
    // The time counts from the first frame.
    let mut late = recv(&name, "-v none --json --duration 0.5");
    late.wait_for_events("waiting", 1);
    std::thread::sleep(Duration::from_millis(700));
    let mut sender = send(&name, "--fps 50 --json");
    late.ends_with(0);
    let seconds = late.events("summary")[0]["seconds"].as_f64().unwrap();
    assert!((0.2..=0.5).contains(&seconds), "{seconds}");
    let mut until = recv(&name, "-v none --json --until-closed");
    until.wait_for_events("frame", 2);
    sender.interrupt();
    until.ends_with(0);
    assert_eq!(until.events("closed").len(), 1);
    let dying = send(&name, "--json");
    let mut until = recv(&name, "-v none --json --until-closed");
    until.wait_for_events("frame", 2);
    dying.signal("KILL");
    until.ends_with(1);
    until.assert_stderr(&format!(
        "the stream of {} did not end, it broke off",
        name.as_str()
    ));
}

#[test]
fn intervals_tell_rate_and_delay_of_their_time_alone() {
    let name = TestName::new("interval");
    let gray = shape(100, 100, 1);
    let options = SenderOptions::new().capacity(gray.bytes());
    let mut sender = Sender::create(&name.name(), &options).unwrap();
    let mut receiver = recv(&name, "-v none --json --interval 0.5");
    receiver.wait_for_events("attached", 1);
    receiver.wait_until("three intervals are over", |receiver| {
        sender.publish(gray, &vec![1; gray.bytes()]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        receiver.events("interval").len() == 3
    });
    receiver.interrupt();
    assert!(receiver.events("frame").is_empty(), "instead of frames");
    let intervals = receiver.events("interval");
    let full = &intervals[1];
    let number = |field: &str| full[field].as_f64().unwrap();
    let (frames, fps) = (number("frames"), number("fps"));
    assert!((10.0..=26.0).contains(&frames), "{full}");
    assert!((20.0..=52.0).contains(&fps), "{full}");
    assert!((number("mb_per_s") - fps / 100.0).abs() < 0.01, "{full}");
    assert!(
        full["delay_ms"]["p50"].is_f64() && number("jitter_ms") >= 0.0,
        "{full}"
    );
    // Nothing comes: nothing is made up.
    let mut receiver = recv(&name, "-v none --json --interval 0.2");
    let intervals = receiver.wait_for_events("interval", 3);
    assert_eq!(intervals[2]["frames"], 0);
    assert_eq!(intervals[2]["fps"], 0.0);
    assert!(intervals[2]["delay_ms"].is_null() && intervals[2]["jitter_ms"].is_null());
    receiver.interrupt();
    let mut text = recv(&name, "-v none --interval 0.2");
    text.wait_for(" frames/s  0.0 MB/s");
    text.interrupt();
}

#[test]
fn paths_need_no_flag_whatever_they_are() {
    let name = TestName::new("paths");
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
    let film = shm_frame_testing::Scratch::new(&name);
    let film = film.path().join("film.mkv");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=duration=1:size=64x48:rate=10",
        ])
        .arg(&film)
        .status();
    assert!(made.unwrap().success());
    let film = film.to_str().unwrap();
    for (paths, size, count) in [
        (picture, "640x404", Some(2)),
        (folder, "640x404", None),
        (&format!("{picture} {picture}"), "640x404", None),
        (&format!("{folder}/*-640*.png"), "640x404", None),
        (film, "64x48", None),
    ] {
        let count = count.map_or(String::new(), |count| format!("--count {count}"));
        let mut sender = send(&name, &format!("{count} {paths}"));
        sender.ends_with(0);
        sender.assert_stderr(&format!("sending {size}x3 to "));
    }
    let mut missing = send(&name, "missing.jpg");
    missing.ends_with(1);
    missing.assert_stderr("--image missing.jpg: No such file");
    let mut both = send(&name, &format!("{picture} --camera 0"));
    both.ends_with(2);
}

#[test]
fn tab_completes_segments_and_channels() {
    if !needs("bash unshare nsenter mount") {
        return;
    }
    let shm = Shm::new();
    let _left = shm.sender("-n left");
    let _right = shm.sender("-n right");
    // As bash asks, by the script in assets/completions.
    let complete = |words: &[&str]| {
        let mut command = shm.command("env", "COMPLETE=bash _CLAP_IFS=, _CLAP_COMPLETE_INDEX=2");
        command.arg(RECV).arg("--").args(words);
        let mut program = Program::start(&mut command);
        program.ends_with(0);
        program.stdout()
    };
    assert_eq!(complete(&["shm-recv", "-n", "l"]), "left");
    assert_eq!(complete(&["shm-recv", "-n", "/"]), "/left,/right");
    assert_eq!(complete(&["shm-recv", "--channels", ""]), "1,3,4");
}
