//! The examples, run together: a camera, a detector that answers with boxes, and a recorder of
//! both.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use shm_frame_testing::{Program, Scratch, TestName, example};

fn lines(directory: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(directory.join("frames.jsonl")).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_camera_feeds_a_detector_and_recorders_write_what_both_send() {
    let start = |name: &str, args: &[&str]| Program::start(Command::new(example(name)).args(args));
    let (camera, found) = (TestName::new("camera"), TestName::new("found"));
    let scratch = Scratch::new(&camera);
    let raw = scratch.path().join("raw");
    let boxed = scratch.path().join("boxed");
    let _detector = start("detector", &[camera.as_str(), found.as_str()]);
    let mut recorders = [(&camera, &raw), (&found, &boxed)]
        .map(|(name, to)| start("recorder", &[name.as_str(), to.to_str().unwrap(), "10"]));
    let _camera = start("webcam", &[camera.as_str()]);
    for recorder in &mut recorders {
        recorder.ends_with(0);
    }
    for line in lines(&raw) {
        assert_eq!(line["meta"], Value::Null, "{line}");
        assert_ne!(line["captured_ns"], 0, "{line}");
    }
    let lines = lines(&boxed);
    assert_eq!(lines.len(), 10);
    for line in lines {
        let file = boxed.join(line["file"].as_str().unwrap());
        let picture = fs::read(file).unwrap();
        let pixels = picture.strip_prefix(b"P6 640 480 255\n").unwrap();
        assert_eq!(pixels.len(), 640 * 480 * 3);
        let side = |side: &str| usize::try_from(line["meta"]["boxes"][0][side].as_u64().unwrap());
        let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| side(name).unwrap());
        assert_eq!((width, height), (60, 60), "{line}");
        // The square is white, and what is left of it and above is not.
        let at = |x: usize, y: usize| pixels[3 * (640 * y + x)];
        assert_eq!(at(x, y), 255);
        assert_eq!(at(x + 59, y + 59), 255);
        assert!(x == 0 || at(x - 1, y) < 200);
        assert!(y == 0 || at(x, y - 1) < 200);
        assert_ne!(line["captured_ns"], 0, "{line}");
    }
}
