//! `--save`: names, kinds of files, the lines beside them, and what a killed receiver leaves.
mod common;

use std::fs;
use std::path::Path;

use common::{Json as _, RECV, command, noise, publisher, recv, send};
use opencv::core::MatTraitConstManual;
use opencv::imgcodecs;
use serde_json::Value;
use shm_frame::{Channels, Element, Extras, Format, Sender, Shape, Size};
use shm_frame_testing::{Program, Scratch, TestName, shape};

const CAPTURED: u64 = 1_764_000_000_123_456_789;

fn save(name: &TestName, args: &str, to: &Path) -> Program {
    let args = format!("--view none --json {args} --save");
    Program::start(command(RECV, name, &args).arg(to))
}

fn of(format: Format) -> Shape {
    let size = Size {
        width: 12,
        height: 5,
    };
    Shape::new(size, format).unwrap()
}

/// Publishes a frame of noise, and waits until it was received. Returns its pixels.
fn publish(
    sender: &mut Sender,
    receiver: &mut Program,
    shape: Shape,
    extras: Extras<'_>,
) -> Vec<u8> {
    receiver.wait_for_events("attached", 1);
    let frames = receiver.events("frame").len();
    let pixels = noise(shape.bytes(), frames as u64);
    sender.publish_with(shape, &pixels, extras).unwrap();
    receiver.wait_for_events("frame", frames + 1);
    pixels
}

fn names(scratch: &Scratch) -> Vec<String> {
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    scratch.saved().iter().map(name).collect()
}

fn lines(scratch: &Scratch) -> Vec<Value> {
    let text = fs::read_to_string(scratch.path().join("frames.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn names_follow_a_pattern_and_each_file_has_a_line() {
    let name = TestName::new("pattern");
    let scratch = Scratch::new(&name);
    let stream = name.as_str().trim_start_matches('/');
    let pattern = scratch
        .path()
        .join("{name}-{frame:06}-{captured}-{width}x{height}.png");
    let mut sender = publisher(&name, 4096);
    let mut receiver = save(&name, "", &pattern);
    let extras = [
        Extras::new()
            .captured_ns(CAPTURED)
            .meta(br#"{"exposure":7}"#),
        Extras::new().meta(b"not JSON"),
        Extras::new(),
    ];
    let shape = of(Format::BGR8);
    let pixels = extras.map(|extras| publish(&mut sender, &mut receiver, shape, extras));
    receiver.interrupt();
    let expected = [
        format!("{stream}-000001-{CAPTURED}-12x5.png"),
        format!("{stream}-000002-unknown-12x5.png"),
        format!("{stream}-000003-unknown-12x5.png"),
    ];
    assert_eq!(names(&scratch), expected);
    let lines = lines(&scratch);
    assert_eq!(lines.len(), 3);
    for (i, (line, event)) in lines.iter().zip(receiver.events("frame")).enumerate() {
        assert_eq!(line["file"], expected[i], "in the order of frames");
        assert_eq!(line["name"], name.as_str());
        for (key, value) in line.as_object().unwrap() {
            let is_own = key == "file" || key == "name";
            assert!(is_own || event[key] == *value, "{key}: {line} {event}");
        }
        assert_eq!(line["frame"], i + 1);
        let file = scratch.path().join(&expected[i]);
        let image = imgcodecs::imread(file.to_str().unwrap(), imgcodecs::IMREAD_UNCHANGED);
        assert_eq!(image.unwrap().data_bytes().unwrap(), pixels[i]);
    }
    assert_eq!(lines[0]["captured_ms"], 1_764_000_000_123.456);
    assert_eq!(lines[0]["meta"]["exposure"], 7);
    assert_eq!(
        (&lines[1]["meta"], &lines[1]["captured_ms"]),
        (&"not JSON".into(), &Value::Null)
    );
}

#[test]
fn one_of_so_many_frames_is_saved() {
    let name = TestName::new("every");
    let scratch = Scratch::new(&name);
    let mut sender = publisher(&name, 4096);
    let mut receiver = save(&name, "--every 3", scratch.path());
    for _ in 0..8 {
        publish(&mut sender, &mut receiver, of(Format::GRAY8), Extras::new());
    }
    receiver.interrupt();
    assert_eq!(names(&scratch), ["000001.png", "000004.png", "000007.png"]);
    assert_eq!(receiver.events("frame").len(), 8);
    assert_eq!(receiver.events("summary")[0]["dropped"]["save"], 0);
}

#[test]
fn an_ending_chooses_the_kind_of_file_if_that_can_hold_the_frames() {
    let name = TestName::new("endings");
    let f32 = Format::new(Element::F32, Channels::Three);
    let two = Format::new(Element::U8, Channels::Two);
    for (ending, format, holds) in [
        ("png", Format::GRAY16, true),
        ("tiff", Format::GRAY16, true),
        ("tiff", f32, true),
        ("npy", Format::BGR8, true),
        ("jpg", Format::BGR8, true),
        ("png", f32, false),
        ("tiff", two, false),
        ("jpg", Format::GRAY16, false),
        ("jpg", Format::BGRA8, false),
    ] {
        let scratch = Scratch::new(&name);
        let mut sender = publisher(&name, 4096);
        let mut receiver = save(
            &name,
            "",
            &scratch.path().join(format!("{{frame}}.{ending}")),
        );
        receiver.wait_for_events("attached", 1);
        let before = sender
            .publish(of(format), &noise(of(format).bytes(), 1))
            .unwrap();
        receiver.wait_for_events("frame", 1);
        if holds {
            receiver.interrupt();
            assert_eq!(names(&scratch), [format!("{}.{ending}", before.number)]);
        } else {
            receiver.ends_with(1);
            receiver.assert_stderr(&format!("a .{ending} cannot hold frames of {}", of(format)));
            assert!(names(&scratch).is_empty());
        }
    }
}

#[test]
fn what_is_no_pattern_is_a_usage_error_that_says_what_there_is() {
    let name = TestName::new("no-pattern");
    for (args, says) in [
        (
            "--save {number}.png",
            "there are {name}, {frame}, {captured}",
        ),
        ("--save a/{frame:6}", "as in {frame:06}"),
        ("--save {frame", "a { without a }"),
        ("--save {frame}.bmp", "there are .png, .tiff, .npy and .jpg"),
        ("--every 2", "--save"),
        ("--save a --every 0", "--every"),
    ] {
        recv(&name, args).ends_with(2).assert_stderr(says);
    }
    assert!(!Path::new("a").exists());
}

#[test]
fn files_that_are_there_stay_and_lines_are_added_to_those_before() {
    let name = TestName::new("there");
    let scratch = Scratch::new(&name);
    fs::write(scratch.path().join("000001.png"), "mine").unwrap();
    // A receiver was killed amid this line.
    fs::write(scratch.path().join("frames.jsonl"), "{\"file\":\"0").unwrap();
    let mut sender = publisher(&name, 4096);
    let mut receiver = save(&name, "", scratch.path());
    publish(&mut sender, &mut receiver, of(Format::GRAY8), Extras::new());
    receiver.interrupt();
    assert_eq!(names(&scratch), ["000001-2.png", "000001.png"]);
    assert_eq!(
        fs::read(scratch.path().join("000001.png")).unwrap(),
        b"mine"
    );
    let text = fs::read_to_string(scratch.path().join("frames.jsonl")).unwrap();
    let (half, line) = text.split_once('\n').unwrap();
    assert_eq!(half, "{\"file\":\"0");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["file"], "000001-2.png");
}

#[test]
fn after_kill_9_every_file_that_has_a_name_is_whole() {
    let name = TestName::new("save-killed");
    let mut sender = send(&name, "--size 1280x720 --fps 0");
    sender.wait_for("sending");
    for _ in 0..3 {
        let scratch = Scratch::new(&name);
        let mut receiver = save(&name, "", scratch.path());
        receiver.wait_until("it saves", |_| scratch.saved().len() > 4);
        receiver.kill();
        let mut whole = 0;
        for file in scratch.saved() {
            let hidden = file.file_name().unwrap().to_str().unwrap().starts_with('.');
            if hidden {
                continue;
            }
            let mut decoder =
                png::Decoder::new(std::io::BufReader::new(fs::File::open(&file).unwrap()))
                    .read_info()
                    .unwrap();
            let mut pixels = vec![0; shape(1280, 720, 3).bytes()];
            decoder.next_frame(&mut pixels).unwrap();
            decoder.finish().unwrap();
            whole += 1;
        }
        assert!(whole > 2, "{whole}");
    }
}
