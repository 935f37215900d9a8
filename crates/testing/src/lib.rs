//! What the tests with real processes share: names of their own, and children that do not outlive
//! them.

mod example;
pub mod frames;

pub use example::example;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use shm_frame::{
    Channels, Element, Error, Format, Frame, Name, Receiver, ReceiverOptions, Shape, Size, Waited,
};

/// Long enough for the slowest machine; nothing is said about how long it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The shape of an image of 8 bits.
pub fn shape(width: u32, height: u32, channels: usize) -> Shape {
    let format = Format::new(Element::U8, Channels::new(channels).unwrap());
    Shape::new(Size { width, height }, format).unwrap()
}

/// A segment name that no other test uses. What is left under it is removed when it is dropped.
pub struct TestName(String);

impl TestName {
    pub fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!(
            "/shm-frame-test-{test}-{}-{count}",
            std::process::id()
        ))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn name(&self) -> Name {
        Name::new(&self.0).unwrap()
    }

    pub fn file(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}", self.0))
    }
}

impl Drop for TestName {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.file());
    }
}

/// A running program, killed when dropped, whose outputs are collected.
pub struct Program {
    child: Child,
    what: String,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
            into.lock().unwrap().push_str(&line);
            line.clear();
        }
    })
}

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command
            // Of its own, so that nothing that happens to the test's group stops or continues it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let (stdout, stderr) = <(Arc<Mutex<String>>, Arc<Mutex<String>>)>::default();
        let readers = vec![
            collect(child.stdout.take().unwrap(), &stdout),
            collect(child.stderr.take().unwrap(), &stderr),
        ];
        Self {
            child,
            what,
            stdout,
            stderr,
            readers,
        }
    }

    /// The same with an stdout of the test's own.
    pub fn start_mute(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        Self {
            child,
            what,
            stdout: Arc::default(),
            stderr: Arc::default(),
            readers: vec![],
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{signal} {}", self.what);
    }

    /// Stops it where it is, until it is sent CONT.
    pub fn stop(&mut self) {
        self.signal("STOP");
        self.wait_until("it is stopped", |program| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
            stat.rsplit(')')
                .next()
                .unwrap()
                .trim_start()
                .starts_with('T')
        });
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `happened`, or fails and shows what the program printed.
    pub fn wait_until(&mut self, what: &str, mut happened: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !happened(self) {
            if Instant::now() > end {
                self.fail(&format!("waited in vain until {what}"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until stdout or stderr contains a text.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_until(&format!("it printed {text:?}"), |program| {
            program.stdout().contains(text) || program.stderr().contains(text)
        });
    }

    /// Waits for its end by itself.
    pub fn end(&mut self) -> ExitStatus {
        self.wait_until("it ended", |program| !program.running());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.child.wait().unwrap()
    }

    /// Waits for its end by itself, which must have this exit code.
    pub fn ends_with(&mut self, code: i32) -> &mut Self {
        let status = self.end();
        if status.code() != Some(code) {
            self.fail(&format!("ended with {status}, not {code}"));
        }
        self
    }

    /// Fails unless stdout contains a text.
    pub fn assert_stdout(&self, text: &str) {
        if !self.stdout().contains(text) {
            self.fail(&format!("stdout lacks {text:?}"));
        }
    }

    /// Fails unless stderr contains a text.
    pub fn assert_stderr(&self, text: &str) {
        if !self.stderr().contains(text) {
            self.fail(&format!("stderr lacks {text:?}"));
        }
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.end();
    }

    pub fn fail(&self, why: &str) -> ! {
        panic!(
            "{}: {why}\n--- stdout\n{}--- stderr\n{}",
            self.what,
            self.stdout(),
            self.stderr()
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A size that a process's status tells, in kB; see `proc_pid_status(5)`.
pub fn status_kb(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kb = line
        .unwrap()
        .trim_start_matches(':')
        .trim_end_matches(" kB");
    kb.trim().parse().unwrap()
}

/// Waits until `happened`.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where a test's own directory is.
fn scratch(name: &str) -> PathBuf {
    // target/debug/deps/TEST
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    target.join("tmp").join(name.trim_start_matches('/'))
}

/// A directory of a test's own, removed when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &TestName) -> Self {
        let directory = scratch(name.as_str());
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The files in it, in the order of their names.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Scratch {
    /// What `shm-recv --save` wrote, without its lines.
    pub fn saved(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        files.retain(|file| !file.ends_with("frames.jsonl"));
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Opens a segment that is there or will be soon.
pub fn open(name: &TestName) -> Receiver {
    open_name(&name.name())
}

pub fn open_name(name: &Name) -> Receiver {
    open_with(name, ReceiverOptions::new())
}

/// The same for reading only.
pub fn open_read_only(name: &Name) -> Receiver {
    open_with(name, ReceiverOptions::new().read_only(true))
}

fn open_with(name: &Name, options: ReceiverOptions) -> Receiver {
    let mut receiver = None;
    wait_until("there is a segment", || {
        receiver = match Receiver::open_with(name, &options) {
            Ok(receiver) => Some(receiver),
            Err(Error::NotFound { .. } | Error::NotASegment { .. } | Error::Version { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        receiver.is_some()
    });
    receiver.unwrap()
}

/// Takes the next frame and its pixels.
pub fn take(receiver: &mut Receiver) -> (Frame, Vec<u8>) {
    let mut pixels = Vec::new();
    let mut frame = None;
    wait_until("there is a frame", || {
        if receiver.wait(PATIENCE).unwrap() == Waited::Frame {
            frame = receiver.copy(&mut pixels).unwrap();
        }
        frame.is_some()
    });
    (frame.unwrap(), pixels)
}
