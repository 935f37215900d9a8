//! `--record`: films read back by ffmpeg and by OpenCV, after a quiet end and after others.
mod common;

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{
    Json as _, RECV, SEND, command, formats, needs, noise, publisher, record, recv, send, take_all,
};
use opencv::core::{self, Mat, MatTraitConst};
use opencv::videoio::{self, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst};
use shm_frame::{Channels, Element, Format, Order, Sender, Shape, Size};
use shm_frame_testing::{Program, Scratch, TestName, open, shape};

const FILMS: [&str; 3] = ["mp4", "mkv", "avi"];

/// What ffprobe says of a film, one value a line.
fn probe(path: &Path, args: &str) -> Vec<String> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-select_streams", "v:0", "-of", "csv=p=0"]);
    let output = ffprobe.args(args.split(' ')).arg(path).output().unwrap();
    let of = path.display();
    assert!(output.status.success(), "{of}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| line.trim_end_matches(',').to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// How many frames of a film can be decoded.
fn decodable(path: &Path) -> usize {
    let count = probe(path, "-count_frames -show_entries stream=nb_read_frames");
    count[0].parse().unwrap_or(0)
}

/// When the frames of a film are to be seen, in ms.
fn times(path: &Path) -> Vec<f64> {
    let times = probe(path, "-show_entries frame=best_effort_timestamp_time");
    times
        .iter()
        .map(|time| time.parse::<f64>().unwrap() * 1000.0)
        .collect()
}

/// Publishes frames of these levels, each when the one before was received, so long after each
/// other. Returns when they were begun, in ms.
fn send_levels(
    sender: &mut Sender,
    shape: Shape,
    levels: &[u8],
    receiver: &mut Program,
    pauses: &[u64],
) -> Vec<i64> {
    let before = receiver.events("frame").len();
    receiver.wait_for_events("attached", 1);
    let mut begun = Vec::new();
    for (i, &level) in levels.iter().enumerate() {
        // Blue and no red where there are colours; opaque.
        let pixel = [level, 128, 0, 255];
        let channels = usize::try_from(shape.channels()).unwrap();
        let pixels = pixel[..channels].repeat(shape.bytes() / channels);
        begun.push(sender.publish(shape, &pixels).unwrap().sent_ms);
        receiver.wait_for_events("frame", before + i + 1);
        thread::sleep(Duration::from_millis(pauses[i % pauses.len()]));
    }
    begun
}

/// A frame of a film that OpenCV read back.
struct Decoded {
    size: (i32, i32),
    mean: core::Scalar,
}

fn read_back(path: &Path) -> Vec<Decoded> {
    let mut film = VideoCapture::from_file(path.to_str().unwrap(), videoio::CAP_FFMPEG).unwrap();
    assert!(film.is_opened().unwrap(), "{}", path.display());
    let mut frames = Vec::new();
    let mut frame = Mat::default();
    while film.read(&mut frame).unwrap() {
        frames.push(Decoded {
            size: (frame.cols(), frame.rows()),
            mean: core::mean_def(&frame).unwrap(),
        });
    }
    frames
}

fn has_encoder(encoder: &str) -> bool {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-encoders"])
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.split_whitespace().any(|word| word == encoder)
}

#[test]
fn a_recording_has_every_frame_with_its_colours() {
    for (ending, channels) in [("mp4", 3), ("avi", 3), ("mkv", 3), ("mp4", 1), ("avi", 4)] {
        let name = TestName::new("record");
        let scratch = Scratch::new(&name);
        let file = scratch.path().join(format!("film.{ending}"));
        let size = shape(64, 48, channels);
        let mut sender = publisher(&name, size.bytes());
        let mut receiver = record(&name, "", &file);
        let levels: Vec<u8> = (0..12).map(|i| 20 * i).collect();
        send_levels(&mut sender, size, &levels, &mut receiver, &[15]);
        receiver.interrupt();
        receiver.assert_stderr("recorded 12 frames at ");
        receiver.assert_stderr(&format!("in {}", file.display()));
        let frames = read_back(&file);
        assert_eq!(frames.len(), levels.len(), "{ending}");
        for (Decoded { size, mean }, level) in frames.iter().zip(levels) {
            assert_eq!(*size, (64, 48));
            let expected = match channels {
                1 => [level; 3],
                _ => [level, 128, 0],
            };
            for (mean, expected) in mean.0.iter().zip(expected.map(f64::from)) {
                assert!(
                    (mean - expected).abs() < 12.0,
                    "{ending}, {channels} channels: {mean} is not {expected}"
                );
            }
        }
    }
}

#[test]
fn each_frame_of_a_recording_has_the_time_at_which_it_was_begun() {
    if !needs("ffprobe") {
        return;
    }
    let name = TestName::new("times");
    let scratch = Scratch::new(&name);
    let size = shape(64, 48, 3);
    for ending in FILMS {
        let file = scratch.path().join(format!("film.{ending}"));
        let mut sender = publisher(&name, size.bytes());
        let mut receiver = record(&name, "", &file);
        // Bursts, and pauses that are longer than a fragment.
        let levels: Vec<u8> = (0..30).collect();
        let pauses = [5, 40, 1, 200, 33, 1400, 10];
        let begun = send_levels(&mut sender, size, &levels, &mut receiver, &pauses);
        receiver.interrupt();
        let times = times(&file);
        assert_eq!(times.len(), begun.len(), "{ending}");
        for (time, begun_ms) in times.iter().zip(&begun) {
            let since = i32::try_from(begun_ms - begun[0]).unwrap();
            let off = time - times[0] - f64::from(since);
            // The wall clock's ms, and those of Matroska or the ticks of AVI.
            assert!(
                off.abs() < 5.0,
                "{ending}: {off} ms off: {times:?} {begun:?}"
            );
        }
        assert_eq!(read_back(&file).len(), begun.len(), "{ending}");
    }
}

#[test]
fn a_recording_is_in_a_format_that_browsers_play_and_says_which() {
    if !needs("ffmpeg ffprobe") {
        return;
    }
    let name = TestName::new("codec");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 320x240");
    sender.wait_for("sending");
    for ending in FILMS {
        let file = scratch.path().join(format!("film.{ending}"));
        let mut receiver = record(&name, "--count 10", &file);
        receiver.ends_with(0);
        let codec = &probe(&file, "-show_entries stream=codec_name")[0];
        let (expected, says) = match ending {
            "avi" => ("mjpeg", "Motion JPEG"),
            _ if has_encoder("libx264") || has_encoder("libopenh264") => ("h264", "H.264"),
            _ => ("mpeg4", "MPEG-4"),
        };
        assert_eq!(codec, expected, "{ending}");
        receiver.assert_stderr(&format!("--record {}: 320x240x3 as {says}", file.display()));
    }
    sender.interrupt();
    // A player may begin anywhere: the first frame of each second can be decoded alone.
    let mut sender = send(&name, "--size 320x240 --fps 20");
    sender.wait_for("sending");
    let file = scratch.path().join("keys.mp4");
    record(&name, "--count 70", &file).ends_with(0);
    let keys = probe(
        &file,
        "-skip_frame nokey -show_entries frame=best_effort_timestamp_time",
    );
    assert!(keys.len() >= 3, "{keys:?}");
}

#[test]
fn an_odd_column_and_row_are_left_out_and_that_is_said() {
    let name = TestName::new("odd");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 65x49 --fps 25");
    sender.wait_for("sending");
    for ending in FILMS {
        let file = scratch.path().join(format!("film.{ending}"));
        let mut receiver = record(&name, "--count 10", &file);
        receiver.ends_with(0);
        receiver.assert_stderr("without the odd column or row");
        let frames = read_back(&file);
        assert_eq!(frames.len(), 10);
        assert_eq!(frames[0].size, (64, 48));
    }
    sender.interrupt();
}

#[test]
fn a_recording_goes_on_in_another_file_when_the_size_changes() {
    let name = TestName::new("record-size");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("film.mp4");
    // A name like the next one is somebody's.
    fs::write(scratch.path().join("film-2.mp4"), "mine").unwrap();
    let (large, small) = (shape(64, 48, 3), shape(32, 24, 3));
    let mut sender = publisher(&name, large.bytes());
    let mut receiver = record(&name, "", &file);
    send_levels(&mut sender, large, &[10, 20, 30], &mut receiver, &[15]);
    send_levels(&mut sender, small, &[40, 50], &mut receiver, &[15]);
    receiver.interrupt();
    let other = scratch.path().join("film-3.mp4");
    receiver.assert_stderr(&format!(
        "frames are 32x24x3 now, and go on in {}",
        other.display()
    ));
    for (file, count, size) in [(file, 3, (64, 48)), (other, 2, (32, 24))] {
        let frames = read_back(&file);
        assert_eq!(frames.len(), count);
        assert!(frames.iter().all(|frame| frame.size == size));
    }
    assert_eq!(
        fs::read(scratch.path().join("film-2.mp4")).unwrap(),
        b"mine"
    );
}

// --- names

#[test]
fn a_recording_that_cannot_be_is_exit_1_with_the_reason_and_leaves_no_file() {
    let name = TestName::new("no-record");
    let scratch = Scratch::new(&name);
    let there = scratch.path().join("there.mp4");
    fs::write(&there, "mine").unwrap();
    let mut sender = send(&name, "--size 1x7");
    sender.wait_for("sending");
    for (file, says) in [
        (there.clone(), "it is there already"),
        (scratch.path().join("no/directory.mp4"), "No such file"),
        (scratch.path().join("thin.mp4"), "frames are 1x7x3"),
    ] {
        let mut receiver = record(&name, "--count 2", &file);
        receiver.ends_with(1);
        receiver.assert_stderr("--record");
        receiver.assert_stderr(file.to_str().unwrap());
        receiver.assert_stderr(says);
    }
    // Nobody sends.
    sender.interrupt();
    let file = scratch.path().join("nothing.mp4");
    record(&name, "--timeout 0.2", &file).ends_with(1);
    assert_eq!(fs::read_to_string(there).unwrap(), "mine");
    assert_eq!(scratch.files().len(), 1, "{:?}", scratch.files());
}

#[test]
fn a_name_is_taken_at_once_and_for_good() {
    let name = TestName::new("taken");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("film.mp4");
    let mut sender = publisher(&name, shape(64, 48, 3).bytes());
    let mut first = record(&name, "", &file);
    first.wait_for_events("attached", 1);
    // Before there was a frame.
    assert!(file.exists());
    let mut second = record(&name, "", &file);
    second.ends_with(1).assert_stderr("it is there already");
    // Somebody moves the file away and puts another one there.
    let moved = scratch.path().join("moved.mp4");
    fs::rename(&file, &moved).unwrap();
    fs::write(&file, "another program's").unwrap();
    send_levels(&mut sender, shape(64, 48, 3), &[1, 2, 3], &mut first, &[15]);
    first.interrupt();
    assert_eq!(fs::read(&file).unwrap(), b"another program's");
    assert_eq!(read_back(&moved).len(), 3);
}

#[test]
fn a_path_is_a_path_whatever_its_bytes() {
    let name = TestName::new("paths");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 64x48");
    sender.wait_for("sending");
    for file in [
        &b"2026-11-25T17:00:00+00:00.mp4"[..],
        b"http:x.mp4",
        b"Cam.MP4",
        b"caf\xe9.mkv",
        b"100%d.mp4",
        b"-.avi",
    ] {
        let file = OsString::from_vec(file.to_vec());
        // From its directory, without a slash before it.
        let mut start = command(RECV, &name, "--view none --json --count 5");
        let mut flag = OsString::from("--record=");
        flag.push(&file);
        Program::start(start.current_dir(scratch.path()).arg(flag)).ends_with(0);
        let path = scratch.path().join(&file);
        // A name that OpenCV takes.
        let plain = scratch
            .path()
            .join("plain")
            .with_extension(path.extension().unwrap());
        fs::rename(&path, &plain).unwrap();
        assert_eq!(read_back(&plain).len(), 5, "{}", path.display());
    }
    for (file, says) in [("film.webm", ".mkv"), ("film", ".mkv")] {
        let mut receiver = record(&name, "", Path::new(file));
        receiver.ends_with(2).assert_stderr(says);
    }
}

// --- pixels that are kept exactly

/// Every format that a film can hold exactly.
fn exact_formats() -> Vec<Format> {
    let channels = [Channels::One, Channels::Three, Channels::Four];
    formats(&[Element::U8, Element::U16], &channels)
}

/// Blue first, whatever the order was.
fn blue_first(pixels: &[u8], format: Format) -> Vec<u8> {
    let mut pixels = pixels.to_vec();
    if format.order() == Order::Rgb {
        let element = format.element().bytes();
        for pixel in pixels.chunks_exact_mut(format.pixel_bytes()) {
            for byte in 0..element {
                pixel.swap(byte, 2 * element + byte);
            }
        }
    }
    pixels
}

#[test]
fn a_lossless_recording_has_the_very_pixels_of_8_and_16_bits_and_alpha() {
    for format in exact_formats() {
        let name = TestName::new("lossless");
        let scratch = Scratch::new(&name);
        let file = scratch.path().join("film.mkv");
        // Odd sides, and rows that are no multiple of anything.
        let size = Size {
            width: 37,
            height: 23,
        };
        let shape = Shape::new(size, format).unwrap();
        let frames: Vec<_> = (0..5).map(|seed| noise(shape.bytes(), seed)).collect();
        let mut sender = publisher(&name, shape.bytes());
        let mut receiver = record(&name, "--lossless", &file);
        receiver.wait_for_events("attached", 1);
        for (i, frame) in frames.iter().enumerate() {
            sender.publish(shape, frame).unwrap();
            receiver.wait_for_events("frame", i + 1);
        }
        receiver.interrupt();
        receiver.assert_stderr("FFV1, lossless");
        drop(sender);
        // Back by --video.
        let args = format!("--fps 10 --channels {}", shape.channels());
        let mut sender = Program::start(command(SEND, &name, &args).arg("--video").arg(&file));
        let taken = take_all(&mut open(&name));
        sender.ends_with(0);
        let expected: Vec<_> = frames
            .iter()
            .map(|frame| blue_first(frame, format))
            .collect();
        assert!(taken.len() >= 2, "{format}: {}", taken.len());
        for (frame, pixels) in taken {
            assert_eq!(frame.shape.size(), size, "{format}");
            assert_eq!(frame.shape.format().element(), format.element(), "{format}");
            let number = usize::try_from(frame.number).unwrap() - 1;
            assert!(
                pixels == expected[number],
                "{format}: frame {number} is not exact"
            );
        }
    }
}

#[test]
fn what_a_film_cannot_hold_is_said_at_once_with_what_works() {
    let name = TestName::new("cannot");
    let scratch = Scratch::new(&name);
    let floats = Format::new(Element::F32, Channels::One);
    let depth = Format::new(Element::I16, Channels::One);
    let flow = Format::new(Element::U8, Channels::Two);
    for (format, width) in [(floats, 8), (depth, 8), (flow, 8), (Format::GRAY8, 70_000)] {
        let shape = Shape::new(Size { width, height: 4 }, format).unwrap();
        for ending in FILMS {
            let file = scratch.path().join(format!("film.{ending}"));
            let mut sender = publisher(&name, shape.bytes());
            let mut receiver = record(&name, "", &file);
            receiver.wait_for_events("attached", 1);
            sender.publish(shape, &vec![0; shape.bytes()]).unwrap();
            receiver
                .ends_with(1)
                .assert_stderr(&format!("frames are {shape}"));
            receiver.assert_stderr(".mcap");
            assert!(!file.exists());
        }
    }
    // 16 bits and alpha are lost, and that is said.
    let deep = Format::new(Element::U16, Channels::Four);
    let shape = Shape::new(
        Size {
            width: 16,
            height: 8,
        },
        deep,
    )
    .unwrap();
    let file = scratch.path().join("film.mp4");
    let mut sender = publisher(&name, shape.bytes());
    let mut receiver = record(&name, "--count 1", &file);
    receiver.wait_for_events("attached", 1);
    sender.publish(shape, &vec![200; shape.bytes()]).unwrap();
    receiver
        .ends_with(0)
        .assert_stderr("with 8 of the 16 bits, without alpha");
    let mut receiver = recv(&name, "--lossless");
    receiver.ends_with(2).assert_stderr("--record");
    let mut receiver = record(&name, "--lossless", &file);
    receiver.ends_with(2).assert_stderr(".mkv");
}

#[test]
fn wide_frames_are_recorded_where_the_encoder_takes_them() {
    let name = TestName::new("wide");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 9000x20");
    sender.wait_for("sending");
    for ending in FILMS {
        let file = scratch.path().join(format!("film.{ending}"));
        let mut receiver = record(&name, "--count 3", &file);
        if receiver.end().code() == Some(0) {
            assert_eq!(read_back(&file).len(), 3);
        } else {
            receiver.assert_stderr("cannot encode: .mkv with --lossless and .mcap take more");
        }
    }
    let file = scratch.path().join("exact.mkv");
    record(&name, "--count 3 --lossless", &file).ends_with(0);
    assert_eq!(read_back(&file).len(), 3);
}

// --- other ends

#[test]
fn after_kill_9_a_recording_can_be_played_up_to_its_last_second() {
    if !needs("ffprobe") {
        return;
    }
    let name = TestName::new("killed");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 160x120 --fps 25");
    sender.wait_for("sending");
    for (ending, args) in [("mp4", ""), ("mkv", ""), ("avi", ""), ("mkv", "--lossless")] {
        let file = scratch.path().join(format!("film{args}.{ending}"));
        let mut receiver = record(&name, args, &file);
        receiver.wait_for_events("frame", 30);
        let second_ago = receiver.events("frame").len();
        thread::sleep(Duration::from_millis(1200));
        receiver.signal("KILL");
        receiver.end();
        let frames = decodable(&file);
        assert!(frames >= second_ago, "{ending}: {frames} of {second_ago}");
        assert!(read_back(&file).len() >= second_ago, "{ending}");
        // It is a film for --video, too.
        let replay = TestName::new("replay");
        let mut again = command(SEND, &replay, "--json --fps 0 --video");
        let mut again = Program::start(again.arg(&file));
        again.ends_with(0);
        assert_eq!(again.events("sent").len(), frames, "{ending}");
    }
}

#[test]
fn after_kill_9_in_a_pause_all_frames_before_it_are_there() {
    if !needs("ffprobe") {
        return;
    }
    let name = TestName::new("paused");
    let scratch = Scratch::new(&name);
    let size = shape(64, 48, 3);
    for ending in FILMS {
        let file = scratch.path().join(format!("film.{ending}"));
        let mut sender = publisher(&name, size.bytes());
        let mut receiver = record(&name, "", &file);
        let begun = send_levels(
            &mut sender,
            size,
            &[1, 2, 3, 4],
            &mut receiver,
            &[700, 20, 20, 1300],
        );
        receiver.signal("KILL");
        receiver.end();
        assert_eq!(decodable(&file), begun.len(), "{ending}");
    }
}

#[test]
fn a_file_that_may_not_grow_is_exit_1_and_what_was_recorded_can_be_played() {
    if !needs("ffprobe") {
        return;
    }
    let name = TestName::new("ulimit");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 640x480 --fps 50");
    sender.wait_for("sending");
    for (ending, args, blocks) in [
        ("mp4", "", 1500),
        ("mkv", "", 1500),
        ("avi", "", 1500),
        ("mkv", "--lossless", 30_000),
    ] {
        let file = scratch.path().join(format!("film{args}.{ending}"));
        // In blocks of 512 bytes.
        let script = format!(
            r#"ulimit -f {blocks}; exec "$0" --name "$1" --view none --quiet {args} --record "$2""#
        );
        let mut shell = Command::new("sh");
        shell
            .env_remove("DISPLAY")
            .args(["-c", &script, RECV, name.as_str()]);
        let mut receiver = Program::start(shell.arg(&file));
        receiver.ends_with(1).assert_stderr("File too large");
        receiver.assert_stderr("can be played");
        assert!(fs::metadata(&file).unwrap().len() <= blocks * 512);
        assert!(decodable(&file) >= 10, "{ending}: {}", decodable(&file));
    }
}

#[test]
fn a_full_disk_is_exit_1_and_what_was_recorded_can_be_played() {
    if !needs("unshare ffprobe") {
        return;
    }
    let name = TestName::new("disk");
    let mut sender = send(&name, "--size 640x480 --fps 60");
    sender.wait_for("sending");
    for ending in FILMS {
        let script = format!(
            r#"mount -t tmpfs -o size=1m tmpfs /mnt && "$0" --name "$1" --view none --quiet --record /mnt/film.{ending}; echo "exit $?"; ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv=p=0 /mnt/film.{ending}"#
        );
        let mut shell = Command::new("unshare");
        shell.env_remove("DISPLAY");
        shell.args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &script,
            RECV,
            name.as_str(),
        ]);
        let mut recorded = Program::start(&mut shell);
        recorded.end();
        recorded.assert_stdout("exit 1");
        recorded.assert_stderr(&format!("--record /mnt/film.{ending}: No space left"));
        let stdout = recorded.stdout();
        let frames: u64 = stdout.lines().last().unwrap().parse().unwrap();
        assert!(frames > 10, "{stdout}");
    }
}

#[test]
fn frames_that_the_encoder_is_too_slow_for_are_counted_and_that_is_said() {
    let name = TestName::new("slow");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("film.mkv");
    let mut sender = send(&name, "--size 2560x1440 --fps 0");
    sender.wait_for("sending");
    let mut receiver = record(&name, "--lossless", &file);
    receiver.wait_for("--record is too slow");
    receiver.interrupt();
    let summary = &receiver.events("summary")[0];
    let [frames, dropped] =
        [&summary["frames"], &summary["dropped"]["record"]].map(|n| n.as_u64().unwrap());
    assert!(dropped > 0, "{summary}");
    receiver.assert_stderr(&format!("recorded {} frames", frames - dropped));
}
