//! Large pages, where `/dev/shm` has some for who asks for them: a mount namespace of its own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::process::Command;

use memmap2::MmapOptions;
use shm_frame::{Name, Sender};
use shm_frame_testing::frames::{self, command, create};
use shm_frame_testing::{Program, TestName, open_name, open_read_only, shape};

const FRAME: usize = 8 << 20;

/// Not a test but where the other process comes in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    match role.as_str() {
        "both ends" => both_ends(&name),
        _ => panic!("no role {role}"),
    }
}

/// How many kB of this process's mappings in `/dev/shm` are in large pages: a segment has no name
/// when its sender maps it. See `proc_pid_smaps(5)`.
fn large_kb() -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut ours, mut large) = (false, 0);
    for line in smaps.lines() {
        if let Some(kb) = line.strip_prefix("ShmemPmdMapped:") {
            let kb: u64 = kb.trim_end_matches("kB").trim().parse().unwrap();
            large += if ours { kb } else { 0 };
        } else if line.contains('/') || line.contains('[') {
            ours = line.contains("/dev/shm");
        }
    }
    large
}

fn both_ends(name: &Name) {
    // What takes large pages without asking shows whether the system has any.
    let always = "/dev/shm/always/file";
    fs::write(always, vec![1; 4 * FRAME]).unwrap();
    let file = MmapOptions::new()
        .populate()
        .map_raw_read_only(&File::open(always).unwrap())
        .unwrap();
    if large_kb() == 0 {
        return println!("no large pages");
    }
    drop(file);
    fs::remove_file(always).unwrap();

    let shape = shape(2048, 1024, 4);
    assert_eq!(shape.bytes(), FRAME);
    let mut sender: Sender = create(name, 4, FRAME).unwrap();
    let of_the_sender = large_kb();
    assert!(of_the_sender > 0, "the sender asked for none");
    for mut receiver in [open_name(name), open_read_only(name)] {
        let both = large_kb();
        assert!(both > of_the_sender, "the receiver asked for none: {both}");
        sender.publish(shape, &vec![7; FRAME]).unwrap();
        let mut pixels = Vec::new();
        receiver.copy(&mut pixels).unwrap().unwrap();
        assert!(pixels == vec![7; FRAME]);
    }
    println!("large pages were taken");
}

#[test]
fn large_pages_are_taken_where_there_are_some_for_who_asks() {
    let name = TestName::new("large-pages");
    let role = command("both ends", &name);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c"]);
    command.arg(
        "mount -t tmpfs -o huge=advise,mode=1777 tmpfs /dev/shm && mkdir /dev/shm/always &&
         mount -t tmpfs -o huge=always tmpfs /dev/shm/always || { echo no large pages; exit; }
         exec \"$0\" \"$@\"",
    );
    command.arg(role.get_program()).args(role.get_args());
    command.envs(
        role.get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let mut both_ends = Program::start(&mut command);
    both_ends.ends_with(0);
    if both_ends.stdout().contains("no large pages") {
        // Not by eprintln, whose text is shown only for tests that fail.
        let _ = writeln!(io::stderr(), "left out: this system has no large pages");
        return;
    }
    both_ends.assert_stdout("large pages were taken");
}
