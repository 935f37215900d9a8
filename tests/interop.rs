//! Pictures across processes, byte for byte: between the two commands, and with programs in C++ and
//! in Python that know only the 24-byte header.
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use common::{Json as _, RECV, SEND, command, needs, needs_numpy, python, recv, send};
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual};
use opencv::imgcodecs::{self, imread};
use opencv::imgproc;
use shm_frame::{Frame, Shape, Via, Waited};
use shm_frame_testing::{Program, Scratch, TestName, open, shape, take};

const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");
const LARGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/assets/landscape-1920x1080.png"
);

/// An image as OpenCV reads it from a file.
#[derive(Clone)]
struct Picture {
    shape: Shape,
    pixels: Vec<u8>,
}

impl Picture {
    fn read(file: impl AsRef<Path>, flags: i32) -> Self {
        let file = file.as_ref();
        Self::of(&imread(file.to_str().unwrap(), flags).unwrap())
    }

    fn of(image: &Mat) -> Self {
        let side = |side: i32| u32::try_from(side).unwrap();
        let channels = usize::try_from(image.channels()).unwrap();
        Self {
            shape: shape(side(image.cols()), side(image.rows()), channels),
            pixels: image.data_bytes().unwrap().to_owned(),
        }
    }

    fn asset(file: &str) -> Self {
        Self::read(file, imgcodecs::IMREAD_COLOR)
    }

    /// The upper left part.
    fn cropped(&self, width: u32, height: u32) -> Self {
        let rows = self.pixels.chunks(self.row()).take(height as usize);
        Self {
            shape: shape(width, height, 3),
            pixels: rows
                .flat_map(|row| &row[..width as usize * 3])
                .copied()
                .collect(),
        }
    }

    fn row(&self) -> usize {
        self.shape.bytes() / usize::try_from(self.shape.height()).unwrap()
    }

    /// Fails unless shape and bytes are the same, with the place of the first difference.
    fn assert_is(&self, shape: Shape, pixels: &[u8], what: &str) {
        assert_eq!(shape, self.shape, "{what}");
        assert_eq!(pixels.len(), self.pixels.len(), "{what}");
        let different = self.pixels.iter().zip(pixels).position(|(a, b)| a != b);
        if let Some(at) = different {
            panic!("{what}: differs from byte {at} on, row {}", at / self.row());
        }
    }

    fn assert_is_frame(&self, (frame, pixels): &(Frame, Vec<u8>)) {
        self.assert_is(frame.shape, pixels, &format!("{frame:?}"));
    }

    /// Fails unless all files that shm-recv saved are this picture.
    fn assert_is_saved(&self, files: &[PathBuf]) {
        for file in files {
            let saved = Self::read(file, imgcodecs::IMREAD_UNCHANGED);
            self.assert_is(saved.shape, &saved.pixels, &file.display().to_string());
        }
    }
}

fn send_picture(name: &TestName, file: &str, args: &str) -> Program {
    Program::start(command(SEND, name, args).args(["--image", file]))
}

fn save(name: &TestName, to: &Scratch, args: &str) -> Program {
    let mut command = command(RECV, name, args);
    Program::start(command.arg("--json").arg("--save").arg(to.path()))
}

/// Starts the C++ sender on a picture. A rate of 0 is as fast as possible.
fn old_sender(name: &TestName, scratch: &Scratch, picture: &Picture, fps: u32) -> Program {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let program = COMPILED.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Another run of these tests may be executing it.
        let fresh = directory.join(format!("sender-{}", process::id()));
        let output = Command::new("g++")
            .args(["-std=c++17", "-O2", "-Wall", "-o"])
            .arg(&fresh)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/programs/sender.cpp"
            ))
            .output()
            .unwrap_or_else(|error| panic!("g++: {error}"));
        assert!(
            output.status.success(),
            "g++: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let program = directory.join("sender");
        fs::rename(fresh, &program).unwrap();
        program
    });
    let size = [picture.shape.width(), picture.shape.height()];
    let pixels = scratch.path().join(format!("{}x{}.bgr", size[0], size[1]));
    fs::write(&pixels, &picture.pixels).unwrap();
    let mut command = Command::new(program);
    command
        .arg(name.as_str())
        .args(size.map(|side| side.to_string()));
    Program::start(command.arg(pixels).arg(fps.to_string()))
}

/// The Python reader, and the file into which it writes the frames that it takes.
struct OldReader {
    program: Program,
    file: PathBuf,
    count: usize,
}

impl OldReader {
    fn start(name: &TestName, scratch: &Scratch, shape: Shape, count: usize) -> Self {
        let file = scratch.path().join("frames");
        let mut command = Command::new(python());
        command
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/programs/reader.py"
            ))
            .arg(name.as_str())
            .args([shape.width(), shape.height(), shape.channels()].map(|n| n.to_string()))
            .arg(count.to_string())
            .arg(&file);
        Self {
            program: Program::start(&mut command),
            file,
            count,
        }
    }

    /// Waits for its end. Fails unless all its frames but the first `but` were this picture.
    fn saw(&mut self, picture: &Picture, but: usize) {
        self.program.ends_with(0);
        let bytes = fs::read(&self.file).unwrap();
        assert_eq!(bytes.len(), self.count * picture.shape.bytes());
        for (i, pixels) in bytes.chunks(picture.shape.bytes()).enumerate().skip(but) {
            picture.assert_is(picture.shape, pixels, &format!("Python's frame {}", i + 1));
        }
    }
}

#[test]
fn a_picture_crosses_from_shm_send_to_shm_recv_and_to_the_library_byte_for_byte() {
    let color = Picture::asset(SMALL);
    let colors = imread(SMALL, imgcodecs::IMREAD_COLOR).unwrap();
    let mut gray = Mat::default();
    imgproc::cvt_color_def(&colors, &mut gray, imgproc::COLOR_BGR2GRAY).unwrap();
    let gray = Picture::of(&gray);
    let with_alpha = Picture {
        shape: shape(640, 404, 4),
        pixels: color
            .pixels
            .chunks(3)
            .flat_map(|bgr| [bgr[0], bgr[1], bgr[2], 255])
            .collect(),
    };
    for (file, args, picture) in [
        (SMALL, "", color),
        (SMALL, "--channels 1", gray),
        (SMALL, "--channels 4", with_alpha),
        (LARGE, "", Picture::asset(LARGE)),
    ] {
        let name = TestName::new("picture");
        let scratch = Scratch::new(&name);
        let mut sender = send_picture(&name, file, args);

        let mut receiver = open(&name);
        let taken = take(&mut receiver);
        assert_eq!(taken.0.via, Via::Copied);
        picture.assert_is_frame(&taken);
        assert_eq!(
            receiver.wait(shm_frame_testing::PATIENCE).unwrap(),
            Waited::Frame
        );
        let lease = receiver.lease().unwrap().expect("a frame in place");
        assert_eq!(lease.frame().via, Via::Leased);
        picture.assert_is(lease.frame().shape, lease.pixels(), "in place");
        assert!(lease.is_intact());
        drop(lease);

        let mut recv = save(&name, &scratch, "--count 3");
        recv.ends_with(0);
        let frames = recv.events("frame");
        let numbered =
            |frame: &serde_json::Value| format!("{:06}.png", frame["frame"].as_u64().unwrap());
        let expected: Vec<_> = frames
            .iter()
            .map(|frame| scratch.path().join(numbered(frame)))
            .collect();
        assert_eq!(expected.len(), 3);
        assert_eq!(scratch.saved(), expected);
        picture.assert_is_saved(&expected);

        sender.interrupt();
        assert!(!name.file().exists(), "the segment is gone");
    }
}

#[test]
fn the_python_reader_sees_what_shm_send_sends() {
    if !needs_numpy() {
        return;
    }
    for args in ["--slots 1", ""] {
        for file in [SMALL, LARGE] {
            let picture = Picture::asset(file);
            let name = TestName::new("to-python");
            let scratch = Scratch::new(&name);
            let mut sender = send_picture(&name, file, args);
            // Wait for the first frame: while it is being written, there are zeros below it.
            take(&mut open(&name));
            OldReader::start(&name, &scratch, picture.shape, 5).saw(&picture, 0);
            sender.interrupt();
            assert!(!name.file().exists(), "the segment is gone");
        }
    }
}

#[test]
fn the_python_reader_may_start_first() {
    if !needs_numpy() {
        return;
    }
    let picture = Picture::asset(SMALL);
    let name = TestName::new("python-first");
    let scratch = Scratch::new(&name);
    let mut reader = OldReader::start(&name, &scratch, picture.shape, 5);
    reader.program.wait_for("waiting");
    let _sender = send_picture(&name, SMALL, "");
    // It may take the first frame while that is being written.
    reader.saw(&picture, 1);
}

#[test]
fn the_python_reader_sees_whole_frames_beside_other_receivers() {
    if !needs_numpy() {
        return;
    }
    for (file, args, path) in [
        (SMALL, "--slots 1", "copied"),
        (SMALL, "", "leased"),
        (LARGE, "", "leased"),
    ] {
        let picture = Picture::asset(file);
        let name = TestName::new("python-beside");
        let scratch = Scratch::new(&name);
        let mut sender = send_picture(&name, file, args);
        let mut receiver = recv(&name, "--json");
        receiver.wait_for_events("frame", 1);
        OldReader::start(&name, &scratch, picture.shape, 10).saw(&picture, 0);
        receiver.interrupt();
        for frame in receiver.events("frame") {
            assert_eq!(frame["path"], path, "{frame}");
        }
        sender.interrupt();
        assert!(!name.file().exists(), "the segment is gone");
    }
}

#[test]
fn shm_recv_and_the_library_receive_what_the_cpp_sender_sends() {
    if !needs("g++") {
        return;
    }
    for file in [SMALL, LARGE] {
        let picture = Picture::asset(file);
        let name = TestName::new("from-cpp");
        let scratch = Scratch::new(&name);
        let saved = Scratch::new(&TestName::new("from-cpp-saved"));
        let _sender = old_sender(&name, &scratch, &picture, 60);

        let mut recv = save(&name, &saved, "--count 5");
        recv.ends_with(0);
        for frame in recv.events("frame") {
            assert_eq!(frame["path"], "plain", "{frame}");
            assert_eq!(frame["skipped"], 0, "unknown: {frame}");
        }
        assert_eq!(saved.saved().len(), 5);
        picture.assert_is_saved(&saved.saved());

        let taken = take(&mut open(&name));
        assert_eq!(taken.0.via, Via::Plain);
        picture.assert_is_frame(&taken);
    }
}

/// Such a sender leaves hardly a moment in which a frame is whole.
#[test]
fn shm_recv_receives_a_still_picture_from_the_cpp_sender_flat_out() {
    if !needs("g++") {
        return;
    }
    for file in [SMALL, LARGE] {
        let picture = Picture::asset(file);
        let name = TestName::new("flat-out");
        let scratch = Scratch::new(&name);
        let saved = Scratch::new(&TestName::new("flat-out-saved"));
        let _sender = old_sender(&name, &scratch, &picture, 0);
        let mut recv = save(&name, &saved, "--count 3");
        recv.ends_with(0);
        for frame in recv.events("frame") {
            assert_eq!(frame["path"], "plain", "{frame}");
        }
        assert_eq!(saved.saved().len(), 3);
        picture.assert_is_saved(&saved.saved());
    }
}

#[test]
fn cpp_and_python_meet_in_a_segment_left_by_a_killed_shm_send() {
    if !needs("g++") || !needs_numpy() {
        return;
    }
    let picture = Picture::asset(SMALL);
    // The frame that was left has the size that Python expects, or another size.
    for (args, left) in [("--size 640x404", 1), ("--size 800x600", 0)] {
        let name = TestName::new("left-behind");
        let scratch = Scratch::new(&name);
        let mut dead = send(&name, args);
        take(&mut open(&name));
        dead.kill();
        assert!(name.file().exists(), "nobody removed it");
        let mut reader = OldReader::start(&name, &scratch, picture.shape, 6);
        reader.program.wait_for(if left > 0 {
            "frame 1 "
        } else {
            "expected 640x404x3"
        });
        let mut sender = old_sender(&name, &scratch, &picture, 60);
        // After the frame that was left, one may be read while it is written over zeros.
        reader.saw(&picture, left + 1);
        assert!(sender.running());
        let bytes = fs::metadata(name.file()).unwrap().len();
        assert_eq!(
            bytes,
            24 + picture.pixels.len() as u64,
            "the segment is the C++ sender's now"
        );
    }
}

#[test]
fn shm_recv_follows_a_name_from_a_killed_shm_send_to_a_cpp_sender_to_a_new_shm_send() {
    if !needs("g++") {
        return;
    }
    let picture = Picture::asset(SMALL);
    let name = TestName::new("follow");
    let scratch = Scratch::new(&name);
    let saved = Scratch::new(&TestName::new("follow-saved"));
    let mut recv = save(&name, &saved, "");
    recv.wait_for_events("waiting", 1);

    let mut first = send_picture(&name, SMALL, "");
    recv.wait_for_events("frame", 2);
    first.kill();
    recv.wait_for_events("lost", 1);

    let old = old_sender(&name, &scratch, &picture, 60);
    recv.wait_for_events("attached", 2);
    let before = recv.events("frame").len();
    recv.wait_for_events("frame", before + 2);

    let mut second = send_picture(&name, SMALL, "--replace");
    recv.wait_for_events("attached", 3);
    let before = recv.events("frame").len();
    recv.wait_for_events("frame", before + 2);
    second.interrupt();
    recv.wait_for_events("closed", 1);
    recv.interrupt();
    drop(old);

    let mut story = Vec::new();
    for event in recv.json() {
        story.push(match event["event"].as_str().unwrap() {
            "frame" => format!("frame {}", event["path"]),
            "attached" => format!("attached {}", event["pid"]),
            "closed" => format!("closed {}", event["pid"]),
            "lost" => format!("lost {} {}", event["pid"], event["why"]),
            // Reasons for waiting, and the summary.
            _ => continue,
        });
    }
    story.dedup();
    let (first, second) = (first.pid(), second.pid());
    let expected = [
        &format!("attached {first}"),
        r#"frame "leased""#,
        &format!(r#"lost {first} "died""#),
        "attached null",
        r#"frame "plain""#,
        r#"lost null "replaced""#,
        &format!("attached {second}"),
        r#"frame "leased""#,
        &format!("closed {second}"),
    ];
    assert_eq!(story, expected);
    picture.assert_is_saved(&saved.saved());
    assert!(!name.file().exists(), "the segment is gone");
}

#[test]
fn shm_recv_follows_the_cpp_sender_through_restarts_with_the_same_size_or_another() {
    if !needs("g++") {
        return;
    }
    let picture = Picture::asset(SMALL);
    let name = TestName::new("cpp-restart");
    let scratch = Scratch::new(&name);
    let mut recv = recv(&name, "--json");
    let mut attached = 0;
    for picture in [&picture, &picture, &picture.cropped(320, 200), &picture] {
        let mut sender = old_sender(&name, &scratch, picture, 60);
        attached += 1;
        recv.wait_for_events("attached", attached);
        let before = recv.events("frame").len();
        let frames = recv.wait_for_events("frame", before + 3);
        for frame in &frames[before..] {
            assert_eq!(frame["width"], picture.shape.width(), "{frame}");
            assert_eq!(frame["height"], picture.shape.height(), "{frame}");
        }
        // The library takes the pixels of the new size.
        picture.assert_is_frame(&take(&mut open(&name)));
        sender.kill();
    }
    recv.interrupt();
    assert_eq!(recv.events("lost").len(), attached - 1);
}

#[test]
fn the_name_of_a_cpp_sender_at_work_is_not_taken_without_replace() {
    if !needs("g++") {
        return;
    }
    let picture = Picture::asset(SMALL);
    let name = TestName::new("cpp-live");
    let scratch = Scratch::new(&name);
    let mut old = old_sender(&name, &scratch, &picture, 60);
    take(&mut open(&name));
    let mut refused = send(&name, "");
    refused.ends_with(1);
    refused.assert_stderr("--replace");
    picture.assert_is_frame(&take(&mut open(&name)));
    // The name is free after the sender is gone: then the time stamp stands still.
    old.kill();
    let mut sender = send_picture(&name, SMALL, "");
    sender.wait_for("sending");
    sender.interrupt();
    assert!(!name.file().exists(), "the segment is gone");
}

#[test]
fn a_cpp_sender_that_takes_the_name_ends_shm_send_which_leaves_the_segment_alone() {
    if !needs("g++") {
        return;
    }
    let picture = Picture::asset(SMALL);
    let name = TestName::new("cpp-takes");
    let scratch = Scratch::new(&name);
    let mut sender = send_picture(&name, SMALL, "");
    take(&mut open(&name));
    let _old = old_sender(&name, &scratch, &picture, 60);
    sender.ends_with(1);
    sender.assert_stderr("taken over");
    picture.assert_is_frame(&take(&mut open(&name)));
}
