//! The commands in adverse surroundings: a small `/dev/shm`, other users, a wall clock that jumps,
//! signals at any moment, pipes that nobody reads.
mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Json as _, RECV, SEND, command, needs, recv, send};
use shm_frame::{Error, Sender, SenderOptions};
use shm_frame_testing::frames::{self, Random};
use shm_frame_testing::{Program, Scratch, TestName, open, shape, take, wait_until};

/// No test: this program runs it again, with a role, in a mount namespace of its own.
#[test]
fn role() {
    let Some((role, _)) = frames::role() else {
        return;
    };
    match role.as_str() {
        "no room" => no_room(),
        "little room" => little_room(),
        "room for one" => room_for_one(),
        _ => panic!("no role {role}"),
    }
}

fn root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

// --- a small /dev/shm

/// Plays a role in a `/dev/shm` of its own, which has this size.
fn with_shm_of(size: &str, role: &str) {
    let name = TestName::new("room");
    let inner = frames::command(role, &name);
    let mut outer = Command::new("unshare");
    if !root() {
        outer.arg("--map-root-user");
    }
    let script = format!("mount -t tmpfs -o size={size} tmpfs /dev/shm && exec \"$@\"");
    outer.args(["--mount", "sh", "-c", &script, "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    for (key, value) in inner.get_envs() {
        outer.env(key, value.unwrap());
    }
    let mut program = Program::start(&mut outer);
    program.ends_with(0);
    program.assert_stdout("test result: ok. 1 passed");
    program.assert_stdout("done");
}

fn files_in_shm() -> Vec<PathBuf> {
    let files = fs::read_dir("/dev/shm").unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_dev_shm_that_is_too_small_exits_1_with_the_numbers_and_the_remedy() {
    if needs("unshare") {
        with_shm_of("1m", "no room");
    }
}

fn no_room() {
    let name = TestName::new("no-room");
    let mut sender = send(&name, "");
    sender.ends_with(1);
    sender.assert_stderr(&format!(
        "shm-send: segment {} needs 3.1 MB, /dev/shm has 1.0 MB free: free some, or start the container with --shm-size=16m",
        name.as_str()
    ));
    assert!(files_in_shm().is_empty(), "{:?}", files_in_shm());
    // With fewer slots it fits.
    let mut sender = send(&name, "--slots 1 --count 3");
    sender.ends_with(0);
    println!("done");
}

#[test]
fn in_a_nearly_full_dev_shm_a_running_sender_goes_on_though_another_finds_no_room() {
    if needs("unshare") {
        with_shm_of("4m", "little room");
    }
}

fn little_room() {
    let name = TestName::new("first");
    let mut first = send(&name, "--size 320x240");
    let mut receiver = recv(&name, "--json");
    receiver.wait_for_events("frame", 3);
    // Other files fill it up to 10 pages.
    let df = "df --output=avail -B4096 /dev/shm | tail -n 1";
    let free = Command::new("sh").args(["-c", df]).output().unwrap().stdout;
    let free: usize = String::from_utf8(free).unwrap().trim().parse().unwrap();
    fs::write("/dev/shm/others", vec![1; (free - 10) * 4096]).unwrap();

    let second = TestName::new("second");
    let mut refused = send(&second, "");
    refused.ends_with(1);
    refused.assert_stderr("needs 3.1 MB, /dev/shm has 0.0 MB free");
    assert!(!second.file().exists());
    // A takeover of the first sender's name finds no room either, and the first sender goes on.
    let mut refused = send(&name, "--replace");
    refused.ends_with(1);
    refused.assert_stderr("needs 3.1 MB");
    let seen = receiver.events("frame").len();
    receiver.wait_for_events("frame", seen + 5);
    assert_eq!(receiver.events("attached").len(), 1);

    // If its segment is truncated, it makes another one: the old one's memory is room enough.
    let file = fs::File::options().write(true).open(name.file()).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    receiver.wait_for_events("attached", 2);
    let seen = receiver.events("frame").len();
    receiver.wait_for_events("frame", seen + 5);

    // A running sender cannot grow there, and goes on with frames that fit.
    let small = TestName::new("small");
    fs::remove_file("/dev/shm/others").unwrap();
    let options = SenderOptions::new().capacity(300);
    let mut sender = Sender::create(&small.name(), &options).unwrap();
    let shape = |side| shape(side, side, 3);
    let mut publish = |side| sender.publish(shape(side), &vec![0; shape(side).bytes()]);
    publish(10).unwrap();
    assert!(matches!(publish(1000), Err(Error::NoRoom { .. })));
    assert_eq!(publish(10).unwrap().number, 2);
    assert_eq!(take(&mut open(&small)).0.number, 2);
    receiver.interrupt();
    first.interrupt();
    println!("done");
}

#[test]
fn the_memory_of_a_dead_sender_makes_room_for_the_next_one() {
    if needs("unshare") {
        with_shm_of("4m", "room for one");
    }
}

fn room_for_one() {
    let name = TestName::new("one");
    let mut receiver = recv(&name, "--json");
    for round in 1..=5 {
        let mut sender = send(&name, "");
        receiver.wait_for_events("attached", round);
        let seen = receiver.events("frame").len();
        receiver.wait_for_events("frame", seen + 2);
        sender.kill();
    }
    receiver.interrupt();
    assert_eq!(
        files_in_shm().len(),
        1,
        "only the last sender's: {:?}",
        files_in_shm()
    );
    println!("done");
}

// --- other users

/// A copy of a program that every user may run.
fn for_everybody(scratch: &Path, program: &str) -> PathBuf {
    let copy = scratch.join(Path::new(program).file_name().unwrap());
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// A directory that every user may read.
struct Public(PathBuf);

impl Public {
    fn new(name: &TestName) -> Self {
        let directory = std::env::temp_dir().join(&name.as_str()[1..]);
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts a command as nobody: as root directly, else through sudo.
fn as_nobody(program: &Path, name: &TestName, args: &str) -> Program {
    let mut command = Command::new(if root() { "setpriv" } else { "sudo" });
    if !root() {
        command.args(["-n", "setpriv"]);
    }
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(program).args(["--name", name.as_str()]);
    command.args(args.split_whitespace());
    command.env_remove("DISPLAY").env_remove("QT_QPA_PLATFORM");
    Program::start(&mut command)
}

#[test]
fn another_user_receives_by_copying_or_is_told_the_owner() {
    if !needs(if root() { "setpriv" } else { "sudo setpriv" }) {
        return;
    }
    let name = TestName::new("users");
    let public = Public::new(&name);
    let (send_copy, recv_copy) = (
        for_everybody(&public.0, SEND),
        for_everybody(&public.0, RECV),
    );

    let mut sender = send(&name, "");
    sender.wait_for("sending");
    let mut refused = as_nobody(&recv_copy, &name, "--count 1");
    refused.ends_with(1);
    refused.assert_stderr(&format!("segment {} belongs to ", name.as_str()));
    refused.assert_stderr("has mode 0600: run as that user, or start its sender with --mode 0644");
    let mut refused = as_nobody(&send_copy, &name, "--replace");
    refused.ends_with(1);
    refused.assert_stderr(&format!("segment {} belongs to ", name.as_str()));
    assert!(sender.running());
    sender.interrupt();

    let mut sender = send(&name, "--mode 0644 --fps 100");
    let mut receiver = as_nobody(&recv_copy, &name, "--json");
    // It copies until it is sure that the sender minds its locks, and then reads in place.
    let frames = receiver.wait_for_events("frame", 60);
    let leased = |frame: &serde_json::Value| frame["path"] == "leased-read-only";
    let first = frames.iter().position(leased).unwrap_or(frames.len());
    assert!(
        frames[..first]
            .iter()
            .all(|frame| frame["path"] == "copied")
            && frames.iter().skip(first).any(leased),
        "{frames:?}"
    );
    let mut refused = as_nobody(&send_copy, &name, "--replace --count 1");
    refused.ends_with(1);
    refused.assert_stderr("has mode 0644: use another --name");
    // Even if it is stopped at any point, others go on.
    receiver.stop();
    let mut other = recv(&name, "--count 50 --json");
    other.ends_with(0);
    let frames = other.events("frame");
    assert!(
        frames.iter().all(|frame| frame["path"] == "leased"),
        "{frames:?}"
    );
    receiver.signal("CONT");
    let seen = receiver.events("frame").len();
    receiver.wait_for_events("frame", seen + 2);
    sender.interrupt();
}

#[test]
fn symbolic_links_are_never_followed() {
    let name = TestName::new("link");
    let scratch = Scratch::new(&name);
    let target = scratch.path().join("target");
    fs::write(&target, "precious").unwrap();
    symlink(&target, name.file()).unwrap();
    for program in &mut [
        send(&name, "--count 1"),
        send(&name, "--count 1 --replace"),
        recv(&name, "--count 1"),
    ] {
        program.ends_with(1);
        program.assert_stderr("it is a symbolic link, which is never followed");
    }
    // Not even a link to a segment.
    let other = TestName::new("link-target");
    let mut sender = send(&other, "");
    sender.wait_for("sending");
    fs::remove_file(name.file()).unwrap();
    symlink(other.file(), name.file()).unwrap();
    let mut receiver = recv(&name, "--count 1");
    receiver.ends_with(1);
    receiver.assert_stderr("it is a symbolic link");
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(fs::symlink_metadata(name.file()).unwrap().is_symlink());
    sender.interrupt();
}

// --- the wall clock

#[test]
fn delays_do_not_follow_a_wall_clock_that_jumps() {
    if !needs("cc") {
        return;
    }
    let name = TestName::new("clock");
    let scratch = Scratch::new(&name);
    let shim = scratch.path().join("wallclock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/wallclock.c");
    let mut cc = Command::new("cc");
    let status = cc
        .args(["-shared", "-fPIC", "-o"])
        .arg(&shim)
        .arg(source)
        .status();
    assert!(status.unwrap().success(), "cc {source}");

    let mut sender = Program::start(command(SEND, &name, "--fps 100").env("LD_PRELOAD", &shim));
    let mut receiver = recv(&name, "--json");
    let (mut forth, mut back) = (false, false);
    wait_until("the clock has jumped both ways", || {
        for frame in receiver.events("frame") {
            let ms = |key: &str| frame[key].as_i64().unwrap();
            // The difference is an hour, or next to nothing.
            if ms("received_ms") - ms("sent_ms") > 1_800_000 {
                back = true;
            } else {
                forth = true;
            }
        }
        forth && back
    });
    receiver.interrupt();
    sender.interrupt();
    for frame in receiver.events("frame") {
        let delay = frame["delay_ms"].as_f64().unwrap();
        assert!((0.0..60_000.0).contains(&delay), "{frame}");
    }
}

// --- signals and pipes

#[test]
fn a_signal_at_any_moment_ends_both_and_leaves_nothing() {
    let mut random = Random(5);
    for round in 0..60 {
        let name = TestName::new("any-moment");
        let signal = ["INT", "TERM", "HUP"][round % 3];
        let fps = [0, 1000, 30][round / 3 % 3];
        let mut programs = [
            send(&name, &format!("--fps {fps} --size 1280x720")),
            recv(&name, ["", "--json"][round % 2]),
        ];
        std::thread::sleep(Duration::from_millis(random.below(400)));
        let began: Vec<_> = programs
            .iter()
            .map(|program| !program.stderr().is_empty())
            .collect();
        for program in &mut programs {
            program.signal(signal);
        }
        for (program, began) in programs.iter_mut().zip(began) {
            let status = program.end();
            // A signal before the program handles signals ends it at once. Nothing is left then.
            let at_once = !began && status.signal().is_some();
            if !(status.success() || at_once) {
                program.fail(&format!("ended with {status} after SIG{signal}"));
            }
        }
        assert!(!name.file().exists(), "SIG{signal}");
    }
}

/// Processor time that a process has used, in ticks; see `proc_pid_stat(5)`.
fn ticks(program: &Program) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    [11, 12]
        .map(|i| fields[i].parse::<u64>().unwrap())
        .iter()
        .sum()
}

/// Starts a command that writes all the time to a pipe or a terminal that nobody reads. When it is
/// stuck, ends it by one signal.
fn end_stuck(mut command: Command, terminal: bool) {
    let (_unread, stdout) = if terminal {
        let pty = nix::pty::openpty(None, None).unwrap();
        (pty.master, pty.slave)
    } else {
        nix::unistd::pipe().unwrap()
    };
    let mut program = Program::start_mute(command.stdout(stdout));
    let mut before = 0;
    wait_until("it is stuck", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = ticks(&program);
        now > 0 && now == std::mem::replace(&mut before, now)
    });
    program.signal("TERM");
    program.ends_with(0);
}

#[test]
fn one_signal_ends_a_command_whose_output_nobody_reads() {
    for terminal in [false, true] {
        let name = TestName::new("stuck");
        let args = "--fps 0 --json --size 64x48";
        end_stuck(command(SEND, &name, args), terminal);
        assert!(!name.file().exists(), "the segment is closed and gone");
        let mut sender = send(&name, "--fps 500 --size 64x48");
        end_stuck(command(RECV, &name, "--json"), terminal);
        sender.interrupt();
    }
}

// --- libraries that are loaded late

/// Whether a command loads a library, as the dynamic linker tells (ld.so(8), `LD_DEBUG`).
#[cfg(late)]
fn loads(program: &str, args: &str, library: &str) -> bool {
    let name = TestName::new("loads");
    let scratch = Scratch::new(&name);
    let mut command = Command::new(program);
    command.args(args.split_whitespace());
    if program == SEND {
        command.args(["--name", name.as_str()]);
    }
    command.env("LD_DEBUG", "files");
    command.env("LD_DEBUG_OUTPUT", scratch.path().join("loaded"));
    Program::start(&mut command).ends_with(0);
    let told = scratch.files().into_iter().map(fs::read_to_string);
    let told: String = told.map(Result::unwrap).collect();
    assert!(told.contains("calling init: /"), "{told}");
    told.contains(&format!("/lib{library}.so"))
}

#[test]
#[cfg(late)]
fn who_needs_no_codec_loads_none() {
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");
    for (program, args) in [
        (RECV, "--list"),
        (RECV, "--help"),
        (SEND, "--help"),
        (SEND, "--count 1"),
        (SEND, &format!("--count 1 {picture}")),
    ] {
        for library in ["opencv_imgcodecs", "opencv_videoio", "avutil", "avformat"] {
            assert!(
                !loads(program, args, library),
                "{program} {args}: {library}"
            );
        }
    }
    for (program, args) in [(RECV, "--list"), (RECV, "--help"), (SEND, "--help")] {
        assert!(!loads(program, args, "opencv_core"), "{program} {args}");
    }
    assert!(loads(SEND, "--count 1", "opencv_core"));
}

/// Breaks a library, by its name for the linker, for programs that look for libraries in `scratch`.
#[cfg(late)]
fn break_library(scratch: &Scratch, name: &str) -> PathBuf {
    // Its name is in the program, with the version that it was built with.
    let program = fs::read(SEND).unwrap();
    let begin = format!("lib{name}.so.");
    let at = program
        .windows(begin.len())
        .position(|bytes| bytes == begin.as_bytes())
        .unwrap();
    let end = at + program[at..].iter().position(|&byte| byte == 0).unwrap();
    let broken = scratch
        .path()
        .join(str::from_utf8(&program[at..end]).unwrap());
    fs::write(&broken, "").unwrap();
    broken
}

#[test]
#[cfg(late)]
fn a_library_that_is_gone_is_an_error_before_anything_begins() {
    let name = TestName::new("gone");
    let scratch = Scratch::new(&name);
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (picture, film, new) = (path("1.ppm"), path("film.mkv"), path("new.mkv"));
    fs::write(&picture, "P6 1 1 255\n123").unwrap();
    fs::write(&film, "\x1a\x45film").unwrap();
    let png = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");
    for (library, program, args) in [
        ("opencv_imgcodecs", SEND, picture.clone()),
        (
            "opencv_imgcodecs",
            SEND,
            format!("--images {png} {picture}"),
        ),
        (
            "opencv_imgcodecs",
            RECV,
            format!("--plot {}", path("plot.png")),
        ),
        ("opencv_imgcodecs", RECV, "--serve 127.0.0.1:0".to_owned()),
        ("opencv_core", SEND, String::new()),
        ("opencv_imgproc", RECV, String::new()),
        ("avformat", SEND, format!("--video {film}")),
        ("avformat", RECV, format!("--record {new}")),
        ("avcodec", SEND, format!("--video {film}")),
    ] {
        let broken = break_library(&scratch, library);
        let sender = (program == RECV).then(|| common::publisher(&name, 64));
        let mut command = command(program, &name, &args);
        command.env("LD_LIBRARY_PATH", scratch.path());
        let mut program = Program::start(&mut command);
        program.ends_with(1);
        program.assert_stderr(&format!("{}: ", broken.display()));
        program.assert_stderr("install the library");
        fs::remove_file(broken).unwrap();
        drop(sender);
        assert!(!name.file().exists(), "it left a segment");
        let files = scratch.files();
        assert_eq!(files.len(), 2, "it left one of {files:?}");
    }
}
