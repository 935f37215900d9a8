//! Frames from one machine to another: what arrives, and what is told of it.

mod common;

use std::thread;
use std::time::Duration;

use common::{Cable, Json as _, MACHINES, Machine, checked, needs, number, takes, tells};
use serde_json::Value;
use shm_frame_testing::{Program, TestName, frames, wait_until};

const PUT: &str = "put robot/cam --listen tcp/10.77.1.1:7447";
const GET: &str = "get robot/cam --connect tcp/10.77.1.1:7447";

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
    let _sender = robot.role("send all 200", &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role("receive all", &name);
    receiver.wait_for("formats=48");
    assert!(receiver.running());
    // Both ends count, and agree.
    let (got, put) = (get.summary(), put.summary());
    assert_eq!(number(&got, "lost"), 0);
    assert_eq!(number(&got, "asked"), number(&got, "arrived"));
    assert_eq!(number(&put, "arrived"), number(&got, "arrived"));
    assert!(number(&put, "asked") >= number(&put, "arrived"), "{put}");
    for frame in get.events("got") {
        let at_robot = number(&frame, "frame");
        // The format follows from the sender's number.
        let format = checked::formats()[usize::try_from(at_robot).unwrap() % 48];
        assert_eq!(frame["element"], format.element().name(), "{frame}");
        assert_eq!(
            number(&frame, "channels"),
            format.channels().count() as u64,
            "{frame}"
        );
    }
}

#[test]
fn jpegs_cross_and_what_cannot_be_one_is_told_and_counted() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("jpeg");
    let _sender = robot.role("send all 200", &name);
    let mut put = robot.bridge(&name, &format!("{PUT} --jpeg 90"));
    let mut get = desk.bridge(&name, GET);
    let got = get.wait_for_events("got", 20);
    for frame in got {
        assert_eq!(frame["element"], "u8", "{frame}");
        assert_ne!(number(&frame, "channels"), 2, "{frame}");
    }
    put.wait_for("a frame of 1:u16 has no JPEG: --jpeg is for u8, of 1, 3 or 4 channels");
    assert_eq!(number(&get.summary(), "discarded"), 0);
    assert!(number(&put.summary(), "discarded") > 0);
}

#[test]
fn a_robot_that_nobody_subscribes_to_sends_nothing_and_reads_nothing() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("asleep");
    let shape = "640x404x3";
    let _sender = robot.role(&format!("send {shape} 60"), &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    get.wait_for_events("got", 1);
    // A link, and nobody who subscribes.
    let other = TestName::new("other");
    let mut listening = desk.bridge(&other, "get robot/other --connect tcp/10.77.1.1:7447");
    listening.wait_for_events("waiting", 1);
    get.summary();
    put.wait_for("nobody subscribes to robot/cam: nothing is read or sent");
    let (asked, before) = (put.events("put").len(), cable.bytes());
    thread::sleep(Duration::from_secs(2));
    let sent = cable.bytes() - before;
    assert_eq!(put.events("put").len(), asked);
    // Signs of life, and no frame: one has 775,680 bytes.
    assert!(sent < 20_000, "{sent} bytes in two seconds");
    // It wakes up.
    let mut get = desk.bridge(&name, GET);
    get.wait_for_events("got", 10);
}

#[test]
fn a_sender_that_is_killed_ends_the_far_segment_and_another_one_brings_it_back() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("sender");
    let mut put = robot.bridge(&name, PUT);
    put.wait_for_events("waiting", 1);
    let mut get = desk.bridge(&name, GET);
    get.wait_for_events("waiting", 1);
    let mut receiver = desk.role("receive all", &name);
    for round in 1..=3 {
        let mut sender = robot.role("send all 100", &name);
        takes(&mut receiver, 20);
        sender.kill();
        tells(&mut receiver, "ended closed", round);
        wait_until("its name is free", || !desk.has(&name));
        let ended = put.wait_for_events("ended", round);
        assert_eq!(ended.last().unwrap()["why"], "dead");
        let gone = get.wait_for_events("gone", round);
        assert_eq!(gone.last().unwrap()["why"], "ended");
    }
}

#[test]
fn a_sender_that_another_one_replaces_ends_the_far_segment_and_a_larger_frame_does_not() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("replaced");
    let mut first = robot.role("send all 100", &name);
    let put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role("receive all", &name);
    takes(&mut receiver, 20);
    let mut second = robot.role("send all 100", &name);
    second.wait_for("sending");
    first.end();
    tells(&mut receiver, "ended closed", 1);
    tells(&mut receiver, "attached", 2);
    takes(&mut receiver, 20);
    // Frames that outgrew their segments, at both ends, ended nothing; nor did the link.
    assert!(
        get.events("gone").is_empty() && put.events("ended").is_empty(),
        "{}",
        put.stdout()
    );
    assert_eq!(number(&get.summary(), "lost"), 0);
}

#[test]
fn whoever_comes_gets_the_newest_frame_however_old_it_is() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("still");
    let others = TestName::new("others");
    let mut sender = robot.role("send 64x48x3 100 3", &name);
    sender.wait_for("sent 3");
    let _put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    assert_eq!(number(&get.wait_for_events("got", 1)[0], "frame"), 3);
    // Beside another one, after it, and again.
    thread::sleep(Duration::from_secs(1));
    let mut other = desk.bridge(&others, GET);
    let got = other.wait_for_events("got", 1);
    assert_eq!(
        (number(&got[0], "frame"), &got[0]["found"]),
        (3, &Value::Bool(true))
    );
    assert_eq!(get.events("got").len(), 1, "not twice");
    get.summary();
    other.summary();
    let mut get = desk.bridge(&name, GET);
    assert_eq!(number(&get.wait_for_events("got", 1)[0], "frame"), 3);
    assert_eq!(get.summary()["delay_ms"], Value::Null);
}

#[test]
fn frames_of_a_program_that_knows_the_header_alone_cross() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("old");
    let _sender = robot.role("old 50", &name);
    let _put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let got = get.wait_for_events("got", 20);
    let last = got.last().unwrap();
    assert_eq!(
        (
            number(last, "width"),
            number(last, "height"),
            number(last, "channels")
        ),
        (64, 48, 3)
    );
    assert_eq!(number(&get.summary(), "lost"), 0);
}

#[test]
fn either_bridge_may_be_killed_and_started_again() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("bridges");
    let _sender = robot.role("send all 100", &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role("receive all", &name);
    takes(&mut receiver, 20);
    put.kill();
    tells(&mut receiver, "ended closed", 1);
    assert_eq!(get.wait_for_events("gone", 1)[0]["why"], "link");
    let mut put = robot.bridge(&name, PUT);
    takes(&mut receiver, 20);
    get.kill();
    tells(&mut receiver, "ended dead", 1);
    put.wait_for("nobody subscribes to robot/cam");
    let _get = desk.bridge(&name, GET);
    takes(&mut receiver, 20);
}

#[test]
fn a_cable_that_is_pulled_ends_the_far_segment_and_plugged_in_brings_it_back() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("cable");
    let _sender = robot.role("send all 100", &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role("receive all", &name);
    for round in 1..=2 {
        takes(&mut receiver, 20);
        cable.pull();
        tells(&mut receiver, "ended closed", round);
        let gone = get.wait_for_events("gone", round);
        assert_eq!(gone.last().unwrap()["why"], "link");
        put.wait_until("it knows that nobody subscribes", |put| {
            put.events("wanted").last().unwrap()["wanted"] == false
        });
        cable.plug();
    }
    takes(&mut receiver, 20);
}

#[test]
fn two_robots_to_one_desk_and_one_robot_to_three() {
    if !needs(MACHINES) {
        return;
    }
    let desk = Machine::new();
    let robots = [Machine::new(), Machine::new()];
    let _cables = [
        Cable::between(&robots[0], &desk, 1),
        Cable::between(&robots[1], &desk, 2),
    ];
    // The same name at both robots, and one each at the desk.
    let name = TestName::new("cam");
    let names = [TestName::new("left"), TestName::new("right")];
    let mut running = Vec::new();
    let mut receivers = Vec::new();
    for (i, (robot, here)) in robots.iter().zip(&names).enumerate() {
        let at = format!("tcp/10.77.{}.1:7447", i + 1);
        running.push(robot.role("send all 100", &name));
        running.push(robot.bridge(&name, &format!("put robot{i}/cam --listen {at}")));
        running.push(desk.bridge(here, &format!("get robot{i}/cam --connect {at}")));
        receivers.push(desk.role("receive all", here));
    }
    for receiver in &mut receivers {
        takes(receiver, 50);
    }
    // The first robot to two more.
    let others = [Machine::new(), Machine::new()];
    let mut cables = Vec::new();
    let mut put = robots[0].bridge(&name, "put robot0/more --listen tcp/0.0.0.0:7448");
    for (i, machine) in others.iter().chain([&desk]).enumerate() {
        let number = if i < 2 { i + 3 } else { 1 };
        if i < 2 {
            let number = u8::try_from(number).unwrap();
            cables.push(Cable::between(&robots[0], machine, number));
        }
        let words = format!("get robot0/more --connect tcp/10.77.{number}.1:7448");
        running.push(machine.bridge(&name, &words));
        receivers.push(machine.role("receive all", &name));
    }
    for receiver in &mut receivers {
        takes(receiver, 50);
    }
    put.wait_until("it knows of three receivers", |put| {
        put.events("state")
            .last()
            .is_some_and(|state| number(state, "receivers") == 3)
    });
    let state = put.summary();
    assert_eq!(number(&state, "lost"), 0, "{state}");
}

/// The environment of a program whose wall clock is an hour ahead.
fn hour_ahead(machine: &Machine) -> Vec<String> {
    let mut faketime = machine.command("faketime");
    faketime.args(["-m", "--exclude-monotonic", "-f", "+3600s", "env"]);
    let output = String::from_utf8(faketime.output().unwrap().stdout).unwrap();
    // It shares its beginning with other processes by an object that is gone with faketime itself.
    let is_its = |line: &&str| {
        let name = line.split('=').next().unwrap();
        name.contains("FAKE") && name != "FAKETIME_SHARED" || name == "LD_PRELOAD"
    };
    output.lines().filter(is_its).map(str::to_owned).collect()
}

#[test]
fn clocks_that_differ_are_measured_and_the_delay_stays_true() {
    if !needs(&format!("{MACHINES} faketime")) {
        return;
    }
    // The robot was started a day before the desk, and its wall clock is an hour ahead.
    let (robot, desk) = (Machine::up_for(86_400), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("clocks");
    // By env, inside: nsenter would leave something in this machine's /dev/shm.
    let mut faked = robot.command("env");
    faked.args(hour_ahead(&robot)).arg(common::BRIDGE);
    faked
        .args(PUT.split(' '))
        .args(["--name", name.as_str(), "--json"]);
    let _sender = robot.role("send 64x48x3 50", &name);
    let _put = Program::start(&mut faked);
    let mut get = desk.bridge(&name, GET);
    for frame in get.wait_for_events("got", 50) {
        let (delay, bound) = (
            frame["delay_ms"].as_f64().unwrap(),
            frame["bound_ms"].as_f64().unwrap(),
        );
        if frame["found"] == false {
            // Not negative, within what is known; and neither an hour nor a day.
            assert!(delay >= -bound && delay < 60_000.0, "{frame}");
        }
    }
    let clock = get.wait_for_events("getting", 1)[0].clone();
    let (ahead, bound) = (
        clock["clock_ms"].as_f64().unwrap(),
        clock["bound_ms"].as_f64().unwrap(),
    );
    assert!((ahead - 3_600_000.0).abs() <= bound + 1.0, "{clock}");
    get.wait_for("its clock is 3600.000 s ahead");
}
