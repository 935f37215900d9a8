//! Machines for the tests: network namespaces with cables between them, each with a `/dev/shm` of
//! its own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod checked;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::Value;
use shm_frame_testing::frames;
use shm_frame_testing::{Program, TestName};

pub const BRIDGE: &str = env!("CARGO_BIN_EXE_shm-bridge");

/// Whether these programs, words between spaces, are installed, and this user may make namespaces.
/// If not, the test that asks is to return: it is left out, which is told on stderr. With
/// `SHM_FRAME_TEST_ALL=1` it fails instead.
pub fn needs(programs: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_installed =
        |program: &str| env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let mut missing: Vec<_> = programs
        .split_whitespace()
        .filter(|program| !is_installed(program))
        .collect();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        missing.push("root");
    }
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    let all = env::var_os("SHM_FRAME_TEST_ALL").is_some_and(|value| value == "1");
    assert!(!all, "needs {missing}, and SHM_FRAME_TEST_ALL=1 is set");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not by eprintln, whose text is shown only for tests that fail.
    let _ = writeln!(io::stderr(), "left out: {test} needs {missing}");
    false
}

/// What machines need.
pub const MACHINES: &str = "unshare nsenter ip tc nft mount";

/// A machine: a network, a `/dev/shm` and an uptime of its own. Its processes end with their own
/// handles.
pub struct Machine {
    holder: Program,
    pid: String,
}

impl Machine {
    pub fn new() -> Self {
        Self::up_for(0)
    }

    /// One that was started so many seconds before the others.
    pub fn up_for(seconds: u32) -> Self {
        let script = "mount -t tmpfs tmpfs /dev/shm && ip link set lo up && \
                      echo machine $$ && exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount"]);
        // A shell that ends takes its child along.
        command.args(["--time", "--monotonic", &seconds.to_string()]);
        command.args(["--fork", "--kill-child", "sh", "-c", script]);
        let mut holder = Program::start(&mut command);
        holder.wait_for("machine ");
        let stdout = holder.stdout();
        let pid = stdout.trim().rsplit(' ').next().unwrap().to_owned();
        Self { holder, pid }
    }

    /// A command on this machine.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--net", "--mount", "--time", "--"]);
        command.arg(program);
        command
    }

    pub fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        let output = command.args(words).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts `shm-bridge` with words between spaces, and `--name`.
    pub fn bridge(&self, name: &TestName, words: &str) -> Program {
        Program::start(&mut self.bridge_command(name, words))
    }

    pub fn bridge_command(&self, name: &TestName, words: &str) -> Command {
        let mut command = self.command(BRIDGE);
        command.args(words.split_whitespace());
        command.args(["--name", name.as_str(), "--json"]);
        command
    }

    /// Starts this test's program in a role.
    pub fn role(&self, role: &str, name: &TestName) -> Program {
        Program::start(&mut self.role_command(role, name))
    }

    pub fn role_command(&self, role: &str, name: &TestName) -> Command {
        let inner = frames::command(role, name);
        let mut command = self.command(inner.get_program());
        command.args(inner.get_args());
        for (key, value) in inner.get_envs() {
            command.env(key, value.unwrap());
        }
        command
    }

    /// Whether there is a segment of this name.
    pub fn has(&self, name: &TestName) -> bool {
        let path = format!("/proc/{}/root/dev/shm{}", self.pid, name.as_str());
        Path::new(&path).exists()
    }
}

/// A cable between two machines, which have the addresses 10.77.N.1 and 10.77.N.2 at its ends.
pub struct Cable<'a> {
    ends: [&'a Machine; 2],
    device: String,
}

impl<'a> Cable<'a> {
    pub fn between(first: &'a Machine, second: &'a Machine, number: u8) -> Self {
        let cable = Self {
            ends: [first, second],
            device: format!("cable{number}"),
        };
        let device = &cable.device;
        first.run(&format!(
            "ip link add {device} type veth peer name {device} netns {}",
            second.pid
        ));
        for (end, machine) in cable.ends.into_iter().enumerate() {
            let address = format!("10.77.{number}.{}/24", end + 1);
            machine.run(&format!("ip address add {address} dev {device}"));
            machine.run(&format!("ip link set {device} up"));
        }
        cable
    }

    /// Pulls the plug out.
    pub fn pull(&self) {
        self.ends[0].run(&format!("ip link set {} down", self.device));
    }

    pub fn plug(&self) {
        self.ends[0].run(&format!("ip link set {} up", self.device));
    }

    /// Makes it carry so much each way, like `100mbit`.
    pub fn limit(&self, rate: &str) {
        let how = format!("tbf rate {rate} burst 256kb latency 50ms");
        for machine in self.ends {
            machine.run(&format!("tc qdisc replace dev {} root {how}", self.device));
        }
    }

    /// Makes it lose one packet in so many, each way.
    pub fn lose_one_in(&self, packets: u32) {
        for machine in self.ends {
            // Before pieces of datagrams are put together.
            let chain = "{ type filter hook prerouting priority -500 ; }";
            machine.run("nft add table inet cable");
            machine.run(&format!("nft add chain inet cable lossy {chain}"));
            let rule = format!("iif {} numgen random mod {packets} 0 drop", self.device);
            machine.run(&format!("nft add rule inet cable lossy {rule}"));
        }
    }

    /// Bytes that went through it so far.
    pub fn bytes(&self) -> u64 {
        let shown = self.ends[0].run(&format!("ip -s -j link show dev {}", self.device));
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let stats = &shown[0]["stats64"];
        stats["rx"]["bytes"].as_u64().unwrap() + stats["tx"]["bytes"].as_u64().unwrap()
    }
}

/// What a program printed as JSON.
pub trait Json {
    /// All that it printed, which must be JSON objects and nothing else.
    fn json(&self) -> Vec<Value>;
    /// The objects of one event.
    fn events(&self, event: &str) -> Vec<Value>;
    /// Waits until it printed an event this many times in all.
    fn wait_for_events(&mut self, event: &str, count: usize) -> Vec<Value>;
    /// Ends it with SIGINT, as a user does, and gives its summary.
    fn summary(&mut self) -> Value;
}

impl Json for Program {
    fn json(&self) -> Vec<Value> {
        let stdout = self.stdout();
        // The last line may be on its way.
        let whole = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        whole.lines().map(parse).collect()
    }

    fn events(&self, event: &str) -> Vec<Value> {
        let mut lines = self.json();
        lines.retain(|line| line["event"] == event);
        lines
    }

    fn wait_for_events(&mut self, event: &str, count: usize) -> Vec<Value> {
        let needle = format!("{{\"event\":\"{event}\"");
        self.wait_until(&format!("it told {event:?} {count} times"), |program| {
            if !program.running() {
                program.fail("it ended");
            }
            program.stdout().matches(&needle).count() >= count
        });
        self.events(event)
    }

    fn summary(&mut self) -> Value {
        self.signal("INT");
        self.ends_with(0);
        self.json().pop().expect("a summary")
    }
}

pub fn number(value: &Value, field: &str) -> u64 {
    let number = value[field].as_u64();
    number.unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Waits until a receiver has taken so many frames more.
pub fn takes(receiver: &mut Program, more: u64) {
    let taken = |receiver: &Program| {
        let stdout = receiver.stdout();
        let any = stdout.contains("taken=");
        if any {
            frames::number(&stdout, "taken")
        } else {
            0
        }
    };
    let enough = taken(receiver) + more;
    receiver.wait_until(&format!("it took {enough} frames"), |receiver| {
        if !receiver.running() {
            receiver.fail("it ended");
        }
        taken(receiver) >= enough
    });
}

/// Waits until a receiver has told something so many times.
pub fn tells(receiver: &mut Program, what: &str, times: usize) {
    receiver.wait_until(&format!("it told {what:?} {times} times"), |receiver| {
        receiver.stdout().matches(what).count() >= times
    });
}
