//! Makes one measurement: starts its processes, pins them, tells them when to begin, and cleans up
//! after them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, alarm};

use crate::Result;
use crate::contender::{Contender, Ends};
use crate::frame::now;
use crate::role::Role;
use crate::spec::{Mode, Outcome, Schedule, Spec, Wait};

/// No process of a measurement lives longer.
const LIFE_S: u32 = 20;

/// Where measurements are made.
pub struct Bench {
    /// What all names of ours begin with.
    prefix: String,
    directory: PathBuf,
    peers: PathBuf,
    cores: [usize; 2],
    runs: u32,
}

/// What came out of one measurement.
pub struct Measured {
    pub sender: Outcome,
    pub receivers: Vec<Outcome>,
    /// How long frames counted, in ns.
    pub counted: u64,
}

impl Bench {
    /// `peers`: where programs are that are not this one.
    pub fn new(peers: PathBuf) -> Result<Self> {
        let affinity = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores = (0..CpuSet::count()).filter(|&core| affinity.is_set(core) == Ok(true));
        let (Some(first), Some(second)) = (cores.next(), cores.next()) else {
            return Err("two cores are needed, one for each process".into());
        };
        let prefix = format!("shm-frame-bench-{}", std::process::id());
        let directory = std::env::temp_dir().join(&prefix);
        fs::create_dir(&directory)?;
        Ok(Self {
            prefix,
            directory,
            peers,
            cores: [first, second],
            runs: 0,
        })
    }

    /// Fills in what a spec leaves to the bench, and measures it: `warm` and then `counted` ns.
    pub fn measure(
        &mut self,
        contender: &Contender,
        spec: &Spec,
        warm: u64,
        counted: u64,
    ) -> Result<Measured> {
        self.runs += 1;
        let mut spec = spec.clone();
        spec.run = format!("{}-{}", self.prefix, self.runs);
        spec.directory = self.directory.display().to_string();
        let measured = self.run(contender, &spec, warm, counted);
        self.clean();
        measured
    }

    fn run(&self, contender: &Contender, spec: &Spec, warm: u64, counted: u64) -> Result<Measured> {
        let mut sender = self.start(contender, spec, Role::Sender)?;
        let mut receivers = (0..spec.receivers)
            .map(|_| self.start(contender, spec, Role::Receiver))
            .collect::<Result<Vec<_>>>()?;
        for process in std::iter::once(&mut sender).chain(&mut receivers) {
            process.expect_ready()?;
        }
        let begin = now() + 2_000_000;
        let schedule = Schedule {
            begin,
            count: begin + warm,
            end: begin + warm + counted,
        };
        for process in receivers.iter_mut().chain([&mut sender]) {
            process.tell(schedule)?;
        }
        let outcomes = receivers
            .iter_mut()
            .map(Process::outcome)
            .collect::<Result<Vec<_>>>()?;
        // A sender may be stuck until the receivers are gone.
        drop(receivers);
        Ok(Measured {
            sender: sender.outcome()?,
            receivers: outcomes,
            counted,
        })
    }

    fn start(&self, contender: &Contender, spec: &Spec, role: Role) -> Result<Process> {
        let mut command = match contender.ends {
            Ends::Functions { .. } => {
                let mut command = Command::new(std::env::current_exe()?);
                let role = if role == Role::Sender {
                    "sender"
                } else {
                    "receiver"
                };
                command
                    .args(["--role", role])
                    .arg(serde_json::to_string(spec)?);
                command
            }
            Ends::Programs { sender, receiver } => {
                let program = if role == Role::Sender {
                    sender
                } else {
                    receiver
                };
                let mut command = self.program(program);
                let hz = if let Mode::Paced(hz) = spec.mode {
                    hz
                } else {
                    0
                };
                let wait = if spec.wait == Wait::Busy {
                    "busy"
                } else {
                    "asleep"
                };
                command.args([
                    &spec.run,
                    &spec.shape.0.to_string(),
                    &spec.shape.1.to_string(),
                ]);
                command.args([&hz.to_string(), wait]);
                command
            }
        };
        let mut core = CpuSet::new();
        core.set(self.cores[usize::from(role == Role::Receiver)])?;
        let prepare = move || {
            sched_setaffinity(Pid::from_raw(0), &core)?;
            set_pdeathsig(Signal::SIGKILL)?;
            alarm::set(LIFE_S);
            Ok(())
        };
        // What peers leave in it goes with it.
        command.env("TMPDIR", &self.directory);
        // SAFETY: between fork and exec, it makes three system calls and nothing else.
        unsafe { command.pre_exec(prepare) };
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Process::new(child, format!("{role:?} of {}", contender.name))
    }

    /// One of `peers`: a Python program if its name says so.
    fn program(&self, name: &str) -> Command {
        if Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "py")
        {
            let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
            let mut command = Command::new(self.peers.join("python/bin/python"));
            command.arg(sources.join(name));
            command
        } else {
            Command::new(self.peers.join(name))
        }
    }

    /// Removes what processes left that did not end well.
    fn clean(&self) {
        for directory in [Path::new("/dev/shm"), &self.directory] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let ours = entry.file_name().to_string_lossy().contains(&self.prefix);
                if ours || directory == self.directory {
                    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                }
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.clean();
        let _ = fs::remove_dir(&self.directory);
        // The last of its processes leaves segments, and their names are numbers.
        zenoh::shm::cleanup_orphaned_shm_segments();
    }
}

/// A process that takes part, until dropped.
struct Process {
    who: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn new(mut child: Child, who: String) -> Result<Self> {
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("its output is piped")?;
        Ok(Self {
            who,
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(format!("{} ended: {}", self.who, self.child.wait()?).into()),
            _ => Ok(line),
        }
    }

    fn expect_ready(&mut self) -> Result<()> {
        match self.line()?.trim() {
            "ready" => Ok(()),
            other => Err(format!("{} said {other:?} instead of being ready", self.who).into()),
        }
    }

    fn tell(&mut self, schedule: Schedule) -> Result<()> {
        let Schedule { begin, count, end } = schedule;
        let input = self.input.as_mut().ok_or("its input is open")?;
        writeln!(input, "{begin} {count} {end}")?;
        Ok(input.flush()?)
    }

    fn outcome(&mut self) -> Result<Outcome> {
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Process {
    /// The end of its input tells it to end, and its alarm sees to it.
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}
