//! How long the two commands take to start, and what attaching costs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use shm_frame::{Name, Receiver, Sender, SenderOptions, Waited};

use crate::Result;

const PICTURE: &str = "assets/landscape-640x404.png";
const PERIOD: Duration = Duration::from_nanos(1_000_000_000 / 60);
const PATIENCE: Duration = Duration::from_secs(5);

/// Times in ms, memory in MB: of each repeat.
#[derive(Debug, Default, Serialize)]
pub struct Commands {
    /// From exec of shm-send until its first frame was received.
    pub first_sent: Vec<f64>,
    /// From exec to exit of shm-recv --list, while the segment has no receiver, and one that
    /// sleeps.
    pub lists: Vec<f64>,
    pub lists_sleepers: Vec<f64>,
    /// From attaching until shm-recv had a frame, in periods of the sender.
    pub first_received: Vec<f64>,
    /// From exec of shm-recv until then.
    pub first_received_from_exec: Vec<f64>,
    /// Resident in each command, but for the segment and shared libraries other than the C
    /// library's.
    pub resident: Vec<f64>,
    /// To attach, in us, alone and among [`CROWD`] other segments.
    pub attach: Vec<f64>,
    pub attach_crowded: Vec<f64>,
    /// To list [`FEW`] and [`CROWD`] segments, in us for each.
    pub list_few: Vec<f64>,
    pub list: Vec<f64>,
}

pub const CROWD: usize = 256;
pub const FEW: usize = 32;

/// `directory`: where the two commands are.
pub fn measure(directory: &Path, repeats: u32) -> Result<Commands> {
    let mut commands = Commands::default();
    for _ in 0..repeats {
        starts(directory, &mut commands)?;
    }
    attach(&mut commands)?;
    list(&mut commands)?;
    Ok(commands)
}

fn starts(directory: &Path, commands: &mut Commands) -> Result<()> {
    let name = format!("shm-frame-bench-{}-commands", std::process::id());
    let begin = Instant::now();
    let sender = Command::new(directory.join("shm-send"))
        .args([
            "--name", &name, "--image", PICTURE, "--fps", "60", "--quiet",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let sender = Running(sender.map_err(|error| format!("shm-send: {error}"))?);
    let mut receiver = loop {
        match Receiver::open(&Name::new(&name)?) {
            Ok(receiver) => break receiver,
            Err(error) if begin.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => {}
        }
    };
    if receiver.wait(PATIENCE)? != Waited::Frame {
        return Err("shm-send sent nothing".into());
    }
    commands.first_sent.push(ms(begin.elapsed()));
    drop(receiver);
    commands.lists.push(lists(directory)?);

    let begin = Instant::now();
    let mut receiver = Running(
        Command::new(directory.join("shm-recv"))
            .args([
                "--name",
                &name,
                "--view",
                "none",
                "--json",
                "--timeout",
                "5",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let output = receiver.0.stdout.take().ok_or("its output is piped")?;
    let mut attached = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line.contains("\"attached\"") {
            attached = Some(Instant::now());
        } else if let (true, Some(attached)) = (line.contains("\"frame\""), attached) {
            let periods = attached.elapsed().as_secs_f64() / PERIOD.as_secs_f64();
            commands.first_received.push(periods);
            commands.first_received_from_exec.push(ms(begin.elapsed()));
            break;
        }
    }
    commands.lists_sleepers.push(lists(directory)?);
    for process in [&sender, &receiver] {
        commands.resident.push(resident(process.0.id(), &name)?);
    }
    Ok(())
}

/// How long `shm-recv --list` takes, in ms.
fn lists(directory: &Path) -> Result<f64> {
    let begin = Instant::now();
    let listed = Command::new(directory.join("shm-recv"))
        .arg("--list")
        .stdout(Stdio::null())
        .status()?;
    if !listed.success() {
        return Err(format!("shm-recv --list: {listed}").into());
    }
    Ok(ms(begin.elapsed()))
}

fn attach(commands: &mut Commands) -> Result<()> {
    let sender = sender("attach")?;
    let time = |times: &mut Vec<f64>| -> Result<()> {
        for _ in 0..200 {
            let begin = Instant::now();
            drop(Receiver::open(sender.name())?);
            times.push(1000.0 * ms(begin.elapsed()));
        }
        Ok(())
    };
    time(&mut commands.attach)?;
    // What dead senders left is as good as what live ones have.
    let _crowd = Left::new(&sender, CROWD)?;
    time(&mut commands.attach_crowded)
}

fn list(commands: &mut Commands) -> Result<()> {
    for _ in 0..10 {
        for (segments, times) in [(FEW, &mut commands.list_few), (CROWD, &mut commands.list)] {
            let _left = Left::new(&sender("list")?, segments)?;
            for _ in 0..10 {
                let begin = Instant::now();
                let listed = shm_frame::list()?.segments.len();
                #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
                times.push(1000.0 * ms(begin.elapsed()) / listed as f64);
            }
        }
    }
    Ok(())
}

/// The sender of a segment of hardly any bytes.
fn sender(of: &str) -> Result<Sender> {
    let name = format!("/shm-frame-bench-{}-{of}", std::process::id());
    let options = SenderOptions::new().capacity(3);
    Ok(Sender::create(&Name::new(&name)?, &options)?)
}

/// Segments that have no sender any more, removed when dropped.
struct Left(Vec<PathBuf>);

impl Left {
    /// Copies of a sender's segment.
    fn new(sender: &Sender, count: usize) -> Result<Self> {
        let original = format!("/dev/shm{}", sender.name());
        let mut left = Self(vec![]);
        for i in 0..count {
            let copy = PathBuf::from(format!("{original}-{i}"));
            fs::copy(&original, &copy)?;
            left.0.push(copy);
        }
        Ok(left)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// MB of a process's memory that are in RAM and neither in the segment nor in a library other than
/// the C library.
fn resident(pid: u32, segment: &str) -> Result<f64> {
    let mut kb = 0.0;
    let mut ours = true;
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Rss:") if ours => kb += words.next().ok_or("kB")?.parse::<f64>()?,
            // A mapping: addresses, permissions, offset, device, inode, path.
            Some(word) if !word.ends_with(':') => {
                let path = words.nth(4).unwrap_or("");
                let libc = ["/libc.so", "/libm.so", "/libgcc_s.so", "/ld-linux"];
                let library = path.contains(".so") && !libc.iter().any(|name| path.contains(name));
                ours = !library && !path.contains(segment);
            }
            _ => {}
        }
    }
    Ok(kb / 1000.0)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A command, until dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM: the segment is to be removed.
        if let Ok(pid) = self.0.id().try_into() {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
