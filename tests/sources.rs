//! The sources of shm-send: pictures, videos, cameras and pipes, as a user has them.
mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{
    Json as _, SEND, beside_a_camera, camera_library, command, needs, recv, send, take_all,
};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Scalar, Size, Vector};
use opencv::videoio::{
    CAP_FFMPEG, VideoCapture, VideoCaptureTrait, VideoCaptureTraitConst, VideoWriter,
    VideoWriterTrait, VideoWriterTraitConst,
};
use opencv::{imgcodecs, imgproc};
use shm_frame::Frame;
use shm_frame_testing::{Program, Scratch, TestName, open, take, wait_until};

/// Fails unless the program ends with this exit code, prints all this on stderr and leaves no
/// segment.
fn ends(program: &mut Program, name: &TestName, code: i32, says: &[&str]) {
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

/// A picture that is different for each number.
fn picture(number: i32, width: i32, height: i32) -> Mat {
    let color = Scalar::new(f64::from(number * 37 % 256), f64::from(number), 200.0, 0.0);
    let mut picture =
        Mat::new_rows_cols_with_default(height, width, opencv::core::CV_8UC3, color).unwrap();
    let (at, white) = ((number % width, height / 2).into(), Scalar::all(255.0));
    imgproc::circle_def(&mut picture, at, 5, white).unwrap();
    picture
}

fn bytes(image: &Mat) -> Vec<u8> {
    image.data_bytes().unwrap().to_vec()
}

fn converted(image: &Mat, channels: &str) -> Mat {
    let conversion = match channels {
        "1" => imgproc::COLOR_BGR2GRAY,
        "4" => imgproc::COLOR_BGR2BGRA,
        _ => return image.clone(),
    };
    let mut converted = Mat::default();
    imgproc::cvt_color_def(image, &mut converted, conversion).unwrap();
    converted
}

fn png(picture: &Mat) -> Vector<u8> {
    let mut file = Vector::new();
    imgcodecs::imencode_def(".png", picture, &mut file).unwrap();
    file
}

fn write_picture(path: &Path, picture: &Mat) {
    fs::write(path, png(picture).as_slice()).unwrap();
}

/// Makes a lossless video of numbered pictures, and returns them.
fn write_video(path: &Path, frames: i32, fps: f64) -> Vec<Mat> {
    let ffv1 = VideoWriter::fourcc('F', 'F', 'V', '1').unwrap();
    let mut writer = VideoWriter::new(path, ffv1, fps, Size::new(160, 120), true).unwrap();
    assert!(writer.is_opened().unwrap(), "OpenCV writes no FFV1");
    let pictures: Vec<_> = (0..frames)
        .map(|number| picture(number, 160, 120))
        .collect();
    for picture in &pictures {
        writer.write(picture).unwrap();
    }
    writer.release().unwrap();
    pictures
}

/// All frames of a video, as OpenCV decodes them.
fn read_video(path: &Path) -> Vec<Mat> {
    let mut capture = VideoCapture::from_file(path, CAP_FFMPEG).unwrap();
    assert!(capture.is_opened().unwrap());
    let mut frames = Vec::new();
    let mut frame = Mat::default();
    while capture.read(&mut frame).unwrap() {
        frames.push(frame.clone());
    }
    frames
}

/// The places of the taken frames among the expected ones.
fn numbers(taken: &[(Frame, Vec<u8>)], expected: &[Vec<u8>]) -> Vec<usize> {
    let number = |pixels| expected.iter().position(|expected| expected == pixels);
    let unknown = "a frame that is none of those expected";
    taken
        .iter()
        .map(|(_, pixels)| number(pixels).expect(unknown))
        .collect()
}

/// Fails unless the numbers are in order, none is there twice, and the last one is there. Others
/// may be missing: this test may be slower than the sender.
fn assert_in_order(numbers: &[usize], count: usize) {
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&(count - 1)), "{numbers:?}");
}

/// Starts a shell command line, in which "$0" is shm-send and "$1" the segment's name.
fn shell(line: &str, name: &TestName, more: &[&OsStr]) -> Program {
    let mut shell = Command::new("sh");
    shell
        .env_remove("DISPLAY")
        .args(["-c", line, SEND, name.as_str()]);
    Program::start(shell.args(more))
}

// --- pictures

#[test]
fn pictures_are_sent_in_natural_order_each_in_its_own_size() {
    let name = TestName::new("order");
    let scratch = Scratch::new(&name);
    let count = 12;
    let pictures: Vec<_> = (0..count)
        .map(|i| picture(i, 40 + 2 * i, 30 + i % 3))
        .collect();
    for (i, picture) in pictures.iter().enumerate() {
        write_picture(&scratch.path().join(format!("img{}.png", i + 1)), picture);
    }
    fs::write(scratch.path().join("notes.txt"), "no picture").unwrap();
    let pattern = scratch.path().join("img*.p?g");
    for images in [scratch.path(), &pattern] {
        let mut start = command(SEND, &name, "--fps 10 --json --images");
        let mut sender = Program::start(start.arg(images));
        let taken = take_all(&mut open(&name));
        ends(&mut sender, &name, 0, &[]);
        let expected: Vec<_> = pictures.iter().map(bytes).collect();
        assert_in_order(&numbers(&taken, &expected), expected.len());
        for (frame, _) in &taken {
            assert_eq!(frame.shape.channels(), 3);
        }
        let summary = &sender.events("summary")[0];
        let passed = summary["frames"].as_u64().unwrap() + summary["skipped"].as_u64().unwrap();
        assert_eq!(passed, 12, "{summary}");
    }
}

#[test]
fn with_loop_pictures_start_again_and_every_one_arrives() {
    for channels in ["1", "3", "4"] {
        let name = TestName::new("loop");
        let scratch = Scratch::new(&name);
        let pictures = [3, 5, 7].map(|number| picture(number, 64, 48));
        // Unusual names: the first is a pattern, the second has a space, the third is not UTF-8.
        let files = [&b"[1].png"[..], b"a b.png", b"c\xff.png"];
        for (file, picture) in files.iter().zip(&pictures) {
            write_picture(&scratch.path().join(OsStr::from_bytes(file)), picture);
        }
        let mut start = command(SEND, &name, "--fps 50 --loop --channels");
        start.arg(channels).arg("--images");
        let mut sender =
            Program::start(start.args(files.map(|f| scratch.path().join(OsStr::from_bytes(f)))));
        let expected: Vec<_> = pictures
            .iter()
            .map(|p| bytes(&converted(p, channels)))
            .collect();
        let mut receiver = open(&name);
        let mut seen = [0; 3];
        while seen.iter().any(|&times| times < 2) {
            let taken = [take(&mut receiver)];
            seen[numbers(&taken, &expected)[0]] += 1;
        }
        sender.interrupt();
        assert!(!name.file().exists());
    }
}

#[test]
fn missing_and_unreadable_pictures_exit_1_with_their_name() {
    let name = TestName::new("no-pictures");
    let scratch = Scratch::new(&name);
    fs::write(scratch.path().join("notes.txt"), "no picture").unwrap();
    fs::write(scratch.path().join("empty.png"), "").unwrap();
    for (images, says) in [
        ("missing.png", "no such file"),
        ("missing*.png", "matches"),
        ("missing[.png", "--images"),
        ("notes.txt", "is no picture"),
        ("empty.png", "is empty"),
        (".", "empty.png"),
    ] {
        let mut start = command(SEND, &name, "--count 1 --images");
        let mut sender = Program::start(start.arg(scratch.path().join(images)));
        ends(&mut sender, &name, 1, &["--images", says]);
    }
    fs::remove_file(scratch.path().join("empty.png")).unwrap();
    let mut start = command(SEND, &name, "--count 1 --images");
    let mut sender = Program::start(start.arg(scratch.path()));
    ends(
        &mut sender,
        &name,
        1,
        &["--images", "no picture in this folder"],
    );
}

#[test]
fn a_picture_that_was_cut_off_exits_1_and_fill_bytes_in_a_jpeg_are_no_cut() {
    let name = TestName::new("cut-picture");
    let scratch = Scratch::new(&name);
    for extension in [
        "bmp", "jp2", "jpg", "pam", "png", "ppm", "ras", "tiff", "webp",
    ] {
        let path = scratch.path().join(format!("picture.{extension}"));
        imgcodecs::imwrite_def(path.to_str().unwrap(), &picture(1, 64, 48)).unwrap();
        let whole = fs::read(&path).unwrap();
        let image = || {
            let mut start = command(SEND, &name, "--count 1 --image");
            Program::start(start.arg(&path))
        };
        image().ends_with(0);
        for length in [whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            ends(&mut image(), &name, 1, &["--image", "breaks off"]);
        }
        if extension == "jpg" {
            let (begin, rest) = whole.split_at(2);
            fs::write(&path, [begin, b"\xff\xff", rest].concat()).unwrap();
            image().ends_with(0);
        }
    }
}

#[test]
fn a_broken_picture_among_others_exits_1_and_closes_the_segment() {
    let name = TestName::new("broken-picture");
    let scratch = Scratch::new(&name);
    for i in [1, 2, 4] {
        write_picture(
            &scratch.path().join(format!("{i}.png")),
            &picture(i, 64, 48),
        );
    }
    fs::write(scratch.path().join("3.png"), "no picture").unwrap();
    let mut start = command(SEND, &name, "--fps 2 --images");
    let mut sender = Program::start(start.arg(scratch.path()));
    let taken = take_all(&mut open(&name));
    assert_eq!(taken.last().unwrap().0.number, 2);
    ends(
        &mut sender,
        &name,
        1,
        &["--images", "3.png", "is no picture"],
    );
    sender.assert_stdout("2 frames in ");
}

// --- videos

#[test]
fn a_video_arrives_as_it_was_made_frame_by_frame() {
    for channels in ["1", "3", "4"] {
        let name = TestName::new("video");
        let scratch = Scratch::new(&name);
        // Else what stands before the colon would be a protocol.
        let path = scratch.path().join("a: video.mkv");
        let made = write_video(&scratch.path().join("made.mkv"), 15, 30.0);
        fs::rename(scratch.path().join("made.mkv"), &path).unwrap();
        let read = read_video(&PathBuf::from(format!("file:{}", path.display())));
        assert_eq!(read.len(), made.len());
        let mut start = command(SEND, &name, "--loop --channels");
        let mut sender = Program::start(start.arg(channels).arg("--video").arg(&path));
        let expected: Vec<_> = read
            .iter()
            .map(|p| bytes(&converted(p, channels)))
            .collect();
        let mut receiver = open(&name);
        let mut seen = vec![false; expected.len()];
        while seen.contains(&false) {
            let taken = [take(&mut receiver)];
            seen[numbers(&taken, &expected)[0]] = true;
        }
        sender.interrupt();
        assert!(!name.file().exists());
        // That OpenCV decodes what was encoded, but for the colors' rounding, is what makes this a
        // comparison.
        for (made, read) in made.iter().zip(&read) {
            let difference = opencv::core::norm2_def(made, read).unwrap();
            let pixels = f64::from(made.rows() * made.cols() * 3);
            assert!(difference * difference / pixels < 50.0, "{difference}");
        }
    }
}

#[test]
fn a_video_plays_once_not_faster_than_its_own_rate_to_its_last_frame() {
    let name = TestName::new("once");
    let scratch = Scratch::new(&name);
    let path = scratch.path().join(OsStr::from_bytes(b"once\xff.avi"));
    let made = scratch.path().join("once.avi");
    write_video(&made, 12, 10.0);
    let expected: Vec<_> = read_video(&made).iter().map(bytes).collect();
    fs::rename(made, &path).unwrap();
    let mut start = command(SEND, &name, "--json --video");
    let mut sender = Program::start(start.arg(path));
    let taken = take_all(&mut open(&name));
    ends(&mut sender, &name, 0, &["10 frames/s"]);
    let taken = numbers(&taken, &expected);
    assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
    let summary = &sender.events("summary")[0];
    let skipped = summary["skipped"].as_u64().unwrap();
    assert_eq!(
        summary["frames"].as_u64().unwrap() + skipped,
        12,
        "{summary}"
    );
    // The last one that was sent has no other after it.
    assert!(skipped > 0 || taken.last() == Some(&11), "{taken:?}");
    // The last frame is seen as long as any other.
    assert!(summary["seconds"].as_f64().unwrap() >= 1.199, "{summary}");
}

#[test]
fn a_sender_that_was_stopped_skips_the_frames_of_the_meantime() {
    let name = TestName::new("late");
    let scratch = Scratch::new(&name);
    let path = scratch.path().join("late.mkv");
    write_video(&path, 30, 20.0);
    let mut start = command(SEND, &name, "--json --video");
    let mut sender = Program::start(start.arg(path));
    sender.wait_for_events("sent", 3);
    sender.stop();
    thread::sleep(Duration::from_millis(500));
    sender.signal("CONT");
    ends(&mut sender, &name, 0, &[]);
    let summary = &sender.events("summary")[0];
    let [frames, skipped] = ["frames", "skipped"].map(|key| summary[key].as_u64().unwrap());
    assert_eq!(frames + skipped, 30, "{summary}");
    // Ten were to be seen meanwhile, of which one waited for its time and one is the one to be seen
    // now.
    assert!(skipped >= 8, "{summary}");
}

#[test]
fn frames_of_a_video_that_last_longer_are_seen_longer() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("variable");
    let scratch = Scratch::new(&name);
    let path = scratch.path().join("variable.mkv");
    // Of 40 frames 0 to 9, 20, and 39.
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args("-v error -f lavfi -i testsrc=size=160x120:rate=20:duration=2".split(' '));
    ffmpeg.args(["-vf", "select='lt(n,10)+eq(n,20)+eq(n,39)'"]);
    ffmpeg.args("-vsync vfr -c:v ffv1".split(' '));
    Program::start(ffmpeg.arg(&path)).ends_with(0);
    let mut start = command(SEND, &name, "--json --video");
    let mut sender = Program::start(start.arg(path));
    sender.ends_with(0);
    // The last one comes after 1.95 s, and is seen as long as the one before it, which is 0.95 s:
    // at a steady rate all of them would be over after 2 s.
    let summary = &sender.events("summary")[0];
    assert!(summary["seconds"].as_f64().unwrap() >= 2.899, "{summary}");
    assert!(summary["frames"].as_u64().unwrap() <= 12, "{summary}");
}

#[test]
fn a_video_that_breaks_off_is_exit_1_and_receivers_know() {
    let name = TestName::new("cut");
    let scratch = Scratch::new(&name);
    let path = scratch.path().join("cut.mkv");
    write_video(&path, 60, 10.0);
    let length = fs::metadata(&path).unwrap().len();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let mut receiver = recv(&name, "--json");
    let mut start = command(SEND, &name, "--fps 20 --video");
    let mut sender = Program::start(start.arg(&path));
    ends(
        &mut sender,
        &name,
        1,
        &["--video", "cut.mkv", "breaks off after", "of the 6.0 s"],
    );
    receiver.wait_for_events("closed", 1);
    receiver.interrupt();
    assert!(!receiver.events("frame").is_empty());
}

#[test]
fn what_is_no_video_is_exit_1_with_its_name() {
    let name = TestName::new("no-video");
    let scratch = Scratch::new(&name);
    let file = |file: &str, bytes: &[u8]| {
        let path = scratch.path().join(file);
        fs::write(&path, bytes).unwrap();
        path
    };
    for (path, says) in [
        (scratch.path().join("missing.mp4"), "No such file"),
        (scratch.path().to_owned(), "--images"),
        (file("empty.mp4", b""), "is no video"),
        (file("text.mp4", b"not a video"), "is no video"),
        ("rtsp://127.0.0.1:1/stream".into(), "Connection refused"),
    ] {
        let mut start = command(SEND, &name, "--count 1 --video");
        let mut sender = Program::start(start.arg(&path));
        ends(
            &mut sender,
            &name,
            1,
            &["--video", path.to_str().unwrap(), says],
        );
    }
}

#[test]
fn a_bar_shows_how_far_a_video_is_but_only_on_a_terminal() {
    if !needs("script stty") {
        return;
    }
    let name = TestName::new("bar");
    let scratch = Scratch::new(&name);
    let path = scratch.path().join("bar.avi");
    write_video(&path, 12, 30.0);
    let path = path.to_str().unwrap();
    for (args, bar) in [
        ("", "/12 frames"),
        ("--count 5", "/5 frames"),
        ("--quiet", ""),
        ("--json", ""),
        ("--loop --count 5", ""),
    ] {
        let line = format!(
            "stty cols 80; {SEND} --name {} {args} --video {path}",
            name.as_str()
        );
        let mut sender = Program::start(Command::new("script").args(["-qec", &line, "/dev/null"]));
        sender.ends_with(0);
        let shown = sender.stdout();
        assert_eq!(
            shown.contains(if bar.is_empty() { "left" } else { bar }),
            !bar.is_empty(),
            "{args}: {shown}"
        );
        assert!(shown.contains("frames in "), "{args}: {shown}");
        assert!(!name.file().exists());
    }
    let mut sender = send(&name, &format!("--video {path}"));
    sender.ends_with(0);
    assert!(!sender.stderr().contains("left"), "{}", sender.stderr());
}

// --- pipes

#[test]
fn raw_frames_arrive_one_for_one() {
    for (raw, size) in [
        ("64x48x3", 64 * 48 * 3),
        ("33x7x1", 33 * 7),
        ("1920x1080x4", 1920 * 1080 * 4),
    ] {
        let name = TestName::new("raw");
        let (mut sender, mut pipe) = piped(&name, raw);
        let mut receiver = open(&name);
        for number in 1..=5u8 {
            let frame = vec![number; size];
            // In two parts, neither as long as a row.
            let (head, tail) = frame.split_at(usize::from(number));
            pipe.write_all(head).unwrap();
            pipe.write_all(tail).unwrap();
            let (got, pixels) = take(&mut receiver);
            assert_eq!(
                (got.number, got.shape.to_string().as_str()),
                (number.into(), raw)
            );
            assert!(pixels == frame, "{raw}, frame {number}");
        }
        drop(pipe);
        ends(&mut sender, &name, 0, &[]);
        sender.assert_stdout("5 frames in ");
    }
}

/// Starts a sender of raw frames, and gives the pipe to write them into.
fn piped(name: &TestName, raw: &str) -> (Program, File) {
    let scratch = Scratch::new(name);
    let path = scratch.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let line = r#"exec "$0" --name "$1" --raw "$2" < "$3""#;
    let sender = shell(line, name, &[raw.as_ref(), path.as_os_str()]);
    (sender, File::options().write(true).open(path).unwrap())
}

#[test]
fn a_pipe_that_breaks_off_within_a_frame_exits_1_and_closes_the_segment() {
    let name = TestName::new("broken-pipe");
    let (mut sender, mut pipe) = piped(&name, "64x48x3");
    let mut receiver = open(&name);
    for _ in 0..2 {
        pipe.write_all(&[7; 64 * 48 * 3]).unwrap();
        take(&mut receiver);
    }
    pipe.write_all(&[8; 100]).unwrap();
    drop(pipe);
    assert_eq!(
        take_all(&mut receiver).len(),
        0,
        "the unfinished frame is not sent"
    );
    let says = [
        "--raw 64x48x3",
        "broke off after 2 frames",
        "100 bytes",
        "9216",
    ];
    ends(&mut sender, &name, 1, &says);
    sender.assert_stdout("2 frames in ");
}

#[test]
fn a_pipe_without_a_frame_exits_1() {
    let name = TestName::new("empty-pipe");
    let (mut sender, pipe) = piped(&name, "64x48x3");
    drop(pipe);
    ends(&mut sender, &name, 1, &["--raw 64x48x3", "without a frame"]);
}

#[test]
fn a_signal_ends_a_sender_that_waits_for_its_pipe() {
    for (written, frames) in [
        (0, "0 frames in"),
        (100, "0 frames in"),
        (9216, "1 frame in"),
        (9300, "1 frame in"),
    ] {
        let name = TestName::new("pipe-signal");
        let (mut sender, mut pipe) = piped(&name, "64x48x3");
        pipe.write_all(&vec![7; written]).unwrap();
        sender.wait_for("sending");
        if written >= 9216 {
            take(&mut open(&name));
        }
        sender.interrupt();
        sender.assert_stdout(frames);
        assert!(!name.file().exists(), "{written} bytes");
    }
}

#[test]
fn raw_frames_from_a_terminal_are_refused() {
    if !needs("script") {
        return;
    }
    let name = TestName::new("tty");
    let line = format!("{SEND} --name {} --raw 64x48x3", name.as_str());
    let mut sender = Program::start(Command::new("script").args(["-qec", &line, "/dev/null"]));
    sender.ends_with(1);
    sender.assert_stdout("--raw 64x48x3: stdin is a terminal");
    assert!(!name.file().exists());
}

#[test]
fn frames_from_ffmpeg_arrive_byte_for_byte() {
    if !needs("ffmpeg") {
        return;
    }
    for (format, channels) in [("bgr24", 3), ("gray", 1), ("bgra", 4)] {
        let name = TestName::new("ffmpeg");
        let ffmpeg = format!(
            "ffmpeg -v error -f lavfi -i testsrc=size=160x120:rate=20:duration=1 -f rawvideo -pix_fmt {format} -"
        );
        let line = format!(r#"{ffmpeg} | "$0" --name "$1" --raw 160x120x{channels} --fps 20"#);
        let mut pipeline = shell(&line, &name, &[]);
        let taken = take_all(&mut open(&name));
        ends(&mut pipeline, &name, 0, &[]);
        pipeline.assert_stdout("20 frames in ");
        let made = Command::new("sh")
            .args(["-c", &ffmpeg])
            .output()
            .unwrap()
            .stdout;
        let expected: Vec<_> = made
            .chunks(160 * 120 * channels)
            .map(<[u8]>::to_vec)
            .collect();
        assert_in_order(&numbers(&taken, &expected), 20);
    }
}

// --- cameras

#[test]
fn a_missing_camera_exits_1_with_a_list_of_the_others() {
    let name = TestName::new("no-camera");
    let there: Vec<_> = fs::read_dir("/dev")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().starts_with("/dev/video"))
        .collect();
    let mut sender = send(&name, "--camera 255 --count 1");
    ends(&mut sender, &name, 1, &["--camera /dev/video255"]);
    if there.is_empty() {
        sender.assert_stderr("no /dev/video*");
    }
    for path in there {
        sender.assert_stderr(path.to_str().unwrap());
    }
    for (path, says) in [
        ("/dev/null", "is no camera"),
        ("/etc/passwd", "is no device"),
        ("/dev", "is no device"),
    ] {
        let mut sender = send(&name, &format!("--count 1 --camera {path}"));
        ends(&mut sender, &name, 1, &["--camera", path, says]);
    }
}

#[test]
fn a_camera_of_this_machine_gives_frames_or_says_why_not() {
    // Most machines have no camera, and some devices of a camera deliver no frames.
    for number in 0..4 {
        if !Path::new(&format!("/dev/video{number}")).exists() {
            continue;
        }
        let name = TestName::new("own-camera");
        let mut sender = send(&name, &format!("--camera {number} --count 3 --json"));
        if sender.end().success() {
            assert_eq!(sender.events("sent").len(), 3);
        } else {
            sender.assert_stderr(&format!("--camera /dev/video{number}"));
        }
        assert!(!name.file().exists());
    }
}

/// A sender with a camera that `tests/programs/camera.c` makes.
fn camera(name: &TestName, scratch: &Scratch, args: &str, environment: &[(&str, &str)]) -> Program {
    let mut start = command(SEND, name, "--camera /dev/zero");
    start
        .args(args.split_whitespace())
        .env("LD_PRELOAD", camera_library(scratch));
    Program::start(start.envs(environment.iter().copied()))
}

#[test]
fn a_camera_sends_each_frame_that_it_gives() {
    if !needs("gcc") {
        return;
    }
    let name = TestName::new("camera");
    let scratch = Scratch::new(&name);
    for (args, channels) in [("", 3), ("--channels 1", 1), ("--channels 4", 4)] {
        let mut sender = camera(&name, &scratch, &format!("--count 30 --json {args}"), &[]);
        let taken = take_all(&mut open(&name));
        ends(&mut sender, &name, 0, &["sending 640x480x", "30 frames/s"]);
        assert_eq!(taken.last().unwrap().0.number, 30);
        let mut last = 0;
        for (frame, pixels) in taken {
            assert_eq!((frame.shape.width(), frame.shape.height()), (640, 480));
            assert_eq!(frame.shape.channels(), channels);
            // All pixels have the same gray, and each frame is lighter than the one before.
            let gray = pixels[0];
            assert!(gray > last, "{gray} after {last}");
            let color = |(i, &byte): (usize, &u8)| {
                byte == if i % 4 == 3 && channels == 4 {
                    255
                } else {
                    gray
                }
            };
            assert!(
                pixels.iter().enumerate().all(color),
                "frame {}",
                frame.number
            );
            last = gray;
        }
    }
}

#[test]
fn a_camera_is_asked_for_a_size_and_a_rate_and_its_choice_is_printed() {
    if !needs("gcc") {
        return;
    }
    let name = TestName::new("asked");
    let scratch = Scratch::new(&name);
    let jpeg = scratch.path().join("frame.jpg");
    let picture = picture(9, 1280, 720);
    imgcodecs::imwrite_def(&jpeg, &picture).unwrap();
    let expected = bytes(&imgcodecs::imread_def(&jpeg).unwrap());
    let jpeg = [("CAMERA_JPEG", jpeg.to_str().unwrap())];
    // It has 30 frames/s of this size only as JPEG.
    let mut sender = camera(&name, &scratch, "--size 1280x720 --fps 30", &jpeg);
    let (_, pixels) = take(&mut open(&name));
    assert!(pixels == expected, "the JPEG that the camera gives");
    sender.assert_stderr("sending 1280x720x3");
    sender.assert_stderr("30 frames/s");
    sender.interrupt();

    let mut sender = camera(&name, &scratch, "--size 800x600 --fps 60 --count 1", &jpeg);
    let says = [
        "the camera gives 1280x720 at 30 frames/s",
        "not 800x600 at 60 frames/s",
    ];
    ends(&mut sender, &name, 0, &says);
}

#[test]
fn an_unplugged_camera_exits_1_and_a_stalled_one_can_be_ended() {
    if !needs("gcc") {
        return;
    }
    let name = TestName::new("unplugged");
    let scratch = Scratch::new(&name);
    let mut sender = camera(&name, &scratch, "", &[("CAMERA_UNPLUGGED", "5")]);
    ends(&mut sender, &name, 1, &["--camera /dev/zero", "unplugged"]);
    sender.assert_stdout(" frames/s");

    let mut sender = camera(&name, &scratch, "--json", &[("CAMERA_STALLS", "5")]);
    sender.wait_for_events("sent", 4);
    sender.interrupt();
    assert!(!name.file().exists());
}

#[test]
fn a_camera_that_says_when_it_took_a_picture_is_believed() {
    if !needs("gcc") {
        return;
    }
    let name = TestName::new("camera-time");
    let scratch = Scratch::new(&name);
    for (args, captured) in [("--captured", true), ("", false)] {
        let mut sender = camera(&name, &scratch, args, &[]);
        let (frame, _) = take(&mut open(&name));
        sender.interrupt();
        let age = frame.captured_ns.map(|ns| {
            let sent_ns = frame.sent_ms.unsigned_abs() * 1_000_000;
            Duration::from_nanos(sent_ns.saturating_sub(ns))
        });
        assert_eq!(age.is_some(), captured, "{args}");
        // Its pictures are a second old.
        assert!(age.is_none_or(|age| age.as_millis() >= 990), "{age:?}");
    }
}

#[test]
fn the_list_of_cameras_has_their_formats_sizes_and_rates() {
    if !needs("gcc unshare") {
        return;
    }
    let name = TestName::new("cameras");
    let scratch = Scratch::new(&name);
    let mut list = beside_a_camera(&scratch, "--camera list");
    list.ends_with(0);
    let expected = "\
/dev/video0  Camera of a test
  YUYV  640x480    30, 15 frames/s
  YUYV  1280x720   10 frames/s
  MJPG  1280x720   30 frames/s
";
    assert_eq!(list.stdout(), expected);
    list.assert_stderr("/dev/video1: ");
    let mut list = beside_a_camera(&scratch, "--camera list --json");
    list.ends_with(0);
    let modes = list.json().into_iter().map(|line| {
        let format = line["format"].as_str().unwrap().to_owned();
        let number = |key: &str| line[key].as_f64().unwrap();
        format!(
            "{format} {} {} {}",
            number("width"),
            number("height"),
            number("fps")
        )
    });
    let expected = [
        "YUYV 640 480 30",
        "YUYV 640 480 15",
        "YUYV 1280 720 10",
        "MJPG 1280 720 30",
    ];
    assert_eq!(modes.collect::<Vec<_>>(), expected);

    // Without any.
    let line = r#"mount -t tmpfs tmpfs /dev && exec "$0" --camera list"#;
    let mut none = Command::new("unshare");
    none.args(["--map-root-user", "--mount", "sh", "-c", line, SEND]);
    let mut none = Program::start(&mut none);
    none.ends_with(0);
    assert_eq!(none.stdout(), "");
    none.assert_stderr("there is no camera, no /dev/video* at all: plug one in");
    assert!(!name.file().exists());
}

// --- usage

#[test]
fn two_sources_and_flags_that_do_not_fit_a_source_exit_2() {
    let name = TestName::new("one-source");
    for (args, says) in [
        ("--image a --images b", ["--image", "--images"]),
        ("--images a --video b", ["--images", "--video"]),
        ("--video a --camera 0", ["--video", "--camera"]),
        ("--camera 0 --raw 1x1x1", ["--camera", "--raw"]),
        ("--raw 1x1x1 -i a", ["--raw", "--image"]),
        ("--raw 1x1x1 --channels 1", ["--raw", "--channels"]),
        ("--raw 1x1x1 --size 1x1", ["--raw", "--size"]),
        ("--images a --size 1x1", ["--images", "--size"]),
        ("--video a --size 1x1", ["--video", "--size"]),
        ("--loop", ["--loop", "required"]),
        ("--loop --raw 1x1x1", ["--loop", "required"]),
        ("--raw 1x1", ["--raw", "1280x720x3"]),
        ("--raw 1x1x5", ["--raw", "1 to 4 elements"]),
        ("--raw 0x1x3", ["--raw", "1280x720x3"]),
        ("--camera front", ["--camera", "/dev/video0"]),
        ("--camera -1", ["--camera", "value"]),
        ("--images", ["--images", "value"]),
    ] {
        let mut sender = send(&name, args);
        ends(&mut sender, &name, 2, &says);
        assert_eq!(sender.stdout(), "", "{args}");
    }
}

#[test]
fn common_flags_have_short_forms() {
    let name = TestName::new("short");
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");
    let mut start = Command::new(SEND);
    start.args([
        "-n",
        name.as_str(),
        "-i",
        picture,
        "-f",
        "0",
        "-c",
        "3",
        "-j",
        "-q",
    ]);
    let mut sender = Program::start(&mut start);
    ends(&mut sender, &name, 0, &[]);
    assert_eq!(sender.events("summary")[0]["frames"], 3);
    assert!(sender.events("sent").is_empty());
}

#[test]
fn a_reader_that_locks_the_name_costs_larger_frames_and_ends_no_sender() {
    let name = TestName::new("locked");
    let scratch = Scratch::new(&name);
    for (file, side) in [("1.pgm", 8), ("2.pgm", 2000)] {
        let mut bytes = format!("P5 {side} {side} 255\n").into_bytes();
        bytes.resize(bytes.len() + side * side, 7);
        fs::write(scratch.path().join(file), bytes).unwrap();
    }
    let pictures = scratch.path().display();
    let mut sender = send(&name, &format!("--images {pictures} --loop --fps 0.5"));
    wait_until("there is a segment", || name.file().exists());
    // Permission to read is enough for a lock that others can share.
    let reader = File::open(name.file()).unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: 1,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&reader, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    sender.wait_for("is being changed by other processes");
    let mut receiver = open(&name);
    assert_eq!(take(&mut receiver).0.shape.width(), 8);
    drop(reader);
    // It has room for it as soon as the reader lets go.
    let large = name.file();
    sender.wait_until("it sends the larger picture", |_| {
        large.metadata().is_ok_and(|file| file.len() > 4_000_000)
    });
    sender.interrupt();
}
