//! The two commands and what they print.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::process::Command;

use std::time::{Duration, Instant};

use serde_json::Value;
use shm_frame::{End, Frame, Receiver, Waited};
use shm_frame_testing::{PATIENCE, Program, TestName, wait_until};

pub const SEND: &str = env!("CARGO_BIN_EXE_shm-send");
pub const RECV: &str = env!("CARGO_BIN_EXE_shm-recv");

/// A command without a display, to be started. `args` are words between spaces.
pub fn command(program: &str, name: &TestName, args: &str) -> Command {
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

/// What a program printed as JSON.
pub trait Json {
    /// What it printed, which must be JSON objects and nothing else.
    fn json(&self) -> Vec<Value>;
    /// What it printed of one event.
    fn events(&self, event: &str) -> Vec<Value>;
    /// Waits until it printed an event that many times.
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
            Waited::Timeout => {}
            // A larger frame came, in a new segment.
            Waited::Ended(End::Replaced) => wait_until("it goes on", || receiver.reopen().unwrap()),
            Waited::Ended(end) => {
                assert_eq!(end, End::Closed);
                return taken;
            }
        }
    }
}
