//! What opening and closing leaves behind: nothing.

use std::fs;

use shm_frame_testing::frames::create;
use shm_frame_testing::{TestName, open, open_name, shape, status_kb};

/// What a process and `/dev/shm` have.
#[derive(Debug, PartialEq)]
struct Held {
    descriptors: usize,
    mappings: usize,
    segments: usize,
}

fn held(name: &TestName) -> Held {
    let files = |directory: &str| fs::read_dir(directory).unwrap();
    // Those of this test, and where segments stand for a moment.
    let ours = |file: &fs::DirEntry| {
        let passing = file
            .file_name()
            .to_string_lossy()
            .starts_with(".shm-frame-");
        passing || file.path() == name.file()
    };
    Held {
        descriptors: files("/proc/self/fd").count(),
        mappings: fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count(),
        segments: files("/dev/shm")
            .filter(|file| ours(file.as_ref().unwrap()))
            .count(),
    }
}

/// Memory of this process's own.
fn memory_kb() -> u64 {
    status_kb(std::process::id(), "RssAnon")
}

/// Does it a few times, to be warm, then often, and compares before and after.
fn leaves_nothing(name: &TestName, times: u32, mut cycle: impl FnMut()) {
    (0..100).for_each(|_| cycle());
    let (before, memory) = (held(name), memory_kb());
    (0..times).for_each(|_| cycle());
    assert_eq!(held(name), before, "after {times} times");
    let grown = memory_kb().saturating_sub(memory);
    assert!(grown < 256, "grew by {grown} kB in {times} times");
}

// One after the other: what this process holds is counted as a whole.
#[test]
fn opens_and_closes_leave_everything_as_it_was() {
    let name = TestName::new("leaks");
    let shape = shape(40, 40, 3);
    let pixels = vec![1; shape.bytes()];
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    sender.publish(shape, &pixels).unwrap();
    let mut copy = Vec::new();
    leaves_nothing(&name, 100_000, || {
        let mut receiver = open_name(&name.name());
        assert!(receiver.lease().unwrap().is_some());
    });
    // Those beyond the last entry copy.
    let _others = [open(&name), open(&name)];
    leaves_nothing(&name, 1000, || {
        let mut receiver = open(&name);
        assert!(receiver.copy(&mut copy).unwrap().is_some());
    });
    drop(sender);
    assert!(!name.file().exists());

    leaves_nothing(&name, 10_000, || {
        let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
        sender.publish(shape, &pixels).unwrap();
    });
    // In the place of one that is dead, and beside one that lives.
    let file = name.file();
    let live = create(&name.name(), 1, 0).unwrap();
    let dead = fs::read(&file).unwrap();
    drop(live);
    leaves_nothing(&name, 1000, || {
        fs::write(&file, &dead).unwrap();
        let sender = create(&name.name(), 1, 0).unwrap();
        assert!(create(&name.name(), 1, 0).is_err(), "it is taken");
        drop(sender);
    });
    assert!(!file.exists());
}
