//! What the tests of the commands share: starting them, and reading what they print.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::time::{Duration, Instant};

use serde_json::Value;
use shm_frame::{
    Channels, Element, End, Format, Frame, Order, Receiver, Sender, SenderOptions, Waited,
};
use shm_frame_testing::{PATIENCE, Program, Scratch, TestName, wait_until};

pub const SEND: &str = env!("CARGO_BIN_EXE_shm-send");
pub const RECV: &str = env!("CARGO_BIN_EXE_shm-recv");

/// A command without a display, to be started. `args` are words between spaces.
pub fn command(program: &str, name: &TestName, args: &str) -> Command {
    stop_ignoring_signals();
    let mut command = Command::new(program);
    command.env_remove("DISPLAY").env_remove("QT_QPA_PLATFORM");
    command.args(["--name", name.as_str()]);
    command.args(args.split_whitespace());
    command
}

pub fn send(name: &TestName, args: &str) -> Program {
    Program::start(&mut command(SEND, name, args))
}

pub fn recv(name: &TestName, args: &str) -> Program {
    Program::start(&mut command(RECV, name, args))
}

/// A sender in this process, for frames one at a time.
pub fn publisher(name: &TestName, capacity: usize) -> Sender {
    let options = SenderOptions::new().capacity(capacity);
    Sender::create(&name.name(), &options).unwrap()
}

/// `shm-recv --record`, with lines of JSON.
pub fn record(name: &TestName, args: &str, path: &Path) -> Program {
    let args = format!("--view none --json {args} --record");
    Program::start(command(RECV, name, &args).arg(path))
}

/// Bytes without a pattern that an encoder could know.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(next).collect()
}

/// Every format of these elements and channels, with both orders of colours.
pub fn formats(elements: &[Element], channels: &[Channels]) -> Vec<Format> {
    let mut formats = Vec::new();
    for &element in elements {
        for &channels in channels {
            let format = Format::new(element, channels);
            formats.push(format);
            if format.ordered(Order::Rgb) != format {
                formats.push(format.ordered(Order::Rgb));
            }
        }
    }
    formats
}

/// Waits until a program handles TERM.
pub fn heeds_signals(program: &mut Program) {
    const TERM: u64 = 1 << 14;
    program.wait_until("it handles TERM", |program| {
        let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        u64::from_str_radix(mask.unwrap().trim(), 16).unwrap() & TERM != 0
    });
}

/// The library that makes a camera of a file: see `tests/programs/camera.c`.
pub fn camera_library(scratch: &Scratch) -> PathBuf {
    let library = scratch.path().join("camera.so");
    if !library.exists() {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/camera.c");
        let mut compiler = Command::new("gcc");
        compiler.args(["-Wall", "-shared", "-fPIC", source, "-o"]);
        Program::start(compiler.arg(&library)).ends_with(0);
    }
    library
}

/// A `shm-send` in a /dev of its own, where there is a camera and a device that is none.
pub fn beside_a_camera(scratch: &Scratch, args: &str) -> Program {
    let line = r#"mount -t tmpfs tmpfs /dev && : >/dev/video0 && : >/dev/video1 && export LD_PRELOAD="$1" CAMERA_AT=/dev/video0 && shift && exec "$0" "$@""#;
    let mut start = Command::new("unshare");
    start.args(["--map-root-user", "--mount", "sh", "-c", line, SEND]);
    start.arg(camera_library(scratch));
    Program::start(start.args(args.split_whitespace()))
}

/// Makes the programs that this process starts get signals as from a shell. Under nohup, and in the
/// background of a script, this process ignores some signals, and programs inherit that. They do
/// not inherit a handler: with one, they begin with the default action.
fn stop_ignoring_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            if ignored & 1 << (signal - 1) != 0 {
                // Nobody reads the flag that the handler sets: the signal is still ignored here.
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

/// A mount namespace with an empty /dev/shm.
pub struct Shm(pub Program);

impl Shm {
    pub fn new() -> Self {
        let script = "mount -t tmpfs -o size=64m tmpfs /dev/shm && echo ready && exec sleep 600";
        let mut holder = Program::start(Command::new("unshare").args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
        ]));
        holder.wait_for("ready");
        Self(holder)
    }

    /// A command in it, to be started.
    pub fn command(&self, program: &str, args: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.env_remove("DISPLAY");
        // Without --wd, so that the program keeps this process's directory.
        command.args(["--user", "--preserve-credentials", "--mount", "--target"]);
        command.args([&self.0.pid().to_string(), program]);
        command.args(args.split_whitespace());
        command
    }

    pub fn run(&self, args: &str) -> Program {
        let mut program = Program::start(&mut self.command(RECV, args));
        program.ends_with(0);
        program
    }

    /// A sender that has published frames.
    pub fn sender(&self, args: &str) -> Program {
        let mut sender = Program::start(&mut self.command(SEND, &format!("--json {args}")));
        sender.wait_for_events("sent", 3);
        sender
    }

    /// The line of `--list --json` with this name.
    pub fn listed(&self, name: &str) -> Option<Value> {
        let mut lines = self.run("--list --json").json();
        lines.retain(|line| line["name"] == name);
        lines.pop()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/dev/shm/{name}", self.0.pid()))
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Whether these programs, words between spaces, are installed. If not, the test that asks is to
/// return: it is left out, which is told on stderr. With `SHM_FRAME_TEST_ALL=1` it fails instead.
pub fn needs(programs: &str) -> bool {
    let missing: Vec<_> = programs
        .split_whitespace()
        .filter(|program| !is_installed(program))
        .collect();
    missing.is_empty() || leave_out(&missing.join(", "))
}

/// The same for a Python that has numpy. Debian's is asked first: another python3 may lack numpy.
pub fn needs_numpy() -> bool {
    let found = Command::new(python()).args(["-c", "import numpy"]).output();
    found.is_ok_and(|output| output.status.success()) || leave_out("python3 with numpy")
}

/// The Python for the tests: the variable PYTHON, or Debian's.
pub fn python() -> std::ffi::OsString {
    env::var_os("PYTHON").unwrap_or_else(|| "/usr/bin/python3".into())
}

/// Always false, so that the caller returns.
fn leave_out(missing: &str) -> bool {
    let all = env::var_os("SHM_FRAME_TEST_ALL").is_some_and(|value| value == "1");
    assert!(!all, "needs {missing}, and SHM_FRAME_TEST_ALL=1 is set");
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    // Not by eprintln, whose text is shown only for tests that fail.
    let _ = writeln!(io::stderr(), "left out: {test} needs {missing}");
    false
}

fn is_installed(program: &str) -> bool {
    let is_program = |path: &Path| {
        path.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| is_program(&directory.join(program)))
}

/// What a program printed as JSON.
pub trait Json {
    /// All that it printed, which must be JSON objects and nothing else.
    fn json(&self) -> Vec<Value>;
    /// The objects of one event.
    fn events(&self, event: &str) -> Vec<Value>;
    /// Waits until it printed an event this many times.
    fn wait_for_events(&mut self, event: &str, count: usize) -> Vec<Value>;
    /// Ends it with SIGINT, as a user does.
    fn interrupt(&mut self) -> &mut Self;
}

impl Json for Program {
    fn json(&self) -> Vec<Value> {
        let parse = |line| match serde_json::from_str(line) {
            Ok(object @ Value::Object(_)) => object,
            _ => self.fail(&format!("not a JSON object: {line}")),
        };
        self.stdout().lines().map(parse).collect()
    }

    fn events(&self, event: &str) -> Vec<Value> {
        let mut events = self.json();
        events.retain(|object| object["event"] == event);
        events
    }

    fn wait_for_events(&mut self, event: &str, count: usize) -> Vec<Value> {
        let begin = format!(r#"{{"event":"{event}""#);
        self.wait_until(&format!("it printed {event} {count} times"), |program| {
            program.stdout().matches(&begin).count() >= count
        });
        self.events(event)
    }

    fn interrupt(&mut self) -> &mut Self {
        self.signal("INT");
        self.ends_with(0)
    }
}

/// Takes frames until the sender has closed its segment.
pub fn take_all(receiver: &mut Receiver) -> Vec<(Frame, Vec<u8>)> {
    let end = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    loop {
        assert!(Instant::now() < end, "the segment was not closed");
        match receiver.wait(Duration::from_millis(100)).unwrap() {
            Waited::Frame => {
                let mut pixels = Vec::new();
                if let Some(frame) = receiver.copy(&mut pixels).unwrap() {
                    taken.push((frame, pixels));
                }
            }
            Waited::Timeout | Waited::Cancelled => {}
            // A larger frame came, in a new segment.
            Waited::Ended(End::Replaced) => wait_until("it goes on", || receiver.reopen().unwrap()),
            Waited::Ended(end) => {
                assert_eq!(end, End::Closed);
                return taken;
            }
        }
    }
}

/// The names of a JSON object's fields and of those inside it, in their order.
pub fn keys(line: &str) -> Vec<&str> {
    let parts: Vec<_> = line.split('"').collect();
    let named = parts.windows(2).filter(|pair| pair[1].starts_with(':'));
    named.map(|pair| pair[0]).collect()
}
