//! Links that are slow, or lose something: what arrives all the same, and what is told before.

mod common;

use std::fs;
use std::thread;
use std::time::Duration;

use common::{Cable, Json as _, MACHINES, Machine, checked, needs, number, takes};
use shm_frame_testing::{Scratch, TestName, frames};

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
fn a_link_that_is_too_slow_for_raw_is_told_before_any_frame_and_carries_what_it_can() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    cable.limit("100mbit");
    let name = TestName::new("slow");
    let shape = "1920x1080x3";
    let _sender = robot.role(&format!("send {shape} 30"), &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role(&format!("receive {shape}"), &name);
    // Every frame that arrives is whole.
    get.wait_for_events("got", 5);
    takes(&mut receiver, 1);
    let lines = get.json();
    let told: Vec<_> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    let told: Vec<_> = told
        .into_iter()
        .filter(|event| *event != "waiting")
        .collect();
    assert_eq!(told[..3], ["slow", "getting", "got"], "{lines:?}");
    let slow = &get.events("slow")[0];
    assert!(number(slow, "carries") < 150_000_000, "{slow}");
    assert!(number(slow, "needs") > number(slow, "carries"), "{slow}");
    get.wait_for("raw needs ");
    get.wait_for("bit/s, the link carries ");
    get.wait_for(" Mbit/s: put with --jpeg 90");
    // Whoever can change it is told, too.
    put.wait_for_events("slow", 1);
    put.wait_for("send JPEGs, with --jpeg 90");
    let got = get.summary();
    assert!(number(&got, "lost") * 5 <= number(&got, "asked"), "{got}");
}

#[test]
fn a_link_that_is_fast_enough_is_no_matter() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    cable.limit("100mbit");
    let name = TestName::new("enough");
    let _sender = robot.role("send 128x96x3 30", &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    get.wait_for_events("got", 60);
    assert_eq!(number(&get.summary(), "lost"), 0);
    put.summary();
    assert!(get.events("slow").is_empty(), "{}", get.stdout());
    assert!(put.events("slow").is_empty(), "{}", put.stdout());
}

#[test]
fn the_last_frame_of_a_slow_link_arrives_though_its_sender_is_gone() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("last");
    // 0.9 MB, which zenoh takes at once, and the link in 0.4 s.
    let mut sender = robot.role("send 640x480x3 1 1", &name);
    sender.wait_for("sent 1");
    cable.limit("20mbit");
    let mut get = desk.bridge(&name, GET);
    // The program ends, or the sender alone.
    let mut put = robot.bridge(&name, &format!("{PUT} --count 1"));
    put.ends_with(0);
    get.wait_for_events("gone", 1);
    assert_eq!(get.events("got").len(), 1, "{}", get.stdout());
    let mut put = robot.bridge(&name, PUT);
    put.wait_for_events("put", 1);
    sender.kill();
    get.wait_for_events("gone", 2);
    assert_eq!(get.events("got").len(), 2, "{}", get.stdout());
    // One that takes the name over is another session, and the token stays.
    let mut sender = robot.role("send 640x480x3 1 1", &name);
    get.wait_for_events("got", 3);
    let mut other = robot.role("send 640x480x3 1 1", &name);
    put.wait_for_events("put", 3);
    other.kill();
    get.wait_for_events("gone", 3);
    assert_eq!(get.events("got").len(), 4, "{}", get.stdout());
    assert_eq!(number(&get.summary(), "lost"), 0);
    sender.kill();
}

#[test]
fn large_frames_cross_one_gigabit_where_zenohs_own_settings_lose_them_all() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    cable.limit("1gbit");
    let name = TestName::new("large");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("zenoh.json5");
    let drop = "drop: { wait_before_drop: 1000, max_wait_before_drop_fragments: 50000 }";
    let text = format!(
        "{{ transport: {{ link: {{ tx: {{ queue: {{ congestion_control: {{ {drop} }} }} }} }} }} }}"
    );
    fs::write(&file, text).unwrap();
    let shape = "3840x2160x3";
    let _sender = robot.role(&format!("send {shape} 2"), &name);
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role(&format!("receive {shape}"), &name);
    get.wait_for_events("got", 10);
    receiver.wait_for("taken=1 ");
    // Of a machine that does much else, one may be late.
    let got = get.summary();
    assert!(number(&got, "lost") * 10 <= number(&got, "asked"), "{got}");
    put.summary();
    drop_all(
        &robot,
        &desk,
        &name,
        &format!("--config {}", file.display()),
    );
}

/// With these settings none arrives, and both ends know how many did not.
fn drop_all(robot: &Machine, desk: &Machine, name: &TestName, settings: &str) {
    let mut put = robot.bridge(name, &format!("{PUT} {settings}"));
    let mut get = desk.bridge(name, GET);
    put.wait_for_events("put", 6);
    thread::sleep(Duration::from_secs(2));
    let (got, put) = (get.summary(), put.summary());
    assert_eq!(number(&got, "arrived"), 0, "{got}");
    assert!(number(&got, "lost") >= 4, "{got}");
    assert_eq!(number(&got, "asked"), number(&got, "lost"));
    assert!(number(&put, "asked") >= number(&got, "asked"), "{put}");
    assert!(number(&put, "lost") >= 4, "{put}");
}

#[test]
fn a_link_that_loses_packets_hardly_loses_frames_by_tcp() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    cable.lose_one_in(100);
    let name = TestName::new("tcp");
    let _sender = robot.role("send all 60", &name);
    let _put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    let mut receiver = desk.role("receive all", &name);
    takes(&mut receiver, 120);
    // One, if the same packet is lost three times.
    let got = get.summary();
    assert!(number(&got, "lost") <= 1, "{got}");
}

#[test]
fn what_is_lost_by_udp_is_counted_and_what_arrives_is_whole() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("udp");
    let _sender = robot.role("send 128x96x3 60", &name);
    let mut put = robot.bridge(&name, "put robot/cam --listen udp/10.77.1.1:7447");
    let mut get = desk.bridge(&name, "get robot/cam --connect udp/10.77.1.1:7447");
    let mut receiver = desk.role("receive 128x96x3", &name);
    takes(&mut receiver, 20);
    cable.lose_one_in(100);
    takes(&mut receiver, 100);
    get.wait_until("it lost a frame", |get| {
        get.events("state")
            .last()
            .is_some_and(|state| number(state, "lost") > 0)
    });
    let (got, put) = (get.summary(), put.summary());
    assert_eq!(
        number(&got, "asked"),
        number(&got, "arrived") + number(&got, "lost")
    );
    assert!(
        number(&put, "asked") >= number(&got, "asked"),
        "{put} {got}"
    );
}
