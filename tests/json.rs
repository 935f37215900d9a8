//! `docs/json.md` against the lines that both commands print with `--json`.
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;

use common::{Json as _, RECV, SEND, beside_a_camera, command, keys, needs, recv, send};
use serde_json::Value;
use shm_frame::{Extras, Format, FrameHeader, Sender, SenderOptions, Shape, Size};
use shm_frame_testing::{Program, Scratch, TestName, shape, wait_until};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md");

/// The types that a field has, by its name. A field inside another is `outer.inner`.
type Fields = BTreeMap<String, BTreeSet<&'static str>>;

/// The types that serde tells apart: a number with a fraction is not an integer.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn add_fields(fields: &mut Fields, prefix: &str, line: &Value) {
    for (key, value) in line.as_object().unwrap() {
        let name = format!("{prefix}{key}");
        if value.is_object() {
            add_fields(fields, &format!("{name}."), value);
        }
        fields.entry(name).or_default().insert(type_of(value));
    }
}

fn names(fields: &Fields) -> BTreeSet<&String> {
    fields.keys().collect()
}

/// A section of the document: an example line, and a table of fields.
#[derive(Debug)]
struct Section {
    example: String,
    table: Fields,
}

/// The sections of the document by the text of their headings, without backquotes.
fn document() -> BTreeMap<String, Section> {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let mut sections = BTreeMap::new();
    for part in text.split("\n### `shm-").skip(1) {
        let part = part.split("\n## ").next().unwrap();
        let (heading, body) = part.split_once('\n').unwrap();
        let heading = format!("shm-{heading}").replace('`', "");
        let (_, example) = body
            .split_once("```json\n")
            .unwrap_or_else(|| panic!("{heading}: there is no example"));
        let (example, rest) = example.split_once("\n```").unwrap();
        let table = rest.lines().filter_map(row).collect();
        let example = example.to_owned();
        let section = Section { example, table };
        assert!(
            sections.insert(heading.clone(), section).is_none(),
            "{heading} is there twice"
        );
    }
    sections
}

/// A row of a table: the field's name and types. `None`: another line.
fn row(line: &str) -> Option<(String, BTreeSet<&'static str>)> {
    const TYPES: [&str; 6] = ["null", "boolean", "number", "integer", "string", "object"];
    let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").collect();
    let [name, types, meaning, ..] = cells[..] else {
        panic!("a row has three cells: {line}");
    };
    assert!(meaning.len() > 2, "there is no meaning: {line}");
    let known = |word: &str| TYPES.into_iter().find(|known| *known == word);
    let types = types
        .split(" or ")
        .map(|word| known(word).unwrap_or_else(|| panic!("no type {word:?}: {line}")))
        .collect();
    Some((name.trim_end_matches('`').to_owned(), types))
}

/// Every kind of line that the commands can print, by the headings of the document.
#[derive(Default)]
struct Printed(BTreeMap<String, Vec<String>>);

impl Printed {
    fn events(&mut self, program: &str, from: &Program) {
        for line in from.stdout().lines() {
            let parsed: Value = serde_json::from_str(line).unwrap();
            let event = parsed["event"].as_str().unwrap();
            self.add(format!("{program}: {event}"), line);
        }
    }

    fn lines(&mut self, heading: &str, from: &Program) {
        for line in from.stdout().lines() {
            self.add(heading.to_owned(), line);
        }
    }

    fn add(&mut self, heading: String, line: &str) {
        self.0.entry(heading).or_default().push(line.to_owned());
    }
}

/// A sender and receivers through all that can happen to them.
fn print_events(printed: &mut Printed) {
    let name = TestName::new("json-events");
    let mut receiver = recv(&name, "--json");
    receiver.wait_for_events("waiting", 1);
    // A sender that ends, and one that dies.
    let mut sender = send(&name, "--json --size 64x48");
    receiver.wait_for_events("frame", 2);
    sender.interrupt();
    printed.events("shm-send", &sender);
    receiver.wait_for_events("closed", 1);
    let mut sender = send(&name, "--json --size 64x48");
    receiver.wait_for_events("attached", 2);
    sender.kill();
    receiver.wait_for_events("lost", 1);
    fs::remove_file(name.file()).unwrap();
    // A segment without a control page.
    let header = FrameHeader {
        width: 8,
        height: 8,
        channels: 3,
        timestamp_ms: 0,
        frame_valid: 1,
    };
    let file = File::create(name.file()).unwrap();
    file.set_len(24 + 8 * 8 * 3).unwrap();
    file.write_all_at(&header.encode(), 0).unwrap();
    receiver.wait_for_events("attached", 3);
    fs::remove_file(name.file()).unwrap();
    receiver.wait_for_events("lost", 2);
    receiver.interrupt();
    printed.events("shm-recv", &receiver);

    // Frames that are not expected, and frames that cannot be used.
    for args in ["--width 640", "--height 640 --channels 1"] {
        let mut receiver = recv(&name, &format!("--json {args}"));
        let capacity = shape(64, 48, 4).bytes();
        let options = SenderOptions::new().capacity(capacity);
        let mut sender = Sender::create(&name.name(), &options).unwrap();
        receiver.wait_for_events("attached", 1);
        let size = Size {
            width: 64,
            height: 48,
        };
        let shape = Shape::new(size, Format::BGR8).unwrap();
        sender.publish(shape, &vec![7; shape.bytes()]).unwrap();
        receiver.wait_for_events("mismatch", 1);
        // A header that says nothing, whatever slot it is in.
        receiver.stop();
        sender.publish(shape, &vec![7; shape.bytes()]).unwrap();
        let file = File::options().write(true).open(name.file()).unwrap();
        let stride = (file.metadata().unwrap().len() - 4096) / 4;
        for slot in 0..4 {
            file.write_all_at(&9_i32.to_le_bytes(), slot * stride + 8)
                .unwrap();
        }
        receiver.signal("CONT");
        receiver.wait_for_events("discarded", 1);
        receiver.interrupt();
        printed.events("shm-recv", &receiver);
    }

    // Frames with a time of capture and bytes of the sender's own, JSON and others.
    let mut receiver = recv(&name, "--json");
    let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
    receiver.wait_for_events("attached", 1);
    let shape = Shape::new(
        Size {
            width: 8,
            height: 8,
        },
        Format::GRAY16,
    )
    .unwrap();
    for (i, meta) in [&b"{}"[..], b"exposure 0.01"].into_iter().enumerate() {
        let extras = Extras::new()
            .captured_ns(1_764_086_399_980_125_000)
            .meta(meta);
        sender
            .publish_with(shape, &vec![7; shape.bytes()], extras)
            .unwrap();
        receiver.wait_for_events("frame", i + 1);
    }
    receiver.interrupt();
    printed.events("shm-recv", &receiver);

    drop(sender);
    // Summaries without a frame.
    let mut receiver = recv(&name, "--json --timeout 0.1");
    receiver.ends_with(1);
    printed.events("shm-recv", &receiver);
    let script = r#"exec "$0" --name "$1" --json --raw 64x48x3 < /dev/null"#;
    let mut sender = Command::new("sh");
    let mut sender = Program::start(sender.args(["-c", script, SEND, name.as_str()]));
    sender.ends_with(1);
    printed.events("shm-send", &sender);
}

/// The numbers of a stream for browsers, before its first frame and after it.
fn print_served(printed: &mut Printed) {
    let name = TestName::new("json-serve");
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let mut receiver = recv(&name, &format!("--json --view none --serve {address}"));
        let serving = receiver.wait_for_events("serving", 1).remove(0);
        let address = serving["address"].as_str().unwrap();
        let port = address.rsplit_once(':').unwrap().1;
        let ask = || {
            let token = serving["token"].as_str().unwrap_or_default();
            let request = format!(
                "GET /streams.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Authorization: Bearer {token}\r\n\r\n"
            );
            let mut socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            let (_, json) = answer.split_once("\r\n\r\n").unwrap();
            let (_, stream) = json.split_once("\"streams\":[").unwrap();
            stream.trim_end_matches("]}").to_owned()
        };
        let mut add = || {
            let stream = ask();
            printed.add("shm-recv --serve: a stream".to_owned(), &stream);
            stream
        };
        let is = |stream: &str, state: &str| stream.contains(&format!("\"state\":\"{state}\""));
        wait_until("it waits", || !add().contains("\"why\":null"));
        let mut sender = send(&name, "--size 64x48");
        wait_until("it lives", || is(&add(), "live"));
        wait_until("it has delays", || add().contains("\"delays_ms\":{"));
        sender.interrupt();
        wait_until("it is gone", || is(&add(), "gone"));
        receiver.interrupt();
        printed.events("shm-recv", &receiver);
    }
}

/// The lines beside saved pictures, and those of cameras.
fn print_files(printed: &mut Printed) {
    let name = TestName::new("json-files");
    let shape = shape(64, 48, 1);
    let options = SenderOptions::new().capacity(shape.bytes() + 64);
    let mut sender = Sender::create(&name.name(), &options).unwrap();
    let scratch = Scratch::new(&name);
    let mut save = command(RECV, &name, "--json --view none --save");
    let mut receiver = Program::start(save.arg(scratch.path()));
    receiver.wait_for_events("attached", 1);
    for (i, meta) in [&b"{}"[..], b"exposure 0.01", b""].into_iter().enumerate() {
        let captured_ns = if meta.is_empty() {
            0
        } else {
            1_764_086_399_980_125_000
        };
        let extras = Extras::new().captured_ns(captured_ns).meta(meta);
        sender
            .publish_with(shape, &vec![7; shape.bytes()], extras)
            .unwrap();
        receiver.wait_for_events("frame", i + 1);
    }
    receiver.interrupt();
    let lines = fs::read_to_string(scratch.path().join("frames.jsonl")).unwrap();
    for line in lines.lines() {
        printed.add("shm-recv --save".to_owned(), line);
    }

    // Cameras.
    let mut list = beside_a_camera(&scratch, "--camera list --json");
    list.ends_with(0);
    printed.lines("shm-send --camera list", &list);
}

/// The lines of intervals, with frames and without.
fn print_intervals(printed: &mut Printed) {
    let timed = TestName::new("json-interval");
    let mut sender = send(&timed, "--json --fps 100");
    let mut receiver = recv(&timed, "--json --interval 0.2");
    receiver.wait_for_events("interval", 2);
    sender.interrupt();
    receiver.wait_for_events("closed", 1);
    let intervals = receiver.events("interval").len();
    receiver.wait_for_events("interval", intervals + 2);
    receiver.interrupt();
    printed.events("shm-recv", &receiver);
}

/// Segments of all kinds in a `/dev/shm` of their own, listed and removed.
fn print_inventory(printed: &mut Printed) {
    let script = "mount -t tmpfs tmpfs /dev/shm && echo ready && exec sleep 600";
    let mut holder = Command::new("unshare");
    holder.args(["--map-root-user", "--mount", "sh", "-c", script]);
    let mut holder = Program::start(&mut holder);
    holder.wait_for("ready");
    let pid = holder.pid().to_string();
    let inside = |program: &str| {
        let mut inside = Command::new("nsenter");
        inside.args(["--user", "--preserve-credentials", "--mount", "--target"]);
        inside.args([&pid, program]).env_remove("DISPLAY");
        inside
    };
    let path = |name: &str| format!("/proc/{pid}/root/dev/shm/{name}");
    let start = |name: &str, args: &str| {
        let mut start = inside(SEND);
        start.args(["--json", "--name", name, "--size", "64x48"]);
        let mut sender = Program::start(start.args(args.split_whitespace()));
        sender.wait_for_events("sent", 3);
        sender
    };
    let _live = start("/live", "");
    for name in ["/dead", "/kept"] {
        start(name, "").kill();
    }
    // Another user's, as far as permissions go: root without its powers may not write it.
    fs::set_permissions(path("kept"), fs::Permissions::from_mode(0o444)).unwrap();
    // A sender without a frame: its pipe is open, and nobody writes into it.
    let line =
        r#"mkfifo /dev/shm/fifo && exec "$0" --name /empty --json --raw 8x8x3 <> /dev/shm/fifo"#;
    let mut waiting = Program::start(inside("sh").args(["-c", line, SEND]));
    waiting.wait_for("sending");
    let mut plain = File::create(path("plain")).unwrap();
    let header = FrameHeader {
        width: 8,
        height: 8,
        channels: 3,
        timestamp_ms: 1_700_000_000_000,
        frame_valid: 1,
    };
    plain.write_all(&header.encode()).unwrap();
    plain.write_all(&[7; 8 * 8 * 3]).unwrap();

    let mut list = Program::start(inside(RECV).args(["--list", "--json"]));
    list.ends_with(0);
    printed.lines("shm-recv --list", &list);
    let mut clean = inside("setpriv");
    clean.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    let mut clean = Program::start(clean.args([RECV, "--clean", "--json"]));
    clean.ends_with(1);
    printed.lines("shm-recv --clean", &clean);
}

/// Whether a field has values only for ranges of sizes or rates, which the camera of this test does
/// not have: a unit test has.
fn only_ranges(field: &str, heading: &str) -> bool {
    heading.ends_with("--camera list") && field.starts_with("min_")
}

#[test]
fn the_document_has_exactly_the_lines_and_fields_that_are_printed() {
    if !needs("unshare nsenter setpriv gcc") {
        return;
    }
    let mut printed = Printed::default();
    print_events(&mut printed);
    print_files(&mut printed);
    print_intervals(&mut printed);
    print_served(&mut printed);
    print_inventory(&mut printed);
    let document = document();
    assert_eq!(
        document.keys().collect::<Vec<_>>(),
        printed.0.keys().collect::<Vec<_>>(),
        "documented (left), printed (right)"
    );
    for (heading, Section { example, table }) in &document {
        let lines = &printed.0[heading];
        let mut fields = Fields::new();
        // A null in the place of an object hides the fields inside it: the longest is complete.
        let mut longest = Vec::new();
        for line in lines {
            add_fields(&mut fields, "", &serde_json::from_str(line).unwrap());
            let keys = keys(line);
            if keys.len() > longest.len() {
                longest = keys;
            }
        }
        assert_eq!(
            names(table),
            names(&fields),
            "{heading}: the table (left) has other fields than {lines:?}"
        );
        assert_eq!(
            keys(example),
            longest,
            "{heading}: the example has other fields, or another order"
        );
        for (name, types) in &fields {
            let documented = &table[name];
            assert!(
                types.is_subset(documented),
                "{heading}: {name} is {types:?}, not {documented:?}"
            );
            // A null may be rarer than this test can bring about.
            let never: Vec<_> = documented.difference(types).collect();
            assert!(
                never.is_empty() || never == [&"null"] || only_ranges(name, heading),
                "{heading}: {name} is never {never:?}"
            );
        }
        let mut examples = Fields::new();
        add_fields(&mut examples, "", &serde_json::from_str(example).unwrap());
        for (name, types) in &examples {
            assert!(
                types.is_subset(&table[name]),
                "{heading}: the example's {name} is {types:?}"
            );
        }
    }
}

#[test]
fn every_line_is_one_object_and_text_goes_elsewhere() {
    let name = TestName::new("json-text");
    let mut sender = Program::start(&mut command(SEND, &name, "--json --size 64x48"));
    let mut receiver = recv(&name, "--json --count 3");
    receiver.ends_with(0);
    sender.interrupt();
    for program in [&sender, &receiver] {
        assert!(program.json().len() > 3);
        program.assert_stderr(" frames/s");
    }
}
