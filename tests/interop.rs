//! Old programs, unchanged, at either end: real processes, and pictures compared byte for byte.
#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Program, TestName, wait_until};
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual};
use opencv::imgcodecs;
use serde_json::Value;
use shm_frame::{Name, Receiver, Wait};

const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");
const LARGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/assets/landscape-1920x1080.png"
);

/// A picture as OpenCV reads it.
struct Picture {
    width: i32,
    height: i32,
    pixels: Vec<u8>,
}

impl Picture {
    fn read(path: &str) -> Self {
        let image: Mat = imgcodecs::imread(path, imgcodecs::IMREAD_COLOR).unwrap();
        Self {
            width: image.cols(),
            height: image.rows(),
            pixels: image.data_bytes().unwrap().to_vec(),
        }
    }

    fn sides(&self) -> [String; 2] {
        [self.width.to_string(), self.height.to_string()]
    }

    fn assert_is(&self, pixels: &[u8], who: &str) {
        assert_eq!(pixels.len(), self.pixels.len(), "{who}");
        let differs = pixels.iter().zip(&self.pixels).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{who}: the first byte that differs");
    }
}

/// A fresh path for a file or directory that a test writes.
fn scratch(name: &TestName, what: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{what}", &name.as_str()[1..]));
    let _ = fs::remove_dir_all(&path);
    path
}

fn shm_send(name: &TestName, args: &[&str]) -> Program {
    Program::start(
        Command::new(env!("CARGO_BIN_EXE_shm-send"))
            .args(["--quiet", "--name", name.as_str()])
            .args(args),
    )
}

fn shm_recv(name: &TestName, args: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm-recv"));
    Program::start(
        command
            .args([
                "--view",
                "none",
                "--json",
                "--timeout",
                "20",
                "--name",
                name.as_str(),
            ])
            .args(args),
    )
}

fn cpp_sender(name: &TestName, picture: &Picture, fps: &str) -> Program {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let program = BUILT.get_or_init(|| {
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sender-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/sender.cpp");
        let built = Command::new("g++")
            .args(["-O2", "-pthread", "-Wall", "-o"])
            .arg(&program)
            .args([source, "-lrt"])
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        program
    });
    let pixels = scratch(name, "pixels");
    fs::write(&pixels, &picture.pixels).unwrap();
    let mut sender = Program::start(
        Command::new(program)
            .arg(name.as_str())
            .args(picture.sides())
            .arg(pixels)
            .arg(fps),
    );
    sender.wait_until("it made its segment", |sender| {
        assert!(sender.running(), "{}", sender.stderr());
        fs::metadata(name.file()).is_ok_and(|file| file.len() == 24 + picture.pixels.len() as u64)
    });
    sender
}

/// Runs the Python reader and returns the pixels it saw last.
fn python_reader(name: &TestName, picture: &Picture, frames: &str) -> Vec<u8> {
    let out = scratch(name, "seen");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/reader.py");
    let mut command = Command::new(python);
    command
        .arg(program)
        .arg(name.as_str())
        .args(picture.sides())
        .args(["3", frames])
        .arg(&out);
    Program::start(&mut command).ends_with(0);
    fs::read(out).unwrap()
}

fn events(program: &Program) -> Vec<Value> {
    program
        .stdout()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn count(program: &Program, event: &str, key: &str, value: &Value) -> usize {
    events(program)
        .iter()
        .filter(|e| e["event"] == event && e[key] == *value)
        .count()
}

#[test]
fn a_picture_crosses_from_shm_send_to_shm_recv() {
    for (path, channels, flag) in [
        (SMALL, "3", imgcodecs::IMREAD_COLOR),
        (LARGE, "3", imgcodecs::IMREAD_COLOR),
        (SMALL, "1", imgcodecs::IMREAD_GRAYSCALE),
        (SMALL, "4", imgcodecs::IMREAD_COLOR),
    ] {
        let name = TestName::new("pair");
        let _sender = shm_send(&name, &["--image", path, "--channels", channels]);
        let saved = scratch(&name, "saved");
        let mut receiver = shm_recv(
            &name,
            &[
                "--count",
                "3",
                "--channels",
                channels,
                "--save",
                saved.to_str().unwrap(),
            ],
        );
        receiver.ends_with(0);
        assert_eq!(
            count(&receiver, "frame", "path", &"leased".into()),
            3,
            "{}",
            receiver.stdout()
        );

        let original = imgcodecs::imread(path, flag).unwrap();
        let files: Vec<_> = fs::read_dir(&saved)
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files.len(), 3);
        for file in files {
            let file =
                imgcodecs::imread(file.to_str().unwrap(), imgcodecs::IMREAD_UNCHANGED).unwrap();
            assert_eq!(file.channels().to_string(), channels);
            let pixels = file.data_bytes().unwrap();
            if channels == "4" {
                let opaque: Vec<u8> = original
                    .data_bytes()
                    .unwrap()
                    .chunks(3)
                    .flat_map(|bgr| [bgr[0], bgr[1], bgr[2], 255])
                    .collect();
                assert!(pixels == opaque, "{path} as BGRA");
            } else {
                assert!(
                    pixels == original.data_bytes().unwrap(),
                    "{path} with {channels} channels"
                );
            }
        }
    }
}

#[test]
fn a_picture_crosses_from_shm_send_to_the_library_by_lease_and_by_copy() {
    let picture = Picture::read(SMALL);
    let name = TestName::new("library");
    let _sender = shm_send(&name, &["--image", SMALL]);
    let shm_name = Name::new(name.as_str()).unwrap();
    wait_until("there is a segment", || Receiver::open(&shm_name).is_ok());
    let mut receiver = Receiver::open(&shm_name).unwrap();
    let mut pixels = Vec::new();
    for _ in 0..5 {
        assert_eq!(receiver.wait(common::PATIENCE).unwrap(), Wait::Frame);
        picture.assert_is(
            receiver.lease().unwrap().expect("a frame").pixels(),
            "lease",
        );
        assert_eq!(receiver.wait(common::PATIENCE).unwrap(), Wait::Frame);
        receiver.copy(&mut pixels).unwrap().expect("a frame");
        picture.assert_is(&pixels, "copy");
    }
}

#[test]
fn the_python_reader_sees_what_shm_send_sends() {
    for (path, args) in [
        (SMALL, &["--slots", "1"][..]),
        (SMALL, &[]),
        (LARGE, &[]),
        (LARGE, &["--slots", "1"]),
    ] {
        let picture = Picture::read(path);
        let name = TestName::new("to-python");
        let mut sender = shm_send(&name, &[&["--image", path], args].concat());
        picture.assert_is(&python_reader(&name, &picture, "5"), "python alone");
        let receiver = shm_recv(&name, &[]);
        picture.assert_is(
            &python_reader(&name, &picture, "5"),
            "python beside shm-recv",
        );
        drop(receiver);
        sender.signal("TERM");
        sender.ends_with(0);
        assert!(!name.file().exists());
    }
}

#[test]
fn shm_recv_receives_from_the_cpp_sender() {
    for (path, fps, frames) in [
        (SMALL, "60", "20"),
        (LARGE, "60", "20"),
        (SMALL, "0", "3"),
        (LARGE, "0", "3"),
    ] {
        let picture = Picture::read(path);
        let name = TestName::new("from-cpp");
        let _sender = cpp_sender(&name, &picture, fps);
        let saved = scratch(&name, "saved");
        let mut receiver = shm_recv(
            &name,
            &["--count", frames, "--save", saved.to_str().unwrap()],
        );
        receiver.ends_with(0);
        assert_eq!(
            count(&receiver, "frame", "path", &"plain".into()).to_string(),
            frames,
            "{}",
            receiver.stdout()
        );
        for file in fs::read_dir(&saved).unwrap() {
            picture.assert_is(
                &Picture::read(file.unwrap().path().to_str().unwrap()).pixels,
                "saved",
            );
        }
    }
}

#[test]
fn cpp_reaches_python_through_a_segment_that_a_dead_shm_send_left() {
    let picture = Picture::read(SMALL);
    let name = TestName::new("left-behind");
    let mut sender = shm_send(&name, &["--size", "320x200"]);
    wait_until("there is a segment", || name.file().exists());
    sender.kill();
    assert!(name.file().exists(), "nobody removed it");
    let _sender = cpp_sender(&name, &picture, "60");
    picture.assert_is(&python_reader(&name, &picture, "5"), "python");
}

#[test]
fn shm_recv_follows_from_a_killed_shm_send_to_cpp_and_back() {
    let (small, large) = (Picture::read(SMALL), Picture::read(LARGE));
    let name = TestName::new("follow");
    let frames = |receiver: &Program, width: i32| count(receiver, "frame", "width", &width.into());

    let mut sender = shm_send(&name, &["--size", "320x200"]);
    let mut receiver = shm_recv(&name, &[]);
    receiver.wait_until("it has frames of the first sender", |receiver| {
        frames(receiver, 320) > 2
    });
    sender.kill();
    receiver.wait_for(r#""why":"died""#);

    let mut cpp = cpp_sender(&name, &small, "60");
    receiver.wait_until("it has frames of the C++ sender", |receiver| {
        frames(receiver, 640) > 2
    });
    cpp.kill();
    let mut cpp = cpp_sender(&name, &large, "60");
    receiver.wait_until("it has larger frames of the next", |receiver| {
        frames(receiver, 1920) > 2
    });

    let _sender = shm_send(&name, &["--size", "400x300", "--replace"]);
    receiver.wait_until("it has frames of the last sender", |receiver| {
        frames(receiver, 400) > 2
    });
    assert!(cpp.running(), "an old sender does not notice");
    assert_eq!(
        count(&receiver, "attached", "slots", &4.into()),
        2,
        "{}",
        receiver.stdout()
    );
    receiver.signal("INT");
    receiver.ends_with(0);
}
