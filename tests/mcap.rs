//! `--record FILE.mcap` and `--video FILE.mcap`: what is recorded is exact, and comes back.
mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Json as _, RECV, SEND, command, formats, needs, noise, publisher, python, record, recv, send,
};
use mcap::MessageStream;
use serde_json::Value;
use shm_frame::{
    Channels, Element, End, Extras, Format, Frame, Receiver, Sender, Shape, Size, Waited,
};
use shm_frame_testing::{PATIENCE, Program, Scratch, TestName, open, shape, wait_until};

fn replay(name: &TestName, args: &str, path: &Path) -> Program {
    Program::start(command(SEND, name, args).arg("--video").arg(path))
}

/// A frame with all that goes with it.
#[derive(Clone, Debug, PartialEq)]
struct Whole {
    shape: Shape,
    pixels: Vec<u8>,
    captured_ns: Option<u64>,
    meta: Vec<u8>,
}

/// Two frames of every format: with a capture time and JSON, with neither, with bytes.
fn wholes() -> Vec<Whole> {
    let frames = formats(&Element::ALL, &Channels::ALL)
        .into_iter()
        .flat_map(|format| [format, format]);
    let whole = |(i, format): (usize, Format)| {
        let i = i as u64;
        let size = Size {
            width: 13,
            height: 7,
        };
        let shape = Shape::new(size, format).unwrap();
        Whole {
            shape,
            pixels: noise(shape.bytes(), i),
            captured_ns: (i % 3 != 1).then_some(1_764_000_000_000_000_001 + i * 33_333_333),
            meta: match i % 3 {
                0 => format!(r#"{{"exposure":{i}}}"#).into_bytes(),
                1 => Vec::new(),
                _ => vec![0xff, 0x00, 0x7b],
            },
        }
    };
    frames.enumerate().map(whole).collect()
}

/// Sends frames, each when the one before was received. Returns when they were begun, in ms.
fn send_all(sender: &mut Sender, frames: &[Whole], receiver: &mut Program) -> Vec<i64> {
    receiver.wait_for_events("attached", 1);
    let before = receiver.events("frame").len();
    let mut begun = Vec::new();
    for (i, whole) in frames.iter().enumerate() {
        let captured_ns = whole.captured_ns.unwrap_or(0);
        let extras = Extras::new().captured_ns(captured_ns).meta(&whole.meta);
        let sent = sender
            .publish_with(whole.shape, &whole.pixels, extras)
            .unwrap();
        begun.push(sent.sent_ms);
        receiver.wait_for_events("frame", before + i + 1);
    }
    begun
}

/// Takes frames until the sender has closed its segment.
fn take_wholes(receiver: &mut Receiver) -> Vec<(Frame, Whole)> {
    let end = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    loop {
        assert!(Instant::now() < end, "the segment was not closed");
        match receiver.wait(Duration::from_millis(100)).unwrap() {
            Waited::Frame => {
                let (mut pixels, mut meta) = Default::default();
                if let Some(frame) = receiver.copy_with_meta(&mut pixels, &mut meta).unwrap() {
                    let whole = Whole {
                        shape: frame.shape,
                        pixels,
                        captured_ns: frame.captured_ns,
                        meta,
                    };
                    taken.push((frame, whole));
                }
            }
            Waited::Ended(End::Replaced) => wait_until("it goes on", || receiver.reopen().unwrap()),
            Waited::Ended(end) => {
                assert_eq!(end, End::Closed);
                return taken;
            }
            Waited::Timeout | Waited::Cancelled => {}
        }
    }
}

#[test]
fn frames_of_all_formats_come_back_with_their_pixels_capture_times_and_bytes() {
    for compression in [
        "",
        "--compression zstd",
        "--compression lz4",
        "--compression none",
    ] {
        let name = TestName::new("round");
        let scratch = Scratch::new(&name);
        let file = scratch.path().join("all.mcap");
        let frames = wholes();
        let mut sender = publisher(&name, 4096);
        let mut receiver = record(&name, compression, &file);
        let begun = send_all(&mut sender, &frames, &mut receiver);
        receiver.interrupt();
        receiver.assert_stderr(&format!("recorded {} frames", frames.len()));
        drop(sender);

        // In the file: numbers, and times.
        let bytes = fs::read(&file).unwrap();
        let messages = MessageStream::new(&bytes).unwrap().map(Result::unwrap);
        let images: Vec<_> = messages
            .filter(|m| m.channel.topic == name.as_str())
            .collect();
        assert_eq!(images.len(), frames.len());
        for (i, (image, begun_ms)) in images.iter().zip(&begun).enumerate() {
            assert_eq!(image.sequence as usize, i + 1);
            let schema = image.channel.schema.as_ref().unwrap();
            assert_eq!(
                (&*schema.name, &*schema.encoding),
                ("foxglove.RawImage", "protobuf")
            );
            let format = &image.channel.metadata["shm-frame.format"];
            assert_eq!(*format, frames[i].shape.format().to_string());
            let publish_ms = i64::try_from(image.publish_time / 1_000_000).unwrap();
            assert!(
                (publish_ms - begun_ms).abs() <= 1,
                "{publish_ms} {begun_ms}"
            );
            assert!(image.log_time >= image.publish_time);
        }

        // Back: slowly enough for a receiver that copies to see every frame.
        let mut sender = replay(&name, "--json --fps 25", &file);
        let taken = take_wholes(&mut open(&name));
        sender.ends_with(0);
        let summary = &sender.events("summary")[0];
        let sent = summary["frames"].as_u64().unwrap() + summary["skipped"].as_u64().unwrap();
        assert_eq!(sent, frames.len() as u64);
        assert!(taken.len() > frames.len() / 2, "{}", taken.len());
        let mut expected = frames.iter();
        for (frame, whole) in taken {
            assert!(
                expected.any(|expected| *expected == whole),
                "frame {} of {} is none of those recorded, in their order",
                frame.number,
                frame.shape
            );
        }
    }
}

#[test]
fn a_recording_is_replayed_at_its_own_pace() {
    let name = TestName::new("pace");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("pace.mcap");
    let size = shape(16, 8, 3);
    let mut sender = publisher(&name, size.bytes());
    let mut receiver = record(&name, "", &file);
    receiver.wait_for_events("attached", 1);
    let mut begun = Vec::new();
    for (i, pause) in [50, 300, 20, 600, 100].into_iter().enumerate() {
        let sent = sender
            .publish(size, &noise(size.bytes(), i as u64))
            .unwrap();
        begun.push(sent.sent_ms);
        receiver.wait_for_events("frame", i + 1);
        thread::sleep(Duration::from_millis(pause));
    }
    receiver.interrupt();
    drop(sender);
    let ms = |events: Vec<Value>| -> Vec<i64> {
        events
            .iter()
            .map(|sent| sent["sent_ms"].as_i64().unwrap())
            .collect()
    };
    let mut sender = replay(&name, "--json --loop --count 9", &file);
    sender.ends_with(0);
    let sent = ms(sender.events("sent"));
    let steps =
        |times: &[i64]| -> Vec<i64> { times.windows(2).map(|two| two[1] - two[0]).collect() };
    for (replayed, recorded) in steps(&sent).iter().zip(steps(&begun)) {
        // A frame that is sent late is followed by a shorter step.
        assert!(*replayed > recorded - 60, "{sent:?} {begun:?}");
    }
    let mut sender = replay(&name, "--json --start 0.3", &file);
    sender.ends_with(0);
    assert_eq!(sender.events("sent").len(), 3);
    let mut sender = replay(&name, "--start 60", &file);
    sender
        .ends_with(1)
        .assert_stderr("--start 60: it ends before that");
    let mut sender = replay(&name, "--json --fps 0", &file);
    sender.ends_with(0);
    assert_eq!(sender.events("sent").len(), 5);
}

/// Writes a file with streams of these names, each with two frames of its own level.
fn with_streams(path: &Path, names: &[&str]) {
    let file = File::create(path).unwrap();
    let mut writer = mcap::Writer::new(file).unwrap();
    let schema = writer
        .add_schema("foxglove.RawImage", "protobuf", b"")
        .unwrap();
    let other = writer
        .add_channel(0, "/log", "json", &BTreeMap::new())
        .unwrap();
    let mut header = mcap::records::MessageHeader {
        channel_id: other,
        sequence: 0,
        log_time: 1,
        publish_time: 1,
    };
    writer.write_to_known_channel(&header, b"{}").unwrap();
    for round in 0..2 {
        for (level, name) in names.iter().enumerate() {
            header.channel_id = writer
                .add_channel(schema, name, "protobuf", &BTreeMap::new())
                .unwrap();
            header.publish_time = 1_000_000_000 + round * 10_000_000;
            // 2 x 1 pixels of "mono8" in a row of 4 bytes, by hand.
            let mut message = vec![0x15, 2, 0, 0, 0, 0x1d, 1, 0, 0, 0, 0x22, 5];
            message.extend(b"mono8");
            message.extend([0x2d, 4, 0, 0, 0, 0x32, 4]);
            message.extend([u8::try_from(level).unwrap(), 9, 0, 0]);
            writer.write_to_known_channel(&header, &message).unwrap();
        }
    }
    writer.finish().unwrap();
}

#[test]
fn one_of_several_streams_is_chosen_by_its_name() {
    let name = TestName::new("streams");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("streams.mcap");
    with_streams(&file, &["/left", "/right"]);
    let mut sender = replay(&name, "", &file);
    sender
        .ends_with(1)
        .assert_stderr("choose one by --stream: /left, /right");
    let mut sender = replay(&name, "--stream up", &file);
    sender
        .ends_with(1)
        .assert_stderr("none of that name, but /left, /right");
    for stream in ["right", "/right"] {
        let mut sender = replay(&name, &format!("--loop --fps 20 --stream {stream}"), &file);
        let (_, pixels) = shm_frame_testing::take(&mut open(&name));
        sender.interrupt();
        assert_eq!(pixels, [1, 9]);
    }
    let one = scratch.path().join("one.mcap");
    with_streams(&one, &["/only"]);
    let mut sender = replay(&name, "--json --fps 0", &one);
    sender.ends_with(0);
    assert_eq!(sender.events("sent").len(), 2);
    let none = scratch.path().join("none.mcap");
    with_streams(&none, &[]);
    let mut sender = replay(&name, "", &none);
    sender
        .ends_with(1)
        .assert_stderr("has no frames, which are foxglove.RawImage");
    let mut sender = send(&name, "--stream a --video a.mp4");
    sender.ends_with(1).assert_stderr("is no MCAP file");
    let mut sender = send(&name, "--stream a");
    sender.ends_with(2).assert_stderr("--video");
}

#[test]
fn after_kill_9_a_recording_can_be_replayed_up_to_its_last_second() {
    let name = TestName::new("killed");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 160x120 --fps 25");
    sender.wait_for("sending");
    for compression in ["zstd", "lz4", "none"] {
        let file = scratch.path().join(format!("{compression}.mcap"));
        let mut receiver = record(&name, &format!("--compression {compression}"), &file);
        receiver.wait_for_events("frame", 30);
        let second_ago = receiver.events("frame").len();
        thread::sleep(Duration::from_millis(1200));
        receiver.signal("KILL");
        receiver.end();
        let again = TestName::new("again");
        let mut replayed = replay(&again, "--json --fps 0", &file);
        replayed.ends_with(0);
        let frames = replayed.events("sent").len();
        assert!(
            frames >= second_ago,
            "{compression}: {frames} of {second_ago}"
        );
    }
}

#[test]
fn a_file_that_may_not_grow_is_exit_1_and_what_was_recorded_can_be_replayed() {
    let name = TestName::new("ulimit");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("film.mcap");
    let mut sender = send(&name, "--size 320x240 --fps 50");
    sender.wait_for("sending");
    // In blocks of 512 bytes.
    let script = r#"ulimit -f 30000; exec "$0" --name "$1" --view none --quiet --compression none --record "$2""#;
    let mut shell = Command::new("sh");
    shell
        .env_remove("DISPLAY")
        .args(["-c", script, RECV, name.as_str()]);
    let mut receiver = Program::start(shell.arg(&file));
    receiver.ends_with(1).assert_stderr("File too large");
    receiver.assert_stderr("can be replayed");
    let again = TestName::new("again");
    let mut replayed = replay(&again, "--json --fps 0", &file);
    replayed.ends_with(0);
    let frames = replayed.events("sent").len();
    assert!(frames >= 10, "{frames}");
}

#[test]
fn a_file_that_was_damaged_is_exit_1() {
    let name = TestName::new("damaged");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("film.mcap");
    let mut sender = send(&name, "--size 64x48 --fps 50");
    sender.wait_for("sending");
    record(&name, "--count 40", &file).ends_with(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 3;
    for byte in &mut bytes[middle..middle + 64] {
        *byte ^= 0x55;
    }
    fs::write(&file, bytes).unwrap();
    let again = TestName::new("again");
    replay(&again, "--fps 0", &file)
        .ends_with(1)
        .assert_stderr("--video");
}

#[test]
fn a_recording_of_all_streams_has_no_streams_name() {
    let name = TestName::new("mcap-name");
    let mut receiver = recv(&name, "--view none --record {name}.mcap");
    receiver.ends_with(1).assert_stderr("leave {name} out");
    assert!(!PathBuf::from("{name}.mcap").exists());
}

#[test]
fn what_goes_with_mcap_only_is_a_usage_error_elsewhere() {
    let name = TestName::new("usage");
    for (args, says) in [
        ("--compression lz4", "--record"),
        (
            "--compression lz4 --record a.mp4",
            "--compression is for --record FILE.mcap",
        ),
        (
            "--lossless --record a.mcap",
            "--lossless is for --record FILE.mkv",
        ),
        ("--compression gzip --record a.mcap", "zstd, lz4, none"),
        ("--record a.txt", "not a .mp4, .mkv, .avi or .mcap"),
    ] {
        let mut receiver = recv(&name, args);
        receiver.ends_with(2).assert_stderr(says);
    }
    assert!(!PathBuf::from("a.mcap").exists() && !PathBuf::from("a.mp4").exists());
}

/// Whether there is a Python with Foxglove's packages.
fn has_foxglove() -> bool {
    let output = Command::new(python())
        .args(["-c", "import mcap_protobuf.decoder"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn foxgloves_python_reader_reads_a_recording() {
    if !has_foxglove() && !needs("python-with-mcap-protobuf-support") {
        return;
    }
    let name = TestName::new("foxglove");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("film.mcap");
    let frames = wholes();
    let mut sender = publisher(&name, 4096);
    let mut receiver = record(&name, "", &file);
    send_all(&mut sender, &frames, &mut receiver);
    receiver.interrupt();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/read_mcap.py");
    let mut reader = Program::start(Command::new(python()).arg(script).arg(&file));
    reader.ends_with(0);
    let images = reader.json();
    assert_eq!(images.len(), frames.len());
    for (i, (image, whole)) in images.iter().zip(&frames).enumerate() {
        assert_eq!(image["topic"], name.as_str());
        assert_eq!(image["frame_id"], name.as_str().trim_start_matches('/'));
        assert_eq!(image["sequence"], i + 1);
        assert_eq!((&image["width"], &image["height"]), (&13.into(), &7.into()));
        assert_eq!(image["step"], whole.shape.row_bytes());
        let captured = whole
            .captured_ns
            .map_or(image["publish_time"].clone(), Value::from);
        assert_eq!(image["timestamp"], captured);
        let mut sum = Command::new("sha256sum");
        let pixels = scratch.path().join("pixels");
        fs::write(&pixels, &whole.pixels).unwrap();
        let sum = String::from_utf8(sum.arg(&pixels).output().unwrap().stdout).unwrap();
        assert!(
            sum.starts_with(image["sha256"].as_str().unwrap()),
            "{image}"
        );
    }
    for (format, encoding) in [
        (Format::BGR8, "bgr8"),
        (Format::GRAY8, "mono8"),
        (Format::GRAY16, "16UC1"),
        (Format::GRAY32F, "32FC1"),
    ] {
        let of = frames
            .iter()
            .position(|whole| whole.shape.format() == format)
            .unwrap();
        assert_eq!(images[of]["encoding"], encoding);
    }
}
