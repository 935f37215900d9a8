//! Frames in files, videos, pipes and plots, read back by other programs.
mod common;

use std::fs;
use std::process::Command;

use common::{Json as _, RECV, command, needs, noise, publisher, recv, send};
use opencv::core::{self, Mat, MatTraitConst, MatTraitConstManual, Vec3b};
use opencv::{imgcodecs, imgproc};
use shm_frame_testing::{Program, Scratch, TestName, shape};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");

#[test]
fn ffmpeg_gets_the_pixels_that_were_sent() {
    if !needs("ffmpeg") {
        return;
    }
    let colors = imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap();
    let mut gray = Mat::default();
    imgproc::cvt_color_def(&colors, &mut gray, imgproc::COLOR_BGR2GRAY).unwrap();
    for (channels, format, picture) in [(1, "gray", &gray), (3, "bgr24", &colors)] {
        let name = TestName::new("raw");
        let scratch = Scratch::new(&name);
        let mut sender = send(
            &name,
            &format!("--fps 60 --channels {channels} --image {PICTURE}"),
        );
        sender.wait_for("sending");
        let out = scratch.path().join("out.raw");
        let script = format!(
            r#""$0" --name "$1" --view none --raw - --count 7 |
            ffmpeg -v error -f rawvideo -pixel_format {format} -video_size 640x404 -i - -f rawvideo -pix_fmt {format} "$2""#
        );
        let mut pipeline = Command::new("sh");
        pipeline
            .args(["-c", &script, RECV, name.as_str()])
            .arg(&out);
        let mut pipeline = Program::start(&mut pipeline);
        pipeline.ends_with(0);
        // All text went to stderr, with the arguments that ffmpeg needs.
        assert_eq!(pipeline.stdout(), "");
        pipeline.assert_stderr(&format!(
            "-f rawvideo -pixel_format {format} -video_size 640x404"
        ));
        pipeline.assert_stderr("7 frames in ");
        pipeline.assert_stderr("  sent ");
        assert!(
            fs::read(out).unwrap() == picture.data_bytes().unwrap().repeat(7),
            "{format}"
        );
    }
}

#[test]
fn when_the_reader_of_raw_pixels_ends_so_does_the_command() {
    let name = TestName::new("raw-closed");
    let mut sender = send(&name, "");
    sender.wait_for("sending");
    let script = r#"{ "$0" --name "$1" --view none --quiet --raw -; echo "exit $?" >&2; } | head -c 1000000 | wc -c"#;
    let mut pipeline = Command::new("sh");
    let mut pipeline = Program::start(pipeline.args(["-c", script, RECV, name.as_str()]));
    pipeline.ends_with(0);
    assert_eq!(pipeline.stdout().trim(), "1000000");
    pipeline.assert_stderr("exit 0");
    assert!(
        !pipeline.stderr().contains("shm-recv:"),
        "{}",
        pipeline.stderr()
    );
}

#[test]
fn raw_pixels_have_one_size() {
    let name = TestName::new("raw-size");
    let (first, second) = (shape(64, 48, 3), shape(32, 24, 1));
    let mut sender = publisher(&name, first.bytes());
    let mut receiver = recv(&name, "--view none --raw -");
    receiver.wait_for("attached");
    sender.publish(first, &vec![7; first.bytes()]).unwrap();
    receiver.wait_for("  sent ");
    sender.publish(second, &vec![7; second.bytes()]).unwrap();
    receiver.ends_with(1);
    receiver.assert_stderr("--raw -: frames are 32x24x1 now and were 64x48x3");
    assert_eq!(receiver.stdout().len(), first.bytes());
}

/// Runs a script in a mount namespace of its own, where /mnt is a disk of that size.
fn on_a_disk(megabytes: u32, script: &str, name: &TestName) -> Program {
    let script = format!("mount -t tmpfs -o size={megabytes}m tmpfs /mnt && {script}");
    let mut program = Program::start(Command::new("unshare").env_remove("DISPLAY").args([
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &script,
        RECV,
        name.as_str(),
    ]));
    program.end();
    program
}

#[test]
fn a_full_disk_ends_saving_with_what_was_whole() {
    if !needs("unshare ffprobe") {
        return;
    }
    let name = TestName::new("disk");
    // Noise, of which a few pictures fill the disk.
    let scratch = Scratch::new(&name);
    let picture = scratch.path().join("noise.png");
    let pixels = noise(320 * 240 * 3, 1);
    let image = Mat::new_rows_cols_with_bytes::<Vec3b>(240, 320, &pixels).unwrap();
    imgcodecs::imwrite_def(picture.to_str().unwrap(), &image).unwrap();
    let mut sender = send(&name, &format!("--fps 20 --image {}", picture.display()));
    sender.wait_for("sending");
    let saved = on_a_disk(
        1,
        r#""$0" --name "$1" --quiet --save /mnt; echo "exit $?"; for file in /mnt/*.png; do ffprobe -v error "$file" && echo whole || echo broken; done"#,
        &name,
    );
    saved.assert_stdout("exit 1");
    saved.assert_stderr("--save /mnt: cannot write /mnt/");
    saved.assert_stderr("No space left");
    assert!(!saved.stdout().contains("broken"), "{}", saved.stderr());
    saved.assert_stdout("whole");
}

#[test]
fn a_file_that_may_not_grow_is_exit_1_and_leaves_no_half_file() {
    // node#27798, linux-pam#140: killed by SIGXFSZ without a word.
    let name = TestName::new("ulimit");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--fps 60");
    sender.wait_for("sending");
    for (flag, file, left) in [
        ("--save", "", &["frames.jsonl"][..]),
        ("--plot", "delays.svg", &[]),
        ("--plot", "delays.png", &[]),
    ] {
        let path = scratch.path().join("out");
        fs::create_dir(&path).unwrap();
        // In blocks of 512 bytes.
        let script =
            r#"ulimit -f 4; exec "$0" --name "$1" --view none --quiet --count 30 "$2" "$3""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, RECV, name.as_str(), flag]);
        let mut receiver = Program::start(shell.arg(path.join(file)));
        receiver.ends_with(1);
        receiver.assert_stderr(&format!("{flag} {}", path.display()));
        receiver.assert_stderr("File too large");
        let files = fs::read_dir(&path).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, left, "{flag} {file}");
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_plot_is_black_and_white_and_its_axes_have_names() {
    let name = TestName::new("plot");
    let scratch = Scratch::new(&name);
    let mut sender = send(&name, "--size 64x48 --fps 100");
    sender.wait_for("sending");
    for file in ["delays.svg", "delays.png"] {
        let file = scratch.path().join(file);
        let mut receiver =
            Program::start(command(RECV, &name, "--quiet --count 30 --plot").arg(&file));
        receiver.ends_with(0);
    }
    let svg = fs::read_to_string(scratch.path().join("delays.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for text in [
        "time since the first frame (s)",
        "delay (ms)",
        "frames",
        "30 frames, delay min",
    ] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
    let colours = svg.split('#').skip(1).map(|rest| &rest[..6]);
    assert!(colours.clone().count() > 30);
    for colour in colours {
        assert!(
            colour[..2] == colour[2..4] && colour[..2] == colour[4..],
            "{colour} is no gray"
        );
    }
    // All but the frame that was there before the receiver came, whose age is no delay.
    assert_eq!(svg.matches("<circle").count(), 29);

    let png = scratch.path().join("delays.png");
    let png = imgcodecs::imread(png.to_str().unwrap(), imgcodecs::IMREAD_UNCHANGED).unwrap();
    assert_eq!((png.cols(), png.rows(), png.channels()), (960, 720, 1));
    // Something is drawn at the title, at the names of the four axes, and in both charts.
    for (x, y, width, height) in [
        (100, 0, 760, 25),
        (5, 40, 25, 280),
        (80, 340, 860, 30),
        (5, 390, 25, 280),
        (80, 690, 860, 25),
        (85, 45, 850, 270),
        (85, 390, 850, 270),
    ] {
        let part = Mat::roi(&png, core::Rect::new(x, y, width, height)).unwrap();
        let (mut darkest, mut lightest) = (0.0, 0.0);
        core::min_max_loc(
            &part,
            Some(&mut darkest),
            Some(&mut lightest),
            None,
            None,
            &core::no_array(),
        )
        .unwrap();
        assert!(
            darkest < 100.0 && lightest > 250.0,
            "nothing is drawn at {x}, {y}"
        );
    }

    let nowhere = scratch.path().join("no/plot.svg");
    let mut receiver = Program::start(command(RECV, &name, "--count 1 --plot").arg(&nowhere));
    receiver.ends_with(1);
    receiver.assert_stderr(&format!("--plot {}", nowhere.display()));
    // Without a frame there is a drawing, too.
    sender.interrupt();
    let empty = scratch.path().join("empty.svg");
    let mut receiver = Program::start(command(RECV, &name, "--timeout 0.1 --plot").arg(&empty));
    receiver.ends_with(1);
    assert!(fs::read_to_string(empty).unwrap().contains("no frames"));
}
