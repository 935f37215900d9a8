//! Who may come in: zenoh's TLS, users and access control by `--config`, as in `examples/`; and
//! what is no usage.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{BRIDGE, Cable, Json as _, MACHINES, Machine, checked, needs, number, takes};
use shm_frame_testing::{Program, Scratch, TestName, frames};

/// No test: this program runs it again, with a role, on a machine.
#[test]
fn role() {
    if let Some((role, name)) = frames::role() {
        checked::play(&role, &name);
    }
}

fn run(directory: &Path, script: &str) {
    let mut command = Command::new("sh");
    let output = command
        .args(["-ec", script])
        .current_dir(directory)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {error}");
}

/// The commands of README.md that make certificates, with an address for the robot's name.
fn certificates(directory: &Path) {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let begin = readme
        .find("openssl req -x509")
        .expect("README.md makes certificates");
    let script = readme[begin..].split("```").next().unwrap();
    run(directory, &script.replace("DNS:robot", "IP:10.77.1.1"));
}

/// A file of `examples/`, with the paths in it where the certificates are.
fn example(directory: &Path, name: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    let text = fs::read_to_string(source).unwrap();
    let here = format!("{}/", directory.display());
    let text = text.replace("/etc/shm-bridge/", &here);
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

const PUT: &str = "put robot/cam --listen";
const GET: &str = "get robot/cam --connect";

#[test]
fn by_tls_frames_cross_and_who_has_no_certificate_gets_none() {
    if !needs(&format!("{MACHINES} openssl")) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("tls");
    let scratch = Scratch::new(&name);
    certificates(scratch.path());
    let (ours, theirs) = (
        example(scratch.path(), "tls-put.json5"),
        example(scratch.path(), "tls-get.json5"),
    );
    let _sender = robot.role("send all 100", &name);
    let mut put = robot.bridge(&name, &format!("{PUT} tls/10.77.1.1:7447 --config {ours}"));
    put.wait_for_events("putting", 1);
    // Neither without TLS, nor without a certificate.
    let strangers = [TestName::new("plain"), TestName::new("bare")];
    let bare = scratch.path().join("bare.json5");
    let authority = scratch.path().join("ca.pem");
    let settings = format!(
        "{{ transport: {{ link: {{ tls: {{ root_ca_certificate: '{}' }} }} }} }}",
        authority.display()
    );
    fs::write(&bare, settings).unwrap();
    let mut plain = desk.bridge(&strangers[0], &format!("{GET} tcp/10.77.1.1:7447"));
    let words = format!("{GET} tls/10.77.1.1:7447 --config {}", bare.display());
    let mut bare = desk.bridge(&strangers[1], &words);
    let _get = desk.bridge(
        &name,
        &format!("{GET} tls/10.77.1.1:7447 --config {theirs}"),
    );
    let mut receiver = desk.role("receive all", &name);
    takes(&mut receiver, 100);
    for (stranger, name) in [&mut plain, &mut bare].into_iter().zip(&strangers) {
        let waiting = stranger.wait_for_events("waiting", 1);
        assert!(
            waiting[0]["why"]
                .as_str()
                .unwrap()
                .starts_with("no link to"),
            "{waiting:?}"
        );
        assert!(
            stranger.events("getting").is_empty() && !desk.has(name),
            "{}",
            stranger.stdout()
        );
    }
}

#[test]
fn users_need_their_password_and_see_what_they_are_allowed_to() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("users");
    let scratch = Scratch::new(&name);
    fs::write(scratch.path().join("users"), "desk:secret\nguest:welcome\n").unwrap();
    let settings = example(scratch.path(), "users-put.json5");
    let _sender = robot.role("send all 100", &name);
    let mut put = robot.bridge(
        &name,
        &format!("{PUT} tcp/10.77.1.1:7447 --config {settings}"),
    );
    put.wait_for_events("putting", 1);
    let get = |name: &TestName, user: &str, password: &str| {
        let file = scratch.path().join(format!("{user}-{password}.json5"));
        let text = format!(
            "{{ transport: {{ auth: {{ usrpwd: {{ user: '{user}', password: '{password}' }} }} }} }}"
        );
        fs::write(&file, text).unwrap();
        desk.bridge(
            name,
            &format!("{GET} tcp/10.77.1.1:7447 --config {}", file.display()),
        )
    };
    let refused = TestName::new("refused");
    let mut wrong = get(&refused, "desk", "guess");
    let guest = TestName::new("guest");
    let mut other = get(&guest, "guest", "welcome");
    let _get = get(&name, "desk", "secret");
    let mut receiver = desk.role("receive all", &name);
    takes(&mut receiver, 100);
    wrong.wait_for("no link to tcp/10.77.1.1:7447");
    // A link, and nothing that can be seen over it.
    other.wait_for("nobody puts frames under robot/cam");
    for (stranger, name) in [(&mut wrong, &refused), (&mut other, &guest)] {
        assert!(
            stranger.events("getting").is_empty() && !desk.has(name),
            "{}",
            stranger.stdout()
        );
    }
    assert!(
        !wrong.stderr().contains("nobody puts"),
        "{}",
        wrong.stderr()
    );
}

fn fails(words: &str, code: i32, text: &str) {
    let mut program = Program::start(Command::new(BRIDGE).args(words.split_whitespace()));
    program.ends_with(code);
    program.assert_stderr(text);
}

/// The commands that the documents show, in their order.
fn shown() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut commands = Vec::new();
    for file in ["README.md", "../docs/recipes.md", "src/args.rs"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let lines = text.lines().map(str::trim_start);
        let lines = lines.map(|line| {
            line.trim_start_matches("robot$ ")
                .trim_start_matches("desk$  ")
        });
        let shown = lines.filter(|line| {
            line.starts_with("shm-bridge put ") || line.starts_with("shm-bridge get ")
        });
        commands.extend(shown.map(str::to_owned));
    }
    commands
}

#[test]
fn the_commands_of_the_documents_carry_frames() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("shown");
    let _sender = robot.role("send 64x48x3 50", &name);
    let start = |machine: &Machine, words: &str| {
        let words = words.trim_end_matches([';', '"', '&', ' ']);
        let words = words
            .replace("tcp/robot:", "tcp/10.77.1.1:")
            .replace("--name /cam", &format!("--name {}", name.as_str()));
        let mut command = machine.command(BRIDGE);
        Program::start(command.args(words.split_whitespace().skip(1)))
    };
    let (mut get, mut count) = (None, 0);
    for words in shown() {
        if words.contains(" get ") {
            get = Some(words);
            continue;
        }
        count += 1;
        let mut put = start(&robot, &words);
        put.wait_for("putting ");
        // The last one of the help has no second one of its own.
        let shown = shown();
        let after = shown
            .iter()
            .skip_while(|shown| **shown != words)
            .find(|shown| shown.contains(" get "));
        let mut get = start(&desk, after.or(get.as_ref()).unwrap());
        get.wait_for("getting robot/cam into ");
        put.wait_for("robot/cam is subscribed to");
        let mut taken = desk.command("sh");
        taken.args([
            "-c",
            &format!(
                "until [ -e /dev/shm{} ]; do sleep 0.01; done",
                name.as_str()
            ),
        ]);
        Program::start(&mut taken).ends_with(0);
        assert!(put.running() && get.running());
    }
    assert!(count >= 5, "{count} commands");
}

#[test]
fn usage_errors_exit_2_and_name_what_is_wrong() {
    for (words, text) in [
        ("", "Usage: shm-bridge <COMMAND>"),
        ("put", "<KEY>"),
        ("put robot/*", "not a key like robot/cam"),
        ("put robot/@cam", "not a key like robot/cam"),
        ("get /robot", "not a key like robot/cam"),
        (
            "put cam --listen robot:7447",
            "not an endpoint like tcp/robot:7447",
        ),
        (
            "get cam --connect quic/robot:7447",
            "not an endpoint like tcp/robot:7447",
        ),
        ("put cam --jpeg 0", "--jpeg <QUALITY>"),
        ("put cam --max-fps 0", "not a number of frames per second"),
        ("get cam --mode 888", "not permissions in octal"),
        ("get cam --jpeg 90", "unexpected argument"),
        ("put cam --name a/b", "with no slash but the first"),
    ] {
        fails(words, 2, text);
    }
}

#[test]
fn errors_exit_1_with_what_to_do() {
    let name = TestName::new("errors");
    let scratch = Scratch::new(&name);
    let broken = scratch.path().join("broken.json5");
    fs::write(&broken, "{ transport: { link: { tx: { leese: 1 } } } }").unwrap();
    fails(
        &format!("get cam --config {}", broken.display()),
        1,
        "leese",
    );
    fs::write(&broken, "{").unwrap();
    fails(
        &format!("get cam --config {}", broken.display()),
        1,
        "broken.json5",
    );
    fails(
        "get cam --config /nowhere",
        1,
        "--config /nowhere: No such file or directory",
    );
    fails(
        "get cam --listen tcp/192.0.2.1:1",
        1,
        "cannot open tcp/192.0.2.1:1: ",
    );
}

#[test]
fn a_name_with_a_live_sender_is_taken_over_only_when_told_to() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("taken");
    let _sender = robot.role("send all 50", &name);
    let _put = robot.bridge(&name, &format!("{PUT} tcp/10.77.1.1:7447"));
    let mut other = desk.role("send 64x48x3 50", &name);
    let mut receiver = desk.command("sh");
    receiver.args([
        "-c",
        &format!(
            "until [ -e /dev/shm{} ]; do sleep 0.01; done",
            name.as_str()
        ),
    ]);
    Program::start(&mut receiver).ends_with(0);
    let mut get = desk.bridge(&name, &format!("{GET} tcp/10.77.1.1:7447"));
    get.ends_with(1);
    get.assert_stderr("has a live sender, pid ");
    get.assert_stderr("stop it, use another --name, or take over with --replace");
    let mut get = desk.bridge(&name, &format!("{GET} tcp/10.77.1.1:7447 --replace"));
    get.wait_for_events("got", 5);
    // The one that was there notices.
    other.end();
}

#[test]
fn a_desk_without_room_says_how_much_it_needs_and_goes_on_when_there_is_some() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("room");
    let _sender = robot.role("send 640x404x3 20", &name);
    let _put = robot.bridge(&name, &format!("{PUT} tcp/10.77.1.1:7447"));
    let size = |size: &str| {
        let mut mount = desk.command("mount");
        mount.args(["-o", &format!("remount,size={size}"), "/dev/shm"]);
        Program::start(&mut mount).ends_with(0);
    };
    size("1m");
    let mut get = desk.bridge(&name, &format!("{GET} tcp/10.77.1.1:7447"));
    get.wait_for_events("discarded", 1);
    get.wait_for("needs 3.1 MB, /dev/shm has 1.0 MB free: free some, or start the container with --shm-size=16m");
    size("16m");
    get.wait_for_events("got", 5);
}

#[test]
fn a_key_that_somebody_else_puts_frames_under_is_refused() {
    if !needs(MACHINES) {
        return;
    }
    let robots = [Machine::new(), Machine::new()];
    let _cable = Cable::between(&robots[0], &robots[1], 1);
    let name = TestName::new("key");
    let _senders = [
        robots[0].role("send all 50", &name),
        robots[1].role("send all 50", &name),
    ];
    let mut first = robots[0].bridge(&name, &format!("{PUT} tcp/10.77.1.1:7447"));
    first.wait_for_events("putting", 1);
    let mut second = robots[1].bridge(&name, "put robot/cam --connect tcp/10.77.1.1:7447");
    second.ends_with(1);
    second
        .assert_stderr("somebody else puts frames under robot/cam: stop that, or use another key");
}

#[test]
fn at_most_so_many_frames_a_second_and_in_all() {
    if !needs(MACHINES) {
        return;
    }
    let (robot, desk) = (Machine::new(), Machine::new());
    let _cable = Cable::between(&robot, &desk, 1);
    let name = TestName::new("pace");
    let _sender = robot.role("send 64x48x3 100", &name);
    let mut put = robot.bridge(&name, &format!("{PUT} tcp/10.77.1.1:7447 --max-fps 10"));
    let mut get = desk.bridge(&name, &format!("{GET} tcp/10.77.1.1:7447 --count 15"));
    get.ends_with(0);
    assert_eq!(get.events("got").len(), 15);
    put.wait_for("nobody subscribes");
    let frames = put.events("put");
    let first = frames.first().unwrap()["frame"].as_u64().unwrap();
    let last = frames.last().unwrap()["frame"].as_u64().unwrap();
    // The sender makes ten times as many. It may be late, and catch up.
    let sent = frames.len() as u64 - 1;
    assert!(
        sent * 4 <= last - first,
        "{sent} of frames {first} to {last}"
    );
    put.signal("INT");
    put.ends_with(0);
    let mut put = robot.bridge(&name, &format!("{PUT} tcp/10.77.1.1:7447 --count 5"));
    let mut get = desk.bridge(&name, &format!("{GET} tcp/10.77.1.1:7447"));
    put.ends_with(0);
    assert_eq!(put.events("put").len(), 5);
    get.wait_for_events("gone", 1);
    // A busy machine may take less than all, but always the newest.
    let last = get.events("got").pop().expect("frames came");
    assert_eq!(last["serial"], 5, "{}", get.stdout());
    let summary = get.summary();
    assert_eq!(number(&summary, "arrived"), 5, "{summary}");
    let taken = get.events("got").len() as u64;
    assert_eq!(number(&summary, "overtaken") + taken, 5, "{summary}");
}
