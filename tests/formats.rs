//! Frames of every kind of pixel through both commands: exact in bytes, and called by their names.
mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::{Json as _, RECV, SEND, command, recv};
use opencv::core::{MatTraitConst, MatTraitConstManual};
use opencv::imgcodecs;
use shm_frame::{Channels, Element, Extras, Format, Order, Sender, SenderOptions, Shape, Size};
use shm_frame_testing::{Program, Scratch, TestName};

fn formats() -> Vec<Format> {
    let mut formats = Vec::new();
    for element in Element::ALL {
        for channels in Channels::ALL {
            let format = Format::new(element, channels);
            formats.push(format);
            if format.ordered(Order::Rgb) != format {
                formats.push(format.ordered(Order::Rgb));
            }
        }
    }
    formats
}

fn shape(format: Format) -> Shape {
    let size = Size {
        width: 6,
        height: 4,
    };
    Shape::new(size, format).unwrap()
}

/// Pixels of which all bytes differ from their neighbours, and no float is NaN.
fn pixels(shape: Shape) -> Vec<u8> {
    (0..shape.bytes())
        .map(|i| u8::try_from(i * 7 % 113).unwrap())
        .collect()
}

#[test]
fn raw_frames_of_every_format_arrive_byte_for_byte() {
    let name = TestName::new("formats-raw");
    let scratch = Scratch::new(&name);
    for format in formats() {
        let shape = shape(format);
        let sent = scratch.path().join("sent");
        let got = scratch.path().join("got");
        fs::write(&sent, pixels(shape)).unwrap();
        let script = r#"exec "$0" --name "$1" --view none --count 1 --raw - > "$2""#;
        let mut receiver = Command::new("sh");
        receiver.args(["-c", script, RECV, name.as_str()]).arg(&got);
        let mut receiver = Program::start(&mut receiver);
        receiver.wait_for("waiting for a sender");
        // A pipe that stays open, so that the segment stays until the frame was taken.
        let mut sender = command(SEND, &name, &format!("--raw {shape}"));
        let mut sender = sender
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = sender.stdin.take().unwrap();
        stdin.write_all(&pixels(shape)).unwrap();
        receiver.ends_with(0);
        drop(stdin);
        assert!(sender.wait().unwrap().success(), "{shape}");
        assert_eq!(fs::read(&got).unwrap(), pixels(shape), "{shape}");
        receiver.assert_stderr(&format!("raw {shape}, "));
    }
}

#[test]
fn ffmpeg_is_told_the_format_by_its_own_name() {
    let name = TestName::new("formats-ffmpeg");
    for (format, text) in [
        (Format::GRAY16, "-pixel_format gray16le -video_size 6x4"),
        (Format::RGB8, "-pixel_format rgb24 -video_size 6x4"),
        (Format::GRAY32F, "-pixel_format grayf32le -video_size 6x4"),
        (
            Format::new(Element::I16, Channels::One),
            "6x4x1:i16, little-endian, 48 bytes a frame",
        ),
    ] {
        let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
        let mut receiver = recv(&name, "--view none --count 1 --raw -");
        receiver.wait_for("attached");
        let shape = shape(format);
        sender.publish(shape, &vec![0; shape.bytes()]).unwrap();
        receiver.ends_with(0);
        receiver.assert_stderr(text);
    }
}

#[test]
fn saved_files_hold_what_came_for_every_format() {
    let name = TestName::new("formats-save");
    let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
    for format in formats() {
        let scratch = Scratch::new(&name);
        let shape = shape(format);
        let directory = scratch.path().to_str().unwrap().to_owned();
        sender.publish(shape, &pixels(shape)).unwrap();
        let mut receiver = recv(&name, &format!("--view none --count 1 --save {directory}"));
        receiver.ends_with(0);
        let files = scratch.saved();
        assert_eq!(files.len(), 1, "{shape}: {files:?}");
        let file = fs::read(&files[0]).unwrap();
        let mut expected = pixels(shape);
        match files[0].extension().unwrap().to_str().unwrap() {
            "npy" => {
                let text = String::from_utf8_lossy(&file[10..]).into_owned();
                assert!(text.contains(&format!("(4, 6, {})", shape.channels())));
                let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
                assert!(header.is_multiple_of(64));
                assert_eq!(file[header..], expected, "{shape}");
            }
            "png" | "tiff" => {
                let path = files[0].to_str().unwrap();
                let image = imgcodecs::imread(path, imgcodecs::IMREAD_UNCHANGED).unwrap();
                assert_eq!(image.depth(), i32::from(format.element().code()), "{shape}");
                assert_eq!(image.channels(), shape.channels(), "{shape}");
                if format.order() == Order::Rgb {
                    // OpenCV gives blue first.
                    let bytes = format.element().bytes();
                    for pixel in expected.chunks_exact_mut(format.pixel_bytes()) {
                        let (red, rest) = pixel.split_at_mut(bytes);
                        red.swap_with_slice(&mut rest[bytes..2 * bytes]);
                    }
                }
                assert_eq!(image.data_bytes().unwrap(), expected, "{shape}");
            }
            other => panic!("{shape} was saved as {other}"),
        }
        drop(scratch);
    }
}

#[test]
fn json_and_the_list_say_the_format_the_capture_time_and_the_senders_object() {
    let name = TestName::new("formats-json");
    let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
    let mut receiver = recv(&name, "--view none --json");
    receiver.wait_for_events("attached", 1);
    let depth = shape(Format::GRAY16);
    let extras = Extras::new()
        .captured_ns(1_764_000_000_123_456_789)
        .meta(br#"{"exposure":0.01,"boxes":[[1,2,3,4]]}"#);
    sender.publish_with(depth, &pixels(depth), extras).unwrap();
    receiver.wait_for_events("frame", 1);
    let colour = shape(Format::RGB8);
    sender.publish(colour, &pixels(colour)).unwrap();
    receiver.wait_for_events("frame", 2);
    let list = Command::new(RECV).args(["--list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let line = list.lines().find(|line| line.contains(name.as_str()));
    assert!(line.unwrap().contains("  3:rgb  "), "{list}");
    receiver.interrupt();
    let frames = receiver.events("frame");
    assert_eq!(
        (&frames[0]["element"], &frames[0]["order"]),
        (&"u16".into(), &"bgr".into())
    );
    assert_eq!(frames[0]["captured_ms"], 1_764_000_000_123.456);
    assert!(frames[0]["capture_age_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(frames[0]["meta"]["boxes"][0][3], 4);
    assert_eq!(frames[0]["found"], false);
    assert_eq!(
        (&frames[1]["element"], &frames[1]["order"]),
        (&"u8".into(), &"rgb".into())
    );
    assert!(frames[1]["captured_ms"].is_null() && frames[1]["meta"].is_null());
}

#[test]
fn a_frame_that_was_there_before_is_found_and_in_no_statistic() {
    let name = TestName::new("formats-found");
    let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
    let gray = shape(Format::GRAY8);
    sender.publish(gray, &pixels(gray)).unwrap();
    let mut receiver = recv(&name, "--view none --json --count 2");
    receiver.wait_for_events("frame", 1);
    sender.publish(gray, &pixels(gray)).unwrap();
    receiver.ends_with(0);
    let frames = receiver.events("frame");
    assert_eq!(
        (&frames[0]["found"], &frames[1]["found"]),
        (&true.into(), &false.into())
    );
    let summary = &receiver.events("summary")[0];
    assert_eq!(summary["frames"], 2);
    assert_eq!(summary["delay_ms"]["max"], frames[1]["delay_ms"]);
}

#[test]
fn lines_of_json_go_with_the_frames_in_their_order() {
    let name = TestName::new("formats-meta");
    let scratch = Scratch::new(&name);
    let lines = scratch.path().join("lines.jsonl");
    fs::write(&lines, "{\"n\":1}\n\n{\"n\":2}\n").unwrap();
    let mut receiver = recv(&name, "--view none --json --wait spin");
    receiver.wait_for_events("waiting", 1);
    let mut sender = command(SEND, &name, "--size 64x48 --fps 10 --count 4 --meta");
    Program::start(sender.arg(&lines)).ends_with(0);
    receiver.wait_for_events("closed", 1);
    receiver.interrupt();
    for frame in receiver.events("frame") {
        let number = frame["frame"].as_u64().unwrap();
        assert_eq!(frame["meta"]["n"], number.min(2), "{frame}");
    }
    fs::write(&lines, "{\"n\":1}\nn=2\n").unwrap();
    let mut sender = command(SEND, &name, "--size 64x48 --meta");
    let mut sender = Program::start(sender.arg(&lines));
    sender.ends_with(1);
    sender.assert_stderr("line 2 is not JSON");
    assert!(!name.file().exists());
}

#[test]
fn formats_that_are_none_are_usage_errors_that_name_what_is_one() {
    let name = TestName::new("formats-usage");
    for (raw, text) in [
        ("8x8x5", "1 to 4 elements"),
        ("8x8x1:u64", ":f64 or :f16"),
        ("8x8x1:rgb", ":rgb for red first"),
        ("8x8", "640x480x1:u16"),
        ("0x8x3", "640x480x1:u16"),
    ] {
        let mut sender = Program::start(&mut command(SEND, &name, &format!("--raw {raw}")));
        sender.ends_with(2);
        sender.assert_stderr(text);
    }
}
