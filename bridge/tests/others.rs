//! Programs in other languages, and programs that read what is printed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::process::Command;

use common::{Cable, Json as _, MACHINES, Machine, checked, needs, number, takes, tells};
use serde_json::Value;
use shm_frame_testing::{Program, TestName, frames};

const PUT: &str = "put robot/cam --listen tcp/10.77.1.1:7447";
const GET: &str = "get robot/cam --connect tcp/10.77.1.1:7447";

/// No test: this program runs it again, with a role, on a machine.
#[test]
fn role() {
    if let Some((role, name)) = frames::role() {
        checked::play(&role, &name);
    }
}

/// The Python with zenoh: the variable PYTHON.
fn python() -> Option<String> {
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args(["-c", "import zenoh, numpy"])
        .output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    needs("a-Python-with-eclipse-zenoh-and-numpy");
    None
}

#[test]
fn a_program_in_python_takes_frames_of_every_format_by_zenoh_alone() {
    let (true, Some(python)) = (needs(MACHINES), python()) else {
        return;
    };
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("python");
    let _sender = robot.role("send all 100", &name);
    let mut put = robot.bridge(&name, PUT);
    put.wait_for_events("putting", 1);
    let mut receive = desk.command(python);
    receive.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/receive.py"));
    receive.args(["robot/cam", "tcp/10.77.1.1:7447", "150"]);
    let mut receive = Program::start(&mut receive);
    receive.ends_with(0);
    let mut formats = BTreeSet::new();
    for line in receive.stdout().lines() {
        let (shown, about) = line.split_once(" ms {").unwrap_or_else(|| panic!("{line}"));
        let about: Value = serde_json::from_str(&format!("{{{about}")).unwrap();
        let at_robot = number(&about, "number");
        assert_eq!(number(&about, "captured_ns"), at_robot, "{line}");
        let meta = match at_robot % 3 {
            0 => Value::Null,
            _ => format!("{{\"number\":{at_robot}}}").into(),
        };
        assert_eq!(about["meta"], meta, "{line}");
        let (shape, element, sum) = checked::in_numpy(at_robot);
        assert!(
            shown.starts_with(&format!("{shape} {element} {sum}")),
            "{line}: {shape} {element} {sum}"
        );
        formats.insert((shape, element.to_owned(), about["order"].to_string()));
    }
    assert!(formats.len() >= 48, "{formats:?}");
}

#[test]
fn a_router_in_between_carries_frames_and_ends_alike() {
    let (true, Some(python)) = (needs(MACHINES), python()) else {
        return;
    };
    let (robot, router, desk) = (Machine::new(), Machine::new(), Machine::new());
    let _cables = [
        Cable::between(&router, &robot, 1),
        Cable::between(&router, &desk, 2),
    ];
    let name = TestName::new("router");
    let mut routing = router.command(python);
    routing.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/programs/router.py"
    ));
    let mut routing = Program::start(routing.arg("tcp/0.0.0.0:7447"));
    routing.wait_for("routing");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/router.json5");
    let put_words = format!("put robot/cam --connect tcp/10.77.1.1:7447 --config {client}");
    let get_words = format!("get robot/cam --connect tcp/10.77.2.1:7447 --config {client}");
    let mut put = robot.bridge(&name, &put_words);
    let _get = desk.bridge(&name, &get_words);
    let mut receiver = desk.role("receive all", &name);
    for round in 1..=2 {
        let mut sender = robot.role("send all 100", &name);
        takes(&mut receiver, 20);
        sender.kill();
        tells(&mut receiver, "ended closed", round);
    }
    let _sender = robot.role("send all 100", &name);
    takes(&mut receiver, 20);
    put.kill();
    tells(&mut receiver, "ended closed", 3);
    // Its token is gone with it: the key is free.
    let _put = robot.bridge(&name, &put_words);
    takes(&mut receiver, 20);
}

#[test]
fn without_endpoints_the_two_find_each_other_by_multicast() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    // As a machine with a way to the world has it.
    for machine in [&robot, &desk] {
        machine.run("ip route add 224.0.0.0/4 dev cable1");
    }
    let name = TestName::new("multicast");
    let _sender = robot.role("send all 100", &name);
    let _put = robot.bridge(&name, "put robot/cam");
    let _get = desk.bridge(&name, "get robot/cam");
    let mut receiver = desk.role("receive all", &name);
    takes(&mut receiver, 20);
}

/// The fields that README.md tells of each event of a command.
fn told(readme: &str, command: &str) -> BTreeMap<String, String> {
    let section = readme
        .split(&format!("### `shm-bridge {command} --json`"))
        .nth(1)
        .unwrap();
    let section = section.split("\n### ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        let event = cells.next().unwrap().trim_end_matches('`').to_owned();
        (event, cells.nth(1).unwrap().to_owned())
    })
    .collect()
}

#[test]
fn every_field_that_is_printed_is_in_readme_md() {
    if !needs(MACHINES) {
        return;
    }
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (robot, desk) = (Machine::new(), Machine::new());
    let cable = Cable::between(&robot, &desk, 1);
    cable.limit("1mbit");
    let name = TestName::new("json");
    let mut put = robot.bridge(&name, PUT);
    let mut get = desk.bridge(&name, GET);
    put.wait_for_events("waiting", 1);
    get.wait_for_events("waiting", 1);
    let mut sender = robot.role("send 64x48x3 50", &name);
    for event in ["putting", "wanted", "put", "slow", "state"] {
        put.wait_for_events(event, 1);
    }
    for event in ["getting", "slow", "got", "state"] {
        get.wait_for_events(event, 1);
    }
    sender.kill();
    put.wait_for_events("ended", 1);
    get.wait_for_events("gone", 1);
    put.summary();
    get.summary();
    for (program, command) in [(&put, "put"), (&get, "get")] {
        let told = told(&readme, command);
        let mut seen = BTreeSet::new();
        for line in program.json() {
            let event = line["event"].as_str().unwrap().to_owned();
            let fields = told
                .get(&event)
                .unwrap_or_else(|| panic!("{command}: {event} is not told"));
            // What a summary has of a state is told there.
            let state = &told["state"];
            let clock = if command == "get" {
                &told["getting"]
            } else {
                state
            };
            for field in line
                .as_object()
                .unwrap()
                .keys()
                .filter(|field| *field != "event")
            {
                let name = format!("`{field}`");
                let anywhere = match event.as_str() {
                    "state" | "summary" => format!("{fields}{state}{clock}"),
                    _ => fields.clone(),
                };
                assert!(
                    anywhere.contains(&name),
                    "{command}: {event} has {field}: {line}"
                );
            }
            seen.insert(event);
        }
        // All were fit to be used.
        let missing: Vec<_> = told.keys().filter(|event| !seen.contains(*event)).collect();
        assert_eq!(missing, ["discarded"]);
    }
}

#[test]
fn what_is_no_frame_is_told_and_counted_and_does_no_harm() {
    let (true, Some(python)) = (needs(MACHINES), python()) else {
        return;
    };
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("nonsense");
    let _sender = robot.role("send all 50", &name);
    // Whoever sends nonsense talks to both.
    let both = ["tcp/10.77.1.1:7447", "tcp/10.77.1.2:7447"];
    let words = format!("put robot/cam --listen {} --connect {}", both[0], both[1]);
    let mut put = robot.bridge(&name, &words);
    let mut get = desk.bridge(&name, &format!("get robot/cam --listen {}", both[1]));
    let mut receiver = desk.role("receive all", &name);
    tells(&mut receiver, "taken=", 1);
    let mut nonsense = desk.command(python);
    nonsense.arg(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/programs/nonsense.py"
    ));
    nonsense.arg("robot/cam").args(both);
    Program::start(&mut nonsense).ends_with(0);
    let before = receiver.stdout().matches("taken=").count();
    tells(&mut receiver, "taken=", before + 5);
    for why in [
        "it has no attachment",
        "its attachment is empty",
        "its attachment describes no frame",
        "it has version 7 of the attachment",
    ] {
        get.wait_for(&format!("a frame was not used: {why}"));
    }
    get.wait_for("has 9 bytes of pixels, not 5");
    assert!(receiver.running() && put.running() && get.running());
    assert!(number(&get.summary(), "discarded") >= 5);
}
