//! Frames from one machine to another: what arrives, and what is told of it.

mod common;

use common::{Cable, Json as _, MACHINES, Machine, checked, needs};
use shm_frame_testing::{TestName, frames};

/// No test: this program runs it again, with a role, on a machine.
#[test]
fn role() {
    if let Some((role, name)) = frames::role() {
        checked::play(&role, &name);
    }
}

#[test]
fn frames_of_every_format_cross_exactly() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("crossing");
    let mut sender = robot.role("send all 200", &name);
    let mut put = robot.bridge(&name, "put robot/cam --listen tcp/10.77.1.1:7447");
    let mut get = desk.bridge(&name, "get robot/cam --connect tcp/10.77.1.1:7447");
    let mut receiver = desk.role("receive all", &name);
    receiver.wait_for("formats=48");
    assert!(sender.running());
    let got = get.events("got");
    let (got, put) = (got.last().unwrap().clone(), (get.summary(), put.summary()));
    eprintln!("{got}\n{}\n{}", put.0, put.1);
}
