//! `--video`: films of many kinds, made by ffmpeg, arrive as ffmpeg shows them, each frame at its
//! time.
mod common;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Json as _, SEND, command, heeds_signals, needs, send, take_all};
use serde_json::Value;
use shm_frame::{Element, Format, Frame};
use shm_frame_testing::{PATIENCE, Program, Scratch, TestName, open, take, wait_until};

/// A moving picture of 10 frames in a second, each different.
const MOVING: &str = "-f lavfi -i testsrc2=size=160x120:rate=10:duration=1";

/// Runs ffmpeg with words between spaces.
fn ffmpeg(args: &str, more: &[&OsStr]) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-y"]);
    ffmpeg.args(args.split_whitespace()).args(more);
    Program::start(&mut ffmpeg).ends_with(0);
}

/// Makes a film in a directory.
fn film(scratch: &Scratch, name: &str, args: &str) -> PathBuf {
    let path = scratch.path().join(name);
    ffmpeg(args, &[path.as_os_str()]);
    path
}

/// What ffmpeg makes of a film: the bytes of all frames.
fn shown(path: &Path, before: &str, after: &str) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin"]);
    ffmpeg.args(before.split_whitespace()).arg("-i").arg(path);
    ffmpeg.args("-map v:0 -fps_mode passthrough -f rawvideo".split(' '));
    let output = ffmpeg.args(after.split_whitespace()).arg("-").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}: {output:?}", path.display());
    output.stdout
}

/// How far the bytes of two frames are from each other on average: of 16 bits, the high ones.
fn distance(a: &[u8], b: &[u8], element: Element) -> f64 {
    let step = element.bytes();
    let high =
        |bytes: &[u8]| -> Vec<u8> { bytes[step - 1..].iter().step_by(step).copied().collect() };
    let (a, b) = (high(a), high(b));
    let sum: u32 = a
        .iter()
        .zip(&b)
        .map(|(a, b)| u32::from(a.abs_diff(*b)))
        .sum();
    f64::from(sum) / f64::from(u32::try_from(a.len()).unwrap())
}

/// Which of the expected frames each one is. Films are converted alike, but for rounding.
fn numbers(taken: &[(Frame, Vec<u8>)], expected: &[&[u8]]) -> Vec<usize> {
    let number = |(frame, pixels): &(Frame, Vec<u8>)| {
        let element = frame.shape.format().element();
        let distances = expected.iter().map(|expected| {
            if expected.len() == pixels.len() {
                distance(pixels, expected, element)
            } else {
                f64::INFINITY
            }
        });
        let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        let number = nearest
            .filter(|nearest| nearest.1 < 1.0)
            .map(|nearest| nearest.0);
        number.unwrap_or_else(|| panic!("frame {} is none of those expected", frame.number))
    };
    taken.iter().map(number).collect()
}

fn start(name: &TestName, args: &str, path: &Path) -> Program {
    Program::start(command(SEND, name, args).arg("--video").arg(path))
}

/// The frames that were sent, as the summary counts them, and how many seconds that took.
fn summary(sender: &Program) -> (u64, f64) {
    let summary = &sender.events("summary")[0];
    let count = |key: &str| summary[key].as_u64().unwrap();
    (
        count("frames") + count("skipped"),
        summary["seconds"].as_f64().unwrap(),
    )
}

/// Sends a film as fast as it can, and says how many frames it has.
fn count(path: &Path) -> u64 {
    let name = TestName::new("count");
    let mut sender = start(&name, "--json --fps 0", path);
    sender.ends_with(0);
    summary(&sender).0
}

/// Checks that a film is sent as ffmpeg shows it, each frame of it and no other.
fn assert_as_shown(path: &Path, channels: u8, before: &str, after: &str) {
    let name = TestName::new("film");
    let all = shown(path, before, after);
    // Slowly: a frame that is late is skipped, and may be late in every round.
    let args = format!("--json --fps 15 --loop --channels {channels}");
    let mut sender = start(&name, &args, path);
    let mut receiver = open(&name);
    let first = take(&mut receiver);
    let expected: Vec<&[u8]> = all.chunks(first.0.shape.bytes()).collect();
    let of = path.display();
    assert_eq!(all.len() % expected.len(), 0, "{of} is {}", first.0.shape);
    let mut seen = vec![false; expected.len()];
    seen[numbers(&[first], &expected)[0]] = true;
    let end = Instant::now() + PATIENCE;
    while seen.contains(&false) {
        assert!(Instant::now() < end, "{of}: {seen:?}");
        seen[numbers(&[take(&mut receiver)], &expected)[0]] = true;
    }
    sender.interrupt();
    assert_eq!(count(path), expected.len() as u64, "{of}");
}

// --- from FIELD.md's table

/// Puts another display matrix into an mp4, whose first track is the film.
fn set_matrix(path: &Path, matrix: [i32; 4]) {
    const ONE: i32 = 1 << 16;
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(4).position(|four| four == b"tkhd").unwrap() + 4 + 40;
    let [a, b, c, d] = matrix.map(|n| n * ONE);
    let words = [a, b, 0, c, d, 0, 0, 0, 1 << 30].map(i32::to_be_bytes);
    bytes[at..at + 36].copy_from_slice(words.as_flattened());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_film_is_turned_by_its_display_matrix() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("turn");
    let scratch = Scratch::new(&name);
    let path = film(
        &scratch,
        "turned.mp4",
        &format!("{MOVING} -c:v libx264 -pix_fmt yuv420p"),
    );
    for matrix in [
        [0, 1, -1, 0],
        [-1, 0, 0, -1],
        [0, -1, 1, 0],
        [-1, 0, 0, 1],
        [1, 0, 0, -1],
        [0, 1, 1, 0],
        [0, -1, -1, 0],
    ] {
        set_matrix(&path, matrix);
        for (channels, format) in [(3, "bgr24"), (4, "bgra")] {
            assert_as_shown(&path, channels, "", &format!("-pix_fmt {format}"));
        }
        let name = TestName::new("turned");
        let mut sender = start(&name, "--json --count 1", &path);
        sender.ends_with(0);
        let event: &Value = &sender.events("sending")[0];
        let size = (event["width"].as_u64(), event["height"].as_u64());
        let upright = if matrix[0] == 0 {
            (120, 160)
        } else {
            (160, 120)
        };
        assert_eq!(size, (Some(upright.0), Some(upright.1)), "{matrix:?}");
    }
}

#[test]
fn a_film_that_was_cut_without_recoding_has_the_frames_of_its_edit_list() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("cut");
    let scratch = Scratch::new(&name);
    let long =
        "-f lavfi -i testsrc2=size=160x120:rate=30:duration=4 -c:v libx264 -g 100 -pix_fmt yuv420p";
    let long = film(&scratch, "long.mp4", long);
    let cut = scratch.path().join("cut.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-ss", "1.7", "-i"]).arg(&long);
    ffmpeg.args(["-t", "0.5", "-c", "copy"]).arg(&cut);
    Program::start(&mut ffmpeg).ends_with(0);
    assert_as_shown(&cut, 3, "", "-pix_fmt bgr24");
    let mut sender = start(&name, "--json --loop --count 40", &cut);
    sender.ends_with(0);
}

#[test]
fn sound_changes_neither_count_nor_end_nor_pace() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("sound");
    let scratch = Scratch::new(&name);
    let sound = "-f lavfi -i sine=duration=12";
    // Five pictures in 100 s, and in 2 s beside a sound that goes on for 10 s.
    for ending in ["mp4", "mkv", "avi"] {
        let slides = "-f lavfi -i testsrc2=size=64x48:rate=1/20:duration=100 -f lavfi -i sine=duration=100 -c:v mpeg4 -c:a mp2 -strict -2";
        let slides = film(&scratch, &format!("slides.{ending}"), slides);
        assert_eq!(count(&slides), 5, "{ending}");
        let short = format!(
            "-f lavfi -i testsrc2=size=64x48:rate=5/2:duration=2 {sound} -c:v mpeg4 -c:a mp2"
        );
        let short = film(&scratch, &format!("short.{ending}"), &short);
        let mut sender = start(&name, "--json", &short);
        sender.ends_with(0);
        let (frames, seconds) = summary(&sender);
        assert_eq!(frames, 5, "{ending}");
        assert!(seconds > 1.99, "{ending}: {seconds}");
        let mut sender = start(&name, "--json --fps 50 --loop --count 12", &short);
        sender.ends_with(0);
    }
    let sound = film(&scratch, "sound.mp3", sound);
    let mut sender = start(&name, "", &sound);
    sender
        .ends_with(1)
        .assert_stderr("has sound, and no pictures");
}

/// Puts transport streams together, as a broadcast's recordings are.
fn together(scratch: &Scratch, name: &str, parts: &[&Path]) -> PathBuf {
    let path = scratch.path().join(name);
    let mut whole = File::create(&path).unwrap();
    for part in parts {
        whole.write_all(&fs::read(part).unwrap()).unwrap();
    }
    path
}

#[test]
fn a_jump_of_the_time_stamps_is_one_period() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("jump");
    let scratch = Scratch::new(&name);
    let [early, late] = [0, 10_000].map(|offset| {
        let args = format!("{MOVING} -c:v mpeg2video -output_ts_offset {offset}");
        film(&scratch, &format!("{offset}.ts"), &args)
    });
    for parts in [[&early, &late], [&late, &early], [&early, &early]] {
        let path = together(&scratch, "jump.ts", &parts.map(PathBuf::as_path));
        let mut sender = start(&name, "--json", &path);
        sender.ends_with(0);
        let (frames, seconds) = summary(&sender);
        assert_eq!(frames, 20);
        assert!(seconds > 1.9, "{seconds}");
    }
}

#[test]
fn frames_of_another_size_in_the_same_film_have_that_size() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("resize");
    let scratch = Scratch::new(&name);
    let parts = [(160, 120), (80, 60), (320, 240)].map(|(width, height)| {
        let args = format!(
            "-f lavfi -i testsrc2=size={width}x{height}:rate=10:duration=1 -c:v libx264 -pix_fmt yuv420p"
        );
        film(&scratch, &format!("{width}.ts"), &args)
    });
    let path = together(&scratch, "resize.ts", &[&parts[0], &parts[1], &parts[2]]);
    let expected = parts.map(|part| shown(&part, "", "-pix_fmt bgr24"));
    let bytes = [160 * 120 * 3, 80 * 60 * 3, 320 * 240 * 3];
    let expected: Vec<&[u8]> = expected
        .iter()
        .zip(bytes)
        .flat_map(|(all, bytes)| all.chunks(bytes))
        .collect();
    let mut sender = start(&name, "--json --fps 20", &path);
    let taken = take_all(&mut open(&name));
    sender.ends_with(0);
    assert_eq!(summary(&sender).0, 30);
    let widths: Vec<_> = taken.iter().map(|(frame, _)| frame.shape.width()).collect();
    assert!(
        [160, 80, 320].iter().all(|width| widths.contains(width)),
        "{widths:?}"
    );
    let numbers = numbers(&taken, &expected);
    assert!(numbers.is_sorted(), "{numbers:?}");
}

#[test]
fn colours_are_those_that_the_film_states() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("colours");
    let scratch = Scratch::new(&name);
    for (space, matrix) in [
        ("bt709", "bt709"),
        ("smpte170m", "smpte170m"),
        ("bt2020nc", "bt2020"),
    ] {
        for range in ["tv", "pc"] {
            let path = film(
                &scratch,
                &format!("{space}-{range}.mp4"),
                &format!(
                    "{MOVING} -vf scale=out_color_matrix={matrix}:out_range={range} -colorspace {space} -color_range {range} -c:v libx264 -pix_fmt yuv444p"
                ),
            );
            assert_as_shown(&path, 3, "", "-pix_fmt bgr24");
        }
    }
}

#[test]
fn colours_that_are_not_stated_are_those_of_hd_in_hd_films_only() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("unstated");
    let scratch = Scratch::new(&name);
    for (size, matrix) in [("320x240", "smpte170m"), ("1280x720", "bt709")] {
        let path = film(
            &scratch,
            &format!("{size}.mp4"),
            &format!(
                "-f lavfi -i testsrc2=size={size}:rate=10:duration=0.4 -c:v libx264 -pix_fmt yuv420p"
            ),
        );
        let stated = format!("-vf scale=in_color_matrix={matrix} -pix_fmt bgr24");
        assert_as_shown(&path, 3, "", &stated);
    }
}

#[test]
fn a_cover_of_sound_is_a_film_of_one_picture() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("cover");
    let scratch = Scratch::new(&name);
    let cover = film(
        &scratch,
        "cover.png",
        "-f lavfi -i testsrc2=size=60x40 -frames:v 1",
    );
    let path = scratch.path().join("cover.mp3");
    let args = format!(
        "-f lavfi -i sine=duration=20 -i {} -map 0 -map 1 -c:v mjpeg -disposition:v attached_pic",
        cover.display()
    );
    ffmpeg(&args, &[path.as_os_str()]);
    assert_as_shown(&path, 3, "", "-pix_fmt bgr24");
    let mut sender = start(&name, "--json --loop --count 5", &path);
    sender.ends_with(0);
    // A film with a cover is the film.
    let path = scratch.path().join("covered.mkv");
    let args = format!(
        "{MOVING} -c:v ffv1 -attach {} -metadata:s:t mimetype=image/png -metadata:s:t filename=cover.png",
        cover.display()
    );
    ffmpeg(&args, &[path.as_os_str()]);
    assert_eq!(count(&path), 10);
}

#[test]
fn each_picture_of_a_gif_is_seen_for_its_own_time_the_last_one_too() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("gif");
    let scratch = Scratch::new(&name);
    // At 0, 100, 400 and 500 ms; the last one for 500 ms.
    let path = film(
        &scratch,
        "anim.gif",
        &format!("{MOVING} -vf select='lt(n,2)+eq(n,4)+eq(n,5)' -fps_mode vfr -final_delay 50"),
    );
    let mut sender = start(&name, "--json --loop --count 6", &path);
    sender.ends_with(0);
    let sent = sender.events("sent");
    let ms: Vec<_> = sent
        .iter()
        .map(|sent| sent["sent_ms"].as_i64().unwrap())
        .collect();
    let steps: Vec<_> = ms.windows(2).map(|two| two[1] - two[0]).collect();
    for (&step, expected) in steps.iter().zip([100, 300, 100, 500, 100]) {
        // A frame that is sent late is followed by a shorter step.
        assert!(step > expected - 60, "{steps:?}");
    }
    let mut sender = start(&name, "--json", &path);
    sender.ends_with(0);
    let (frames, seconds) = summary(&sender);
    assert_eq!(frames, 4);
    assert!(seconds > 0.999, "{seconds}");
}

#[test]
fn frames_of_an_mp4_last_as_long_as_it_says() {
    // PyAV#2335: durations that differ, of 300, 110 and 390 ms.
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("uneven");
    let scratch = Scratch::new(&name);
    // With a duration for the last one: without, FFmpeg 7 makes a film that ends before it.
    let times = r"if(eq(N\,0)\,0\,if(eq(N\,1)\,0.3\,if(eq(N\,2)\,0.41\,0.8)))";
    let path = film(
        &scratch,
        "uneven.mp4",
        &format!(
            "-f lavfi -i testsrc2=size=160x120:rate=10:duration=0.4 -vf settb=1/1000,setpts={times}/TB -fps_mode passthrough -enc_time_base 1/1000 -c:v libx264 -bf 2 -pix_fmt yuv420p -bsf:v setts=pts=PTS:dts=DTS:duration=0.1/TB"
        ),
    );
    let mut sender = start(&name, "--json", &path);
    sender.ends_with(0);
    let sent: Vec<_> = sender
        .events("sent")
        .iter()
        .map(|sent| sent["sent_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(sent.len(), 4);
    let steps: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (step, expected) in steps.iter().zip([300, 110, 390]) {
        // A frame that is sent late is followed by a shorter step.
        assert!(*step > expected - 60, "{steps:?}");
    }
}

fn fifo(scratch: &Scratch) -> PathBuf {
    let path = scratch.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

#[test]
fn a_fifo_is_opened_once() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("fifo");
    let scratch = Scratch::new(&name);
    let path = fifo(&scratch);
    for first in ["sender", "writer"].repeat(3) {
        let sends = || start(&name, "--json --fps 0", &path);
        let early = (first == "sender").then(sends);
        let mut writer = Command::new("ffmpeg");
        writer
            .args("-v error -nostdin -y".split(' '))
            .args(MOVING.split(' '));
        writer
            .args(["-c:v", "mpeg2video", "-f", "mpegts"])
            .arg(&path);
        let mut writer = Program::start(&mut writer);
        let mut sender = early.unwrap_or_else(sends);
        sender.ends_with(0);
        writer.ends_with(0);
        assert_eq!(summary(&sender).0, 10);
    }
}

#[test]
fn a_segment_is_looked_after_while_its_film_stalls() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("film-stalls");
    let scratch = Scratch::new(&name);
    let path = fifo(&scratch);
    // Long enough for FFmpeg to know it from its first half.
    let film = film(
        &scratch,
        "film.ts",
        "-f lavfi -i testsrc2=size=160x120:rate=10:duration=20 -c:v mpeg2video",
    );
    let film = fs::read(film).unwrap();
    let half = film.len() / 2;
    let mut sender = start(&name, "--json --fps 0", &path);
    let mut writer = File::options().write(true).open(&path).unwrap();
    writer.write_all(&film[..half]).unwrap();
    sender.wait_for_events("sent", 1);
    let all = || sender.events("sent").len();
    let mut last = 0;
    wait_until("nothing more is sent", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::mem::replace(&mut last, all()) == all()
    });
    // Somebody removes the name, as systemd does at a logout: the sender puts a segment there.
    fs::remove_file(name.file()).unwrap();
    wait_until("the name is there again", || name.file().exists());
    writer.write_all(&film[half..]).unwrap();
    drop(writer);
    sender.ends_with(0);
    assert_eq!(summary(&sender).0, 200);
}

#[test]
fn a_signal_ends_a_sender_that_waits_for_its_film() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("blocked");
    let scratch = Scratch::new(&name);
    let path = fifo(&scratch);
    // Nobody writes, somebody writes nothing, and somebody stops amid the film.
    let film = fs::read(film(
        &scratch,
        "film.ts",
        &format!("{MOVING} -c:v mpeg2video"),
    ))
    .unwrap();
    for written in [None, Some(0), Some(film.len() * 2 / 3)] {
        let mut sender = start(&name, "--json", &path);
        let writer = written.map(|length| {
            let mut writer = File::options().write(true).open(&path).unwrap();
            writer.write_all(&film[..length]).unwrap();
            writer
        });
        heeds_signals(&mut sender);
        // It waits in the open, or in a read.
        std::thread::sleep(Duration::from_millis(300));
        assert!(sender.running(), "{}", sender.stderr());
        sender.signal("TERM");
        sender.ends_with(0);
        drop(writer);
        assert!(!name.file().exists());
    }
}

#[test]
fn stdin_is_a_film_whether_it_is_a_pipe_or_a_file() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("stdin");
    let scratch = Scratch::new(&name);
    // The table of an mp4 is at its end: in a file it is looked up there.
    let mp4 = film(
        &scratch,
        "film.mp4",
        &format!("{MOVING} -c:v libx264 -pix_fmt yuv420p"),
    );
    let ts = film(&scratch, "film.ts", &format!("{MOVING} -c:v mpeg2video"));
    let run = |line: &str, path: &Path| {
        let mut shell = Command::new("sh");
        shell
            .env_remove("DISPLAY")
            .args(["-c", line, SEND, name.as_str()]);
        Program::start(shell.arg(path))
    };
    for path in [&mp4, &ts] {
        for line in [
            r#""$0" -n "$1" --json --fps 0 --video - <"$2""#,
            r#"cat "$2" | "$0" -n "$1" --json --fps 0 --video -"#,
        ] {
            let mut sender = run(line, path);
            sender.ends_with(0);
            assert_eq!(summary(&sender).0, 10, "{line}");
        }
    }
    let mut sender = run(r#"cat "$2" | "$0" -n "$1" --loop --video -"#, &ts);
    sender.ends_with(1).assert_stderr("cannot be started over");
    let mut sender = run(r#""$0" -n "$1" --video - <"$2""#, Path::new("/dev/null"));
    sender.ends_with(1).assert_stderr("is no video");
}

#[test]
fn a_path_is_a_path_and_a_protocol_is_used_only_when_asked_for() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("protocol");
    let scratch = Scratch::new(&name);
    let made = film(&scratch, "film.mkv", &format!("{MOVING} -c:v ffv1"));
    for file in [
        &b"http:x"[..],
        b"concat:a|b",
        b"-",
        b"caf\xe9.mkv",
        b"pipe:0",
        b"10%.mkv",
    ] {
        let path = scratch.path().join(OsString::from_vec(file.to_vec()));
        fs::copy(&made, &path).unwrap();
        assert_eq!(count(&path), 10, "{}", path.display());
        // From its directory, without a slash before it. Alone, - is stdin.
        if file != b"-" {
            let mut start = command(SEND, &name, "--json --fps 0 --video");
            start
                .current_dir(scratch.path())
                .arg(OsStr::from_bytes(file));
            Program::start(&mut start).ends_with(0);
        }
    }
    for (url, says) in [
        ("rtsp://127.0.0.1:1/x", "Connection refused"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("gopher9://x", "Protocol not found"),
        ("http:y", "No such file"),
    ] {
        let mut sender = send(&name, &format!("--video {url}"));
        sender.ends_with(1).assert_stderr(says);
        sender.assert_stderr(&format!("--video {url}"));
    }
    // A playlist in a file does not reach the network.
    let playlist = scratch.path().join("list.m3u8");
    let text =
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n";
    fs::write(&playlist, text).unwrap();
    start(&name, "", &playlist).ends_with(1);
}

#[test]
fn a_film_over_the_network_is_sent_when_it_was_asked_for() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("network");
    let scratch = Scratch::new(&name);
    let path = film(&scratch, "film.ts", &format!("{MOVING} -c:v mpeg2video"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut sender = send(&name, &format!("--json --fps 0 --video tcp://{address}"));
    let (mut connection, _) = listener.accept().unwrap();
    connection.write_all(&fs::read(path).unwrap()).unwrap();
    drop(connection);
    sender.ends_with(0);
    assert_eq!(summary(&sender).0, 10);
}

// --- bits, gray and alpha

#[test]
fn films_of_more_than_8_bits_are_sent_with_16() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("deep");
    let scratch = Scratch::new(&name);
    for (file, codec, format) in [
        ("10.mp4", "libx264", "yuv420p10le"),
        ("12.mkv", "ffv1", "yuv422p12le"),
        ("rgb10.mkv", "ffv1", "gbrp10le"),
        ("16.mkv", "ffv1", "gray16le"),
    ] {
        let path = film(
            &scratch,
            file,
            &format!("{MOVING} -c:v {codec} -pix_fmt {format}"),
        );
        assert_as_shown(&path, 3, "", "-pix_fmt bgr48le");
        assert_as_shown(&path, 4, "", "-pix_fmt bgra64le");
    }
    // To 8 bits when asked.
    let path = scratch.path().join("10.mp4");
    let expected = shown(&path, "", "-pix_fmt bgr24");
    let mut sender = start(&name, "--loop --fps 20 --depth 8", &path);
    let first = take(&mut open(&name));
    sender.interrupt();
    sender.assert_stderr("its 10 bits are scaled to 8");
    assert_eq!(first.0.shape.format(), Format::BGR8);
    let expected: Vec<_> = expected.chunks(first.0.shape.bytes()).collect();
    numbers(&[first], &expected);
}

#[test]
fn gray_films_stay_as_they_are_when_gray_is_asked_for() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("gray");
    let scratch = Scratch::new(&name);
    for (format, raw) in [
        ("gray", "gray"),
        ("gray10le", "gray16le"),
        ("gray16le", "gray16le"),
    ] {
        let path = film(
            &scratch,
            "gray.mkv",
            &format!("{MOVING} -c:v ffv1 -pix_fmt {format}"),
        );
        let expected = shown(&path, "", &format!("-pix_fmt {raw}"));
        let mut sender = start(&name, "--json --fps 20 --loop --channels 1", &path);
        let (frame, pixels) = take(&mut open(&name));
        sender.interrupt();
        assert_eq!(frame.shape.format().channels().count(), 1);
        assert!(
            expected
                .chunks(frame.shape.bytes())
                .any(|expected| expected == pixels),
            "{format} is not exact"
        );
    }
}

#[test]
fn alpha_is_kept_with_4_channels() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("alpha");
    let scratch = Scratch::new(&name);
    let fading = "-f lavfi -i testsrc2=size=160x120:rate=10:duration=1,format=yuva444p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='255*X/W'";
    for (file, args, decoder, format) in [
        ("rle.mov", "-c:v qtrle -pix_fmt argb", "", "bgra"),
        ("a.apng", "-f apng -pix_fmt rgba", "", "bgra"),
        (
            "four.mov",
            "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le",
            "",
            "bgra64le",
        ),
        (
            "vp9.webm",
            "-c:v libvpx-vp9 -pix_fmt yuva420p",
            "-c:v libvpx-vp9",
            "bgra",
        ),
        (
            "vp8.webm",
            "-c:v libvpx -auto-alt-ref 0 -pix_fmt yuva420p",
            "-c:v libvpx",
            "bgra",
        ),
    ] {
        let path = film(&scratch, file, &format!("{fading} {args}"));
        assert_as_shown(&path, 4, decoder, &format!("-pix_fmt {format}"));
    }
}

// --- kinds that people have besides

#[test]
fn films_of_other_kinds_are_sent_as_ffmpeg_shows_them() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("kinds");
    let scratch = Scratch::new(&name);
    for (file, args) in [
        // opencv#4939, znedi3#11: odd sides, whose colours have half a pixel more than half the
        // sides; the last columns or rows were missing or green.
        (
            "odd.mkv",
            "-vf crop=159:119:0:0:exact=1 -c:v ffv1 -pix_fmt yuv420p",
        ),
        (
            "odd.webm",
            "-vf crop=159:119:0:0:exact=1 -c:v libvpx-vp9 -pix_fmt yuv420p",
        ),
        // Full range, by the format of the pixels.
        ("full.avi", "-c:v mjpeg -pix_fmt yuvj422p"),
        // Palettes, and one bit a pixel.
        ("palette.nut", "-c:v png -pix_fmt pal8"),
        ("bits.nut", "-c:v rawvideo -pix_fmt monob"),
        // shotcut#1422, scanner#132: half pictures.
        (
            "interlaced.mpg",
            "-vf fps=50,interlace -c:v mpeg2video -flags +ilme+ildct -top 1",
        ),
        // opencv#19630: no time stamps at all, and 8 rows more in the code than in the picture,
        // which were a green stripe.
        ("bare.h264", "-c:v libx264 -pix_fmt yuv420p"),
        // AetherEngine#516, xbmc#15196: time stamps of decoding alone, and frames in another
        // order.
        ("b.avi", "-c:v libx264 -bf 3 -pix_fmt yuv420p"),
        ("packed.avi", "-c:v mpeg4 -bf 2"),
        // dive#1300, Kyoo#328: a clock that begins below 0, and one that begins after a quarter
        // of an hour.
        (
            "early.mkv",
            "-c:v libx264 -bf 3 -pix_fmt yuv420p -output_ts_offset -0.05",
        ),
        ("late.mkv", "-vf setpts=PTS+1000/TB -c:v ffv1"),
        // shotcut#875, videojs-record#31: a file that was written to a pipe, as by browsers: no
        // index, no length.
        (
            "live.mkv",
            "-c:v libx264 -pix_fmt yuv420p -f matroska -live 1",
        ),
        ("live.webm", "-c:v libvpx -f webm -live 1"),
        // ExoPlayer#6704, mpc-hc#2749: fragments, and no list of them.
        (
            "fragments.mp4",
            "-c:v libx264 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov -g 3",
        ),
        ("film.flv", "-c:v flv1"),
        ("film.ogv", "-c:v libtheora"),
        (
            "hevc.mp4",
            "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p",
        ),
        // Pixels that are not square, as they are.
        ("wide.mp4", "-c:v libx264 -pix_fmt yuv420p -vf setsar=2/1"),
    ] {
        let path = film(&scratch, file, &format!("{MOVING} {args}"));
        assert_as_shown(&path, 3, "", "-pix_fmt bgr24");
    }
}

#[test]
fn numbered_pictures_are_a_film_too() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("numbered");
    let scratch = Scratch::new(&name);
    let pattern = film(&scratch, "shot-%03d.png", MOVING);
    assert_as_shown(&pattern, 3, "", "-pix_fmt bgr24");
    let missing = scratch.path().join("none-%03d.png");
    let mut sender = start(&name, "", &missing);
    sender.ends_with(1).assert_stderr("No such file");
}

#[test]
fn a_film_that_begins_amid_its_frames_is_sent_from_where_it_can_be_decoded() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("amid");
    let scratch = Scratch::new(&name);
    let args =
        "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2 -c:v libx264 -g 10 -pix_fmt yuv420p";
    let whole = fs::read(film(&scratch, "whole.ts", args)).unwrap();
    let path = scratch.path().join("amid.ts");
    // Packets of 188 bytes.
    let from = whole.len() / 188 / 3 * 188;
    fs::write(&path, &whole[from..]).unwrap();
    let frames = count(&path);
    assert!((10..50).contains(&frames), "{frames}");
    let mut sender = start(&name, "--json --fps 100 --loop --count 120", &path);
    sender.ends_with(0);
}

#[test]
fn what_no_decoder_takes_is_exit_1_with_the_reason() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("none");
    let scratch = Scratch::new(&name);
    // Animated WebP: this FFmpeg may know it one day, and then it is a film like others.
    let webp = film(
        &scratch,
        "moving.webp",
        &format!("{MOVING} -c:v libwebp_anim -loop 0"),
    );
    let mut sender = start(&name, "--json --fps 0", &webp);
    if sender.end().code() == Some(0) {
        assert_eq!(summary(&sender).0, 10);
    } else {
        sender.assert_stderr("no frame that FFmpeg can decode");
    }
    for (bytes, says) in [(&b""[..], "is no video"), (b"not a video", "is no video")] {
        let path = scratch.path().join("none.mp4");
        fs::write(&path, bytes).unwrap();
        start(&name, "", &path).ends_with(1).assert_stderr(says);
    }
}

#[test]
fn a_film_that_breaks_off_is_exit_1_whatever_its_kind() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("broken");
    let scratch = Scratch::new(&name);
    let args =
        "-f lavfi -i testsrc2=size=160x120:rate=10:duration=8 -f lavfi -i sine=duration=8 -g 10";
    for (file, more) in [
        ("film.mkv", "-c:v mpeg4 -c:a mp2"),
        ("film.avi", "-c:v mpeg4 -c:a mp2"),
        ("film.mp4", "-c:v mpeg4 -c:a aac -movflags faststart"),
    ] {
        let path = film(&scratch, file, &format!("{args} {more}"));
        assert_eq!(count(&path), 80, "{file}");
        let length = fs::metadata(&path).unwrap().len();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length / 2)
            .unwrap();
        let mut sender = start(&name, "--json --fps 0", &path);
        sender.ends_with(1).assert_stderr("breaks off after");
        sender.assert_stderr("of the 8.0 s");
        let frames = sender.events("sent").len();
        assert!((20..60).contains(&frames), "{file}: {frames}");
    }
}

// --- where to begin, and again

#[test]
fn a_film_begins_where_it_was_asked_to() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("start");
    let scratch = Scratch::new(&name);
    for (file, args) in [
        ("film.mp4", "-c:v libx264 -bf 2 -pix_fmt yuv420p"),
        ("film.ts", "-c:v mpeg2video"),
        ("film.gif", ""),
        ("late.mkv", "-vf setpts=PTS+1000/TB -c:v ffv1"),
    ] {
        let path = film(&scratch, file, &format!("{MOVING} {args}"));
        let all = shown(&path, "", "-pix_fmt bgr24");
        let expected: Vec<&[u8]> = all.chunks(160 * 120 * 3).collect();
        let mut sender = start(&name, "--json --fps 20 --start 0.7 --loop", &path);
        let mut receiver = open(&name);
        let taken: Vec<_> = (0..12).map(|_| take(&mut receiver)).collect();
        sender.interrupt();
        let numbers = numbers(&taken, &expected);
        assert!(
            numbers.iter().all(|&number| number >= 7),
            "{file}: {numbers:?}"
        );
        let mut sender = start(&name, "--json --fps 0 --start 0.7", &path);
        sender.ends_with(0);
        assert_eq!(summary(&sender).0, 3, "{file}");
        let mut sender = start(&name, "--start 60", &path);
        sender
            .ends_with(1)
            .assert_stderr("--start 60: it ends before that");
    }
    let mut sender = send(&name, "--start 1");
    sender.ends_with(2).assert_stderr("--video");
    let mut sender = send(&name, "--start soon --video a");
    sender.ends_with(2).assert_stderr("not a number of seconds");
}

#[test]
fn a_pipe_begins_where_it_was_asked_to() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("start-pipe");
    let scratch = Scratch::new(&name);
    let path = film(&scratch, "film.ts", &format!("{MOVING} -c:v mpeg2video"));
    let mut sender = command(SEND, &name, "--json --fps 0 --start 0.7 --video -");
    let mut cat = Command::new("cat")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    sender.stdin(cat.stdout.take().unwrap());
    let output = sender.output().unwrap();
    cat.wait().unwrap();
    assert!(output.status.success(), "{output:?}");
    let sent = String::from_utf8(output.stdout)
        .unwrap()
        .matches(r#""event":"sent""#)
        .count();
    assert_eq!(sent, 3);
}

#[test]
fn frames_say_when_they_were_taken_if_the_film_says_when_it_was_recorded() {
    if !needs("ffmpeg") {
        return;
    }
    let name = TestName::new("films-captured");
    let scratch = Scratch::new(&name);
    let args = format!("{MOVING} -metadata creation_time=2026-11-25T12:00:00Z");
    let path = film(&scratch, "recorded.mp4", &args);
    let mut sender = start(&name, "--captured --slots 1 --fps 5", &path);
    let taken = take_all(&mut open(&name));
    sender.ends_with(0);
    assert!(!taken.is_empty());
    for (frame, _) in taken {
        // 2026-11-25 12:00:00 in ns of Unix time, and ten frames in a second from then on.
        let expected = 1_795_608_000_000_000_000 + (frame.number - 1) * 100_000_000;
        let captured = frame.captured_ns.unwrap();
        assert!(captured.abs_diff(expected) < 1_000_000, "{frame:?}");
    }
}
