//! `shm-recv --serve`, by a small client of HTTP, and by Chromium as a user has it.
mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Json as _, RECV, command, needs, recv, send};
use serde_json::{Value, json};
use shm_frame::{Channels, Element, Format, Sender, SenderOptions, Shape, Size};
use shm_frame_testing::frames::Random;
use shm_frame_testing::{PATIENCE, Program, Scratch, TestName, wait_until};
use tungstenite::{Message, WebSocket};

/// A receiver that serves, and the port.
struct Served {
    receiver: Program,
    port: u16,
    token: Option<String>,
}

impl Served {
    fn start(name: &TestName, args: &str) -> Self {
        let mut receiver = recv(name, &format!("--view none --quiet --json {args}"));
        let serving = receiver.wait_for_events("serving", 1).remove(0);
        let address = serving["address"].as_str().unwrap();
        Self {
            port: address.rsplit_once(':').unwrap().1.parse().unwrap(),
            token: serving["token"].as_str().map(str::to_owned),
            receiver,
        }
    }

    fn local(name: &TestName) -> Self {
        Self::start(name, "--serve 0")
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(path, "")
    }

    /// With further header lines, each with its end.
    fn ask(&self, path: &str, headers: &str) -> Answer {
        let host = format!("Host: 127.0.0.1:{}\r\n", self.port);
        self.say(&format!(
            "GET {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n"
        ))
    }

    fn say(&self, request: &str) -> Answer {
        let mut socket = self.connect();
        socket.write_all(request.as_bytes()).unwrap();
        Answer::read(socket)
    }

    /// Asks for pictures without an end, and reads nothing.
    fn watch(&self, name: &TestName) -> TcpStream {
        let mut socket = self.connect();
        let path = format!("{}.mjpg", name.as_str());
        write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        socket
    }

    /// The only stream's numbers.
    fn numbers(&self) -> Value {
        self.get("/streams.json").json()["streams"][0].clone()
    }

    fn number(&self, key: &str) -> u64 {
        let numbers = self.numbers();
        numbers[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {numbers}"))
    }

    /// Waits until so many more frames were received.
    fn wait_for_frames(&self, more: u64) {
        let begin = self.number("frames");
        wait_until("frames were received", || {
            self.number("frames") >= begin + more
        });
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    /// As they are, in small letters.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(mut socket: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // What was sent and not read makes a reset of the end.
        if let Err(error) = socket.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec())
            .unwrap()
            .to_lowercase();
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn shape(width: u32, height: u32, format: Format) -> Shape {
    Shape::new(Size { width, height }, format).unwrap()
}

fn sender(name: &TestName, shape: Shape) -> Sender {
    let options = SenderOptions::new().capacity(shape.bytes());
    Sender::create(&name.name(), &options).unwrap()
}

/// Pixels that differ, of any format.
fn pixels(shape: Shape, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    (0..shape.bytes())
        .map(|_| u8::try_from(random.below(256)).unwrap())
        .collect()
}

/// The size of a JPEG, by its frame header.
fn jpeg_size(jpeg: &[u8]) -> (u16, u16) {
    assert_eq!(jpeg[..2], [0xFF, 0xD8], "no JPEG");
    let mut at = 2;
    while !matches!(jpeg[at + 1], 0xC0..=0xC2) {
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
    let word = |at| u16::from_be_bytes([jpeg[at], jpeg[at + 1]]);
    (word(at + 7), word(at + 5))
}

/// The pixels of a PNG, as it has them: red first, and the high byte of 16 bits.
fn decoded(file: Vec<u8>) -> Vec<u8> {
    let mut png = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; png.output_buffer_size().unwrap()];
    png.next_frame(&mut pixels).unwrap();
    pixels
}

#[test]
fn a_still_and_a_pixel_have_the_values_that_were_sent() {
    let name = TestName::new("serve-exact");
    let served = Served::local(&name);
    let shape = shape(31, 17, Format::GRAY16);
    let sent = pixels(shape, 1);
    let mut sender = sender(&name, shape);
    sender.publish(shape, &sent).unwrap();
    wait_until("it is received", || served.number("frames") == 1);
    let still = served.get(&format!("{}.png", name.as_str()));
    assert_eq!(
        still.header("content-type"),
        Some("image/png"),
        "{}",
        still.head
    );
    let file = format!("utf-8''{}-000001.png", &name.as_str()[1..]);
    assert!(
        still
            .header("content-disposition")
            .unwrap()
            .ends_with(&file),
        "{}",
        still.head
    );
    let mut decoded = decoded(still.body);
    // PNG has the high byte first.
    decoded.chunks_exact_mut(2).for_each(<[u8]>::reverse);
    assert_eq!(decoded, sent);

    let pixel = served
        .get(&format!("{}/pixel?x=30&y=2", name.as_str()))
        .json();
    let at = 2 * (2 * 31 + 30);
    let value = u16::from_le_bytes([sent[at], sent[at + 1]]);
    assert_eq!(
        (&pixel["values"], &pixel["element"]),
        (&json!([value]), &json!("u16"))
    );
    assert_eq!(
        (&pixel["frame"], &pixel["x"], &pixel["y"]),
        (&json!(1), &json!(30), &json!(2))
    );
    for outside in ["x=31&y=0", "x=0&y=17", "x=-1&y=0", "x=1", "x=1e9&y=2", ""] {
        let answer = served.get(&format!("{}/pixel?{outside}", name.as_str()));
        assert!(matches!(answer.status, 400 | 404), "{outside}: {answer:?}");
    }
}

#[test]
fn every_kind_of_pixel_can_be_seen_read_and_kept() {
    let name = TestName::new("serve-kinds");
    let served = Served::local(&name);
    let largest = shape(8, 4, Format::new(Element::F64, Channels::Four));
    let mut sender = sender(&name, largest);
    let mut frames = 0;
    for element in Element::ALL {
        for channels in Channels::ALL {
            let shape = shape(8, 4, Format::new(element, channels));
            sender.publish(shape, &pixels(shape, frames)).unwrap();
            frames += 1;
            wait_until("it is received", || served.number("frames") == frames);
            let jpeg = served.get(&format!("{}.jpg", name.as_str()));
            assert_eq!(jpeg.status, 200, "{shape}: {jpeg:?}");
            assert_eq!(jpeg.header("x-frame"), Some(frames.to_string().as_str()));
            assert_eq!(jpeg_size(&jpeg.body), (8, 4), "{shape}");
            let pixel = served
                .get(&format!("{}/pixel?x=7&y=3", name.as_str()))
                .json();
            assert_eq!(
                pixel["values"].as_array().unwrap().len(),
                channels.count(),
                "{pixel}"
            );
            let ending = served.numbers()["still"].as_str().unwrap().to_owned();
            for kind in ["png", "tiff", "npy"] {
                let still = served.get(&format!("{}.{kind}", name.as_str()));
                let has = kind == ending || kind == "npy";
                assert_eq!(still.status, if has { 200 } else { 404 }, "{shape}: {kind}");
                if !has {
                    let right = format!("take {}.{ending}", name.as_str());
                    assert!(still.text().contains(&right), "{}", still.text());
                }
            }
        }
    }
    // Numbers that JSON has not, and in as few digits as they have.
    let shape = shape(2, 2, Format::GRAY32F);
    let values = [0.1_f32, f32::NAN, f32::NEG_INFINITY, -7.0];
    let bytes: Vec<_> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    sender.publish(shape, &bytes).unwrap();
    wait_until("it is received", || served.number("frames") == frames + 1);
    for (at, value) in [json!(0.1), json!("NaN"), json!("-inf"), json!(-7.0)]
        .iter()
        .enumerate()
    {
        let path = format!("{}/pixel?x={}&y={}", name.as_str(), at % 2, at / 2);
        assert_eq!(&served.get(&path).json()["values"], &json!([value]));
    }
}

#[test]
fn who_comes_late_sees_the_last_frame_of_a_stream_that_stands_still() {
    let name = TestName::new("serve-late");
    let served = Served::local(&name);
    let shape = shape(64, 48, Format::BGR8);
    let mut sender = sender(&name, shape);
    for number in 1..=5 {
        sender.publish(shape, &pixels(shape, number)).unwrap();
        wait_until("it is received", || served.number("frames") == number);
    }
    assert!(!served.numbers()["watched"].as_bool().unwrap());
    let jpeg = served.get(&format!("{}.jpg", name.as_str()));
    assert_eq!(
        (jpeg.status, jpeg.header("x-frame")),
        (200, Some("5")),
        "{jpeg:?}"
    );
    // Nothing newer: the client is to ask again.
    let serial = jpeg.header("x-serial").unwrap();
    let newer = served.get(&format!("{}.jpg?after={serial}", name.as_str()));
    assert_eq!(newer.status, 204, "{newer:?}");
    // A page of a server before this one is not kept waiting.
    let newer = served.get(&format!("{}.jpg?after=1000000", name.as_str()));
    assert_eq!(newer.header("x-frame"), Some("5"), "{newer:?}");
}

#[test]
fn nothing_is_encoded_while_nobody_looks_and_each_frame_once_for_all() {
    let name = TestName::new("serve-once");
    let served = Served::local(&name);
    let _sender = send(&name, "--quiet --size 64x48 --fps 100");
    served.wait_for_frames(300);
    assert_eq!(served.number("encoded"), 0);

    let clients: Vec<_> = (0..20).map(|_| served.watch(&name)).collect();
    let before = served.number("frames");
    wait_until("pictures are made", || served.number("encoded") > 30);
    assert!(served.numbers()["watched"].as_bool().unwrap());
    let numbers = served.numbers();
    let [frames, encoded] = ["frames", "encoded"].map(|key| numbers[key].as_u64().unwrap());
    // One may have been kept before that.
    assert!(encoded <= frames - before + 1, "{numbers}");

    drop(clients);
    wait_until("nobody looks", || {
        !served.numbers()["watched"].as_bool().unwrap()
    });
    let encoded = served.number("encoded");
    served.wait_for_frames(300);
    assert_eq!(served.number("encoded"), encoded);
}

/// Reads pictures of a stream without end; their frames' numbers.
struct Pictures {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Pictures {
    fn new(socket: TcpStream) -> Self {
        let read = Vec::new();
        Self { socket, read }
    }

    fn next(&mut self) -> u64 {
        loop {
            let text = String::from_utf8_lossy(&self.read);
            // A chunk's head comes before the part's, and may lie inside of a picture.
            if let Some((_, rest)) = text.split_once("X-Frame: ")
                && let Some((number, _)) = rest.split_once("\r\n\r\n")
            {
                let number = number.parse().unwrap();
                let at = self
                    .read
                    .windows(9)
                    .position(|nine| nine == b"X-Frame: ")
                    .unwrap();
                self.read.drain(..at + 9);
                return number;
            }
            let mut bytes = [0; 1 << 14];
            let count = self.socket.read(&mut bytes).unwrap();
            assert!(count > 0, "the pictures ended");
            self.read.extend(&bytes[..count]);
        }
    }
}

#[test]
fn fifty_clients_of_which_half_never_read_slow_nobody() {
    let name = TestName::new("serve-fifty");
    let served = Served::local(&name);
    let _sender = send(&name, "--quiet --size 640x404 --fps 30");
    served.wait_for_frames(1);
    let stalled: Vec<_> = (0..25).map(|_| served.watch(&name)).collect();
    // What they have not read is more than they can be sent.
    served.wait_for_frames(60);
    let read = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..25 {
            scope.spawn(|| {
                let mut pictures = Pictures::new(served.watch(&name));
                let mut last = 0;
                for _ in 0..40 {
                    let number = pictures.next();
                    assert!(number > last, "{number} after {last}");
                    last = number;
                    read.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(read.into_inner(), 25 * 40);
    let begin = served.number("frame");
    let mut pictures = Pictures::new(served.watch(&name));
    assert!(pictures.next() >= begin, "the first picture is an old one");
    drop(stalled);
    wait_until("they are gone", || {
        served.get("/streams.json").json()["clients"] == 2
    });
}

#[test]
fn a_client_that_stops_for_a_while_goes_on_with_the_newest() {
    let name = TestName::new("serve-pause");
    let served = Served::local(&name);
    let _sender = send(&name, "--quiet --size 1280x720 --fps 60");
    let socket = served.watch(&name);
    // The client's memory holds few pictures.
    let mut pictures = Pictures::new(socket);
    pictures.next();
    served.wait_for_frames(600);
    let now = served.number("frame");
    let mut old = 0;
    while pictures.next() < now {
        old += 1;
    }
    // Of 600 frames; those are in the kernel's memory, at both ends.
    assert!(old < 300, "{old} old pictures");
}

#[test]
fn connections_beyond_the_limit_are_told_so_until_there_is_room() {
    let name = TestName::new("serve-limit");
    let served = Served::local(&name);
    let _sender = send(&name, "--quiet --size 64x48");
    let mut clients: Vec<_> = (0..64).map(|_| served.watch(&name)).collect();
    // The last one is served when all are.
    let mut byte = [0];
    for client in &mut clients {
        client.read_exact(&mut byte).unwrap();
    }
    let refused = served.get("/");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("5"))
    );
    assert!(
        refused.text().contains("64 connections"),
        "{}",
        refused.text()
    );
    clients.truncate(63);
    wait_until("there is room", || {
        served.get("/streams.json").status == 200
    });
}

#[test]
fn nonsense_on_the_socket_is_refused_in_silence() {
    let name = TestName::new("serve-nonsense");
    let mut served = Served::local(&name);
    let mut random = Random(7);
    for _ in 0..200 {
        let mut socket = served.connect();
        let length = 1 + random.below(2000);
        let bytes: Vec<_> = (0..length)
            .map(|_| u8::try_from(random.below(256)).unwrap())
            .collect();
        // It may have closed the connection.
        let _ = socket.write_all(&bytes);
    }
    wait_until("those are gone", || {
        let mut socket = served.connect();
        let _ = socket.write_all(
            b"GET /streams.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        );
        let mut answer = Vec::new();
        // As long as there are very many, they are closed without an answer.
        let _ = socket.read_to_end(&mut answer);
        answer.starts_with(b"HTTP/1.1 200")
    });
    let host = "Host: localhost\r\n";
    let long = "x".repeat(20_000);
    let many = "X: y\r\n".repeat(100);
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{host}X: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\n{host}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{host}{many}\r\n"), 431),
        (
            format!("POST / HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            405,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello"),
            413,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 99999999999\r\n\r\n"),
            413,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            413,
        ),
        (
            format!("GET /%ff%00.jpg HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            404,
        ),
        (
            format!("GET /../../etc/passwd HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            404,
        ),
        (
            format!("GET /?token=%zz&=&& HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
            200,
        ),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
    ] {
        let answer = served.say(&request);
        let begin = &request[..request.len().min(60)];
        assert_eq!(answer.status, status, "{begin:?}: {}", answer.head);
    }
    // A request that never ends, and a connection that says nothing, are closed.
    // So is HTTP/2.
    for begin in [
        "",
        "GET / HT",
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut socket = served.connect();
        socket.write_all(begin.as_bytes()).unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{begin:?}");
    }
    // So is one whose headers come byte by byte.
    let mut socket = served.connect();
    wait_until("a slow request is cut off", || {
        thread::sleep(Duration::from_millis(100));
        socket.write_all(b"G").is_err()
    });
    // Half of a connection.
    let mut socket = served.connect();
    socket.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let _ = socket.read_to_end(&mut Vec::new());
    assert_eq!(served.get("/").status, 200);
    served.receiver.interrupt();
    assert_eq!(served.receiver.events("serving").len(), 1);
    let lines = served.receiver.stderr();
    assert!(
        lines
            .lines()
            .all(|line| line.starts_with("serving on ") || line.contains(" frames in ")),
        "{lines}"
    );
}

#[test]
fn other_machines_need_the_token_and_are_given_it_as_a_cookie() {
    let name = TestName::new("serve-token");
    let served = Served::start(&name, "--serve 0.0.0.0:0");
    let _sender = send(&name, "--quiet --size 64x48");
    served.wait_for_frames_with_token(1);
    let token = served.token.clone().unwrap();
    assert_eq!(token.len(), 32);
    served.receiver.assert_stderr(&format!("/?token={token}"));
    let jpg = format!("{}.jpg", name.as_str());
    let wrong = "0".repeat(32);
    for path in ["/", "/streams.json", "/events", jpg.as_str(), "/nothing"] {
        for (query, header) in [
            (String::new(), String::new()),
            (format!("?token={wrong}"), String::new()),
            (format!("?token={}", &token[..31]), String::new()),
            ("?token=".to_owned(), String::new()),
            (String::new(), format!("Authorization: Bearer {wrong}\r\n")),
            (String::new(), format!("Authorization: Basic {token}\r\n")),
            (
                String::new(),
                format!("Cookie: shm-recv-{}={wrong}\r\n", served.port),
            ),
            (String::new(), format!("Cookie: other={token}\r\n")),
        ] {
            let answer = served.ask(&format!("{path}{query}"), &header);
            assert_eq!(answer.status, 401, "{path}{query} {header}");
            assert!(!answer.text().contains(&token));
        }
    }
    // By name too: a token cannot be guessed, wherever the name leads.
    let answer = served.say(&format!(
        "GET /?token={token} HTTP/1.1\r\nHost: robot.example\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/")),
        "{answer:?}"
    );
    let cookie = answer.header("set-cookie").unwrap();
    for word in ["httponly", "samesite=strict", "path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(
        served.ask(&jpg, &format!("Cookie: a=b; {pair}\r\n")).status,
        200
    );
    assert_eq!(served.ask("/", &format!("Cookie: {pair}\r\n")).status, 200);
    assert_eq!(
        served
            .ask("/", &format!("Authorization: Bearer {token}\r\n"))
            .status,
        200
    );
    // For programs that have neither.
    assert_eq!(served.get(&format!("{jpg}?token={token}")).status, 200);
    // A browser that follows a link has to make the next request by itself.
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    let answer = served.ask(&format!("/?token={token}"), link);
    assert_eq!(
        (answer.status, answer.header("refresh")),
        (200, Some("0; url=/")),
        "{answer:?}"
    );
}

impl Served {
    fn wait_for_frames_with_token(&self, more: u64) {
        let header = format!(
            "Authorization: Bearer {}\r\n",
            self.token.as_deref().unwrap()
        );
        let frames = || self.ask("/streams.json", &header).json()["streams"][0]["frames"].as_u64();
        wait_until("frames were received", || frames().unwrap() >= more);
    }
}

#[test]
fn pages_of_other_sites_get_nothing() {
    let name = TestName::new("serve-others");
    let served = Served::local(&name);
    assert_eq!(served.token, None);
    for host in [
        "evil.example",
        "localhost.evil.example",
        "0.0.0.0",
        "",
        "127.0.0.1.evil.example",
    ] {
        for path in ["/", "/streams.json", "/events"] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = served.say(&request);
            assert_eq!(answer.status, 403, "{host:?}: {answer:?}");
        }
    }
    for host in ["localhost", "127.0.0.1:80", "LOCALHOST:1234", "[::1]:80"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(served.say(&request).status, 200, "{host}");
    }
    // The name may stand in the line of the request, too.
    let request =
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(served.say(request).status, 403);
    for site in ["cross-site", "same-site"] {
        let headers = format!("Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: no-cors\r\n");
        assert_eq!(served.ask("/", &headers).status, 403, "{site}");
    }
    for path in ["/", "/streams.json", "/nothing", "/%2e%2e/"] {
        let answer = served.get(path);
        for (header, value) in [
            ("x-frame-options", "deny"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(
                answer.header(header),
                Some(value),
                "{path}: {}",
                answer.head
            );
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    // What the page's own script and style are known by is never the same.
    let nonces = [(); 2].map(|()| {
        let page = served.get("/");
        let policy = page.header("content-security-policy").unwrap().to_owned();
        let nonce = policy
            .split("'nonce-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap();
        assert_eq!(
            page.text().matches(&format!("nonce=\"{nonce}\"")).count(),
            2
        );
        nonce.to_owned()
    });
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn the_death_of_a_sender_is_told_and_its_last_frame_stays() {
    let name = TestName::new("serve-death");
    let served = Served::local(&name);
    let path = format!("{}.jpg", name.as_str());
    let before = served.get(&path);
    assert_eq!(before.status, 503);
    assert!(
        before.text().contains("there is no segment"),
        "{}",
        before.text()
    );
    assert_eq!(served.numbers()["state"], "waiting");

    let mut sender = send(&name, "--quiet --size 64x48");
    wait_until("it lives", || served.numbers()["state"] == "live");
    assert_eq!(served.numbers()["why"], Value::Null);
    assert_eq!(served.get(&path).status, 200);
    sender.stop();
    wait_until("it stands still", || served.numbers()["state"] == "stale");
    let why = served.numbers()["why"].as_str().unwrap().to_owned();
    assert!(why.contains("publishes nothing"), "{why}");
    sender.signal("CONT");
    wait_until("it lives again", || served.numbers()["state"] == "live");

    sender.kill();
    wait_until("it is gone", || served.numbers()["state"] == "gone");
    let numbers = served.numbers();
    let why = numbers["why"].as_str().unwrap();
    assert!(why.contains("left by a sender that is gone"), "{why}");
    assert!(
        numbers["silent_ms"].as_f64().unwrap() > 0.0 && numbers["fps"] == 0.0,
        "{numbers}"
    );
    assert_eq!(served.get(&path).status, 200);
    let _sender = send(&name, "--quiet --size 64x48");
    wait_until("it is back", || served.numbers()["state"] == "live");
}

/// Reads server-sent events until there are so many.
fn events(mut socket: TcpStream, count: usize) -> Vec<(String, Value)> {
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let mut bytes = [0; 4096];
        let read = socket.read(&mut bytes).unwrap();
        assert!(read > 0, "the events ended");
        text.push_str(str::from_utf8(&bytes[..read]).unwrap());
    }
    let names = text.lines().filter_map(|line| line.strip_prefix("event: "));
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let parsed = names.zip(data).take(count);
    parsed
        .map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap()))
        .collect()
}

#[test]
fn events_have_the_history_once_and_then_the_numbers_again_and_again() {
    let name = TestName::new("serve-events");
    let served = Served::local(&name);
    let _sender = send(&name, "--quiet --size 64x48 --fps 100");
    served.wait_for_frames(200);
    let mut socket = served.connect();
    write!(socket, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let events = events(socket, 6);
    assert_eq!(events[0].0, "history");
    let past = events[0].1[name.as_str()].as_array().unwrap();
    let delays = past.iter().rev().find(|delays| !delays.is_null()).unwrap();
    let [min, mean, max] = ["min", "mean", "max"].map(|key| delays[key].as_f64().unwrap());
    assert!(min <= mean && mean <= max, "{delays}");
    let frames: Vec<_> = events[1..]
        .iter()
        .map(|(name, numbers)| {
            assert_eq!(name, "numbers");
            numbers["streams"][0]["frames"].as_u64().unwrap()
        })
        .collect();
    assert!(frames.is_sorted() && frames[0] < frames[4], "{frames:?}");
}

#[test]
fn names_are_as_in_dev_shm_whatever_is_in_them() {
    for part in ["serve name.jpg", "serve-ä%20?#&\"'<b>"] {
        let name = TestName::new(part);
        let served = Served::local(&name);
        let shape = shape(64, 48, Format::BGR8);
        let mut sender = sender(&name, shape);
        sender.publish(shape, &pixels(shape, 1)).unwrap();
        wait_until("it is received", || served.number("frames") == 1);
        let mut encoded = String::new();
        for byte in name.as_str()[1..].bytes() {
            write!(encoded, "%{byte:02x}").unwrap();
        }
        for ending in [".jpg", ".png", "/pixel?x=0&y=0"] {
            assert_eq!(
                served.get(&format!("/{encoded}{ending}")).status,
                200,
                "{part}{ending}"
            );
        }
    }
}

#[test]
fn a_port_that_cannot_be_had_is_an_error_with_a_remedy() {
    let name = TestName::new("serve-port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut receiver = recv(&name, &format!("--view none --serve {}", address.port()));
    receiver
        .ends_with(1)
        .assert_stderr(&format!("--serve cannot listen on {address}"));
    receiver.assert_stderr("in use");
    receiver.assert_stderr("another port, or 0 for a free one");
    let mut receiver = recv(&name, "--view none --serve 192.0.2.1:8080");
    receiver
        .ends_with(1)
        .assert_stderr("take an address of this machine");
    for wrong in [
        "--serve robot",
        "--serve 70000",
        "--serve 8080 --list",
        "--serve 8080 --clean",
    ] {
        let mut receiver = Program::start(Command::new(RECV).args(wrong.split(' ')));
        receiver.ends_with(2);
    }
    // Without --json, and --quiet: a free port has to be told.
    let mut receiver = Program::start(&mut command(RECV, &name, "--view none --quiet --serve 0"));
    receiver.wait_for("serving on http://127.0.0.1:");
    receiver.interrupt();
}

/// Chromium without a screen, and a page in it, by the protocol of its developers' tools.
struct Browser {
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    calls: u64,
    /// What the page's script threw, and what the browser refused to do for it.
    complaints: Vec<String>,
    _program: Program,
}

impl Browser {
    fn start(scratch: &Scratch) -> Self {
        let mut program = Command::new("chromium");
        program.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ]);
        program.args([
            "--disable-dev-shm-usage",
            "--remote-debugging-port=0",
            "about:blank",
        ]);
        program.arg(format!(
            "--user-data-dir={}",
            scratch.path().join("profile").display()
        ));
        let mut program = Program::start(&mut program);
        program.wait_for("DevTools listening on ");
        let stderr = program.stderr();
        let url = stderr.split("DevTools listening on ").nth(1).unwrap();
        let url = url.lines().next().unwrap();
        let host = url.split('/').nth(2).unwrap();
        let socket = TcpStream::connect(host).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(url, socket).unwrap();
        let mut browser = Self {
            socket,
            session: None,
            calls: 0,
            complaints: Vec::new(),
            _program: program,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap();
            let Ok(text) = message.to_text() else {
                continue;
            };
            let message: Value = serde_json::from_str(text).unwrap();
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.complaints.push(text.to_owned()),
                Some("Log.entryAdded") => {
                    let entry = &message["params"]["entry"];
                    // A connection that is lost is told by the network.
                    if entry["level"] == "error" && entry["source"] != "network" {
                        self.complaints.push(text.to_owned());
                    }
                }
                _ => {}
            }
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method} {params}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.wait_until("document.readyState === 'complete'");
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", &params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    fn text(&mut self, id: &str) -> String {
        let text = self.value(&format!("document.getElementById('{id}')?.textContent"));
        text.as_str().unwrap_or_default().to_owned()
    }

    fn wait_until(&mut self, expression: &str) {
        wait_until(&format!("{expression} in the page"), || {
            self.value(expression) == true
        });
    }

    fn wait_for_text(&mut self, id: &str, part: &str) {
        wait_until(&format!("#{id} has {part:?}"), || {
            self.text(id).contains(part)
        });
    }

    fn screen(&mut self, width: u32, height: u32, is_phone: bool, scheme: &str) {
        let metrics = json!({
            "width": width, "height": height, "mobile": is_phone,
            "deviceScaleFactor": if is_phone { 2 } else { 1 },
        });
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
        let touch = json!({"enabled": is_phone});
        self.call("Emulation.setTouchEmulationEnabled", &touch);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media);
        // The answers come before the page has its new size and scale.
        self.wait_until(&format!(
            "innerWidth === {width} && visualViewport.scale === 1"
        ));
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))");
    }

    fn screenshot(&mut self, path: &Path) {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let png = BASE64.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::write(path, png).unwrap();
    }

    /// The middle of an element, or another part of it.
    fn place(&mut self, id: &str, across: f64, down: f64) -> (f64, f64) {
        let place = self.value(&format!(
            "(() => {{ const e = document.getElementById('{id}'); e.scrollIntoView({{block: 'center'}});
               const r = e.getBoundingClientRect();
               return [r.left + r.width * {across}, r.top + r.height * {down}]; }})()"
        ));
        (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
    }

    fn mouse(&mut self, kind: &str, (x, y): (f64, f64)) {
        let button = if kind == "mouseMoved" { "none" } else { "left" };
        let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", &event);
    }

    fn click(&mut self, id: &str) {
        let place = self.place(id, 0.5, 0.5);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.mouse(kind, place);
        }
    }

    fn tap(&mut self, (x, y): (f64, f64)) {
        let begin = json!({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]});
        self.call("Input.dispatchTouchEvent", &begin);
        let end = json!({"type": "touchEnd", "touchPoints": []});
        self.call("Input.dispatchTouchEvent", &end);
    }

    fn key(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => panic!("no code for {key}"),
        };
        for kind in ["rawKeyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", &event);
        }
    }
}

const LANDSCAPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");

/// The least contrast of the page's texts to their ground, as WCAG 2 counts it.
const CONTRAST: &str = r"(() => {
  const level = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map(Number);
    return 0.2126 * level(r) + 0.7152 * level(g) + 0.0722 * level(b);
  };
  const ground = (e) => {
    const colour = getComputedStyle(e).backgroundColor;
    return /, 0\)$/.test(colour) ? ground(e.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll('h1,h2,label,select,#state,dt,dd,p,output,.button,#why')];
  return Math.min(...texts.map((e) => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a);
    return (a + 0.05) / (b + 0.05);
  }));
})()";

/// The picture that is sent, its pixels red first.
struct Landscape(Vec<u8>);

impl Landscape {
    const WIDTH: usize = 640;

    fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = 3 * (y * Self::WIDTH + x);
        *self.0[at..].first_chunk().unwrap()
    }

    /// What the page says of a pixel.
    fn told(&self, x: usize, y: usize) -> String {
        let [red, green, blue] = self.pixel(x, y);
        format!("x {x}, y {y}:  B {blue}  G {green}  R {red}  (u8, frame ")
    }

    /// What is shown is what was sent, but for what JPEG loses.
    fn is_shown(&self, browser: &mut Browser) {
        for (x, y) in [(100, 50), (400, 200), (600, 380)] {
            let read = format!("[...picture.getContext('2d').getImageData({x}, {y}, 1, 1).data]");
            let shown = browser.value(&read);
            for (i, sent) in self.pixel(x, y).into_iter().enumerate() {
                let shown = u8::try_from(shown[i].as_u64().unwrap()).unwrap();
                assert!(shown.abs_diff(sent) < 40, "{x}, {y}: {shown} for {sent}");
            }
        }
    }

    /// The pixel below the pointer, exactly; none when it is elsewhere; then by keys.
    fn is_read(&self, browser: &mut Browser, shots: &Path) {
        let place = browser.place("picture", 100.5 / 640.0, 50.5 / 404.0);
        browser.mouse("mouseMoved", place);
        browser.wait_for_text("pixel", &self.told(100, 50));
        browser.screenshot(&shots.join("desktop-pixel.png"));
        let above = browser.place("state", 0.5, 0.5);
        browser.mouse("mouseMoved", above);
        browser.wait_for_text("pixel", "Point at the picture");
        browser.value("document.activeElement.blur()");
        wait_until("Tab comes to the picture", || {
            browser.key("Tab");
            browser.value("document.activeElement.id") == "picture"
        });
        browser.key("ArrowRight");
        browser.wait_for_text("pixel", &self.told(321, 202));
        browser.key("ArrowLeft");
        browser.wait_for_text("pixel", &self.told(320, 202));
        browser.key("Escape");
        browser.wait_until("document.getElementById('cross').hidden");
    }

    fn is_read_by_a_tap(&self, browser: &mut Browser, shots: &Path) {
        browser.screen(390, 844, true, "dark");
        let place = browser.place("picture", 400.5 / 640.0, 200.5 / 404.0);
        browser.tap(place);
        browser.wait_until("point !== null");
        // A finger is no mouse, and a pixel of the picture less than one of the screen.
        let point = browser.value("[point.x, point.y]");
        let [x, y] = [0, 1].map(|i| usize::try_from(point[i].as_u64().unwrap()).unwrap());
        let view = browser.value("[innerWidth, innerHeight, scrollY, visualViewport.scale]");
        assert!(
            x.abs_diff(400) < 4 && y.abs_diff(200) < 4,
            "{point} for {place:?} in {view}"
        );
        browser.wait_for_text("pixel", &self.told(x, y));
        browser.screenshot(&shots.join("phone-tap.png"));
    }

    /// The still is the frame, bit by bit.
    fn is_saved(&self, browser: &mut Browser, scratch: &Scratch) {
        let behavior = json!({"behavior": "allow", "downloadPath": scratch.path()});
        browser.call("Browser.setDownloadBehavior", &behavior);
        browser.click("save");
        let mut still = None;
        wait_until("a still is saved", || {
            still = scratch.files().into_iter().find(|file| {
                let name = file.file_name().unwrap().to_str().unwrap();
                name.starts_with("shm-frame-test-serve-page")
                    && file.extension().is_some_and(|ending| ending == "png")
            });
            still.is_some()
        });
        assert_eq!(decoded(fs::read(still.unwrap()).unwrap()), self.0);
    }
}

/// Whatever can be used has a name, by which screen readers call it.
fn everything_has_a_name(browser: &mut Browser) {
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
    let mut named = 0;
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if ["combobox", "link", "button", "image", "img"].contains(&role) {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.is_empty(), "{node}");
            named += 1;
        }
    }
    // The choice of a stream, the picture, the still, the chart.
    assert!(named >= 4, "{named}: {tree}");
}

/// It can be read, and nothing is cut off.
fn it_fits_every_screen(browser: &mut Browser, shots: &Path) {
    for (width, height, is_phone, file) in [
        (1280, 720, false, "desktop"),
        (390, 844, true, "phone"),
        (320, 640, true, "small"),
    ] {
        for scheme in ["light", "dark"] {
            browser.screen(width, height, is_phone, scheme);
            browser.wait_until("document.documentElement.scrollWidth <= innerWidth");
            browser.wait_until("picture.getBoundingClientRect().width > innerWidth / 2");
            let contrast = browser.value(CONTRAST).as_f64().unwrap();
            assert!(contrast >= 4.5, "{file} {scheme}: {contrast}");
            browser.value("scrollTo(0, 0)");
            browser.screenshot(&shots.join(format!("{file}-{scheme}.png")));
        }
    }
}

#[test]
fn the_page_shows_the_stream_and_obeys_in_a_browser() {
    // Ubuntu has Chromium as a snap alone, which containers cannot run: scripts/test says so.
    if std::env::var_os("SHM_FRAME_NO_BROWSER").is_some() || !needs("chromium") {
        return;
    }
    let name = TestName::new("serve-page");
    let scratch = Scratch::new(&name);
    // To look at them, or to put them into assets.
    let kept = std::env::var_os("SHM_FRAME_SCREENSHOTS").map(PathBuf::from);
    let shots = kept.clone().unwrap_or_else(|| scratch.path().to_owned());
    let mut served = Served::local(&name);
    let landscape = Landscape(decoded(fs::read(LANDSCAPE).unwrap()));
    let sent = format!("--quiet --fps 30 --image {LANDSCAPE}");
    let mut browser = Browser::start(&scratch);
    browser.screen(1280, 720, false, "light");
    browser.open(&format!("http://localhost:{}/", served.port));

    // Before there is a sender.
    browser.wait_for_text("state", "waiting");
    browser.wait_for_text("why", "there is no segment");
    let mut sender = send(&name, &sent);
    browser.wait_for_text("state", "live");
    browser.wait_until("document.getElementById('why').hidden");
    browser.wait_until("picture.width === 640 && picture.height === 404");
    browser.wait_until("Number(document.getElementById('shown').textContent) > 1");
    browser.wait_for_text("size", "640x404");
    browser.wait_for_text("format", "3 u8 bgr");
    browser.wait_for_text("chart-text", "mean");
    browser.wait_until("document.getElementById('streams').value === chosen");
    landscape.is_shown(&mut browser);
    landscape.is_read(&mut browser, &shots);
    landscape.is_saved(&mut browser, &scratch);
    everything_has_a_name(&mut browser);
    if kept.is_some() {
        // The chart is full, and the name is none of a test.
        browser.value("document.querySelector('option').textContent = '/cam'");
        thread::sleep(Duration::from_secs(60));
    }
    it_fits_every_screen(&mut browser, &shots);
    landscape.is_read_by_a_tap(&mut browser, &shots);

    // A dead sender: since when, why, and a dark picture.
    sender.kill();
    browser.wait_for_text("state", "gone");
    browser.wait_for_text("why", "No frame since ");
    browser.wait_for_text("why", "left by a sender that is gone");
    browser.wait_until("getComputedStyle(picture).filter === 'brightness(0.4)'");
    browser.screenshot(&shots.join("phone-gone.png"));
    let _sender = send(&name, &sent);
    browser.wait_for_text("state", "live");
    browser.wait_until("getComputedStyle(picture).filter === 'none'");

    // A receiver that ends and comes again: the page goes on by itself.
    let port = served.port;
    served.receiver.interrupt();
    browser.wait_for_text("state", "no connection");
    browser.wait_for_text("why", "No connection to shm-recv since ");
    let served = Served::start(&name, &format!("--serve {port}"));
    browser.wait_for_text("state", "live");
    browser.value("times = []");
    browser.wait_until("times.length > 5");

    // A page that is left asks for nothing.
    browser.open("about:blank");
    wait_until("nobody looks", || {
        !served.numbers()["watched"].as_bool().unwrap()
    });

    // From another machine, with the token.
    let served = Served::start(&name, "--serve 0.0.0.0:0");
    let page = format!("http://127.0.0.1:{}/", served.port);
    browser.open(&page);
    browser.wait_until("document.body.textContent.includes('wants the token')");
    let token = served.token.as_deref().unwrap();
    browser.open(&format!("{page}?token={token}"));
    browser.wait_for_text("state", "live");
    browser.wait_until("!location.href.includes('token') && document.cookie === ''");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_stream_is_chosen_among_several_in_a_browser() {
    if std::env::var_os("SHM_FRAME_NO_BROWSER").is_some() || !needs("chromium") {
        return;
    }
    let [left, right] = [TestName::new("serve-left"), TestName::new("serve-right")];
    let scratch = Scratch::new(&left);
    let served = Served::start(&left, &format!("--name {} --serve 0", right.as_str()));
    let mut left_sender = send(&left, "--quiet --fps 30 --size 64x48");
    let _right_sender = send(&right, "--quiet --fps 30 --size 320x240");
    let mut browser = Browser::start(&scratch);
    browser.screen(1280, 720, false, "light");
    browser.open(&format!("http://localhost:{}/", served.port));
    browser.wait_until("document.getElementById('streams').options.length === 2");
    browser.wait_for_text("size", "64x48");
    browser.wait_until("picture.width === 64 && picture.height === 48");

    // By the keyboard, as who has no mouse does.
    browser.value("document.activeElement.blur()");
    wait_until("Tab comes to the choice", || {
        browser.key("Tab");
        browser.value("document.activeElement.id") == "streams"
    });
    browser.key("ArrowDown");
    let is_right = |browser: &mut Browser| {
        browser.wait_for_text("size", "320x240");
        browser.wait_until("picture.width === 320 && picture.height === 240");
        let title = browser.value("document.title");
        assert_eq!(title, format!("{} live", right.as_str()));
    };
    is_right(&mut browser);
    // Nobody looks at the other one any more.
    let watched = || {
        let streams = served.get("/streams.json").json()["streams"].clone();
        [0, 1].map(|i| streams[i]["watched"].as_bool().unwrap())
    };
    wait_until("the chosen one alone is watched", || {
        watched() == [false, true]
    });

    // The address has the choice, so that it can be kept.
    let address = browser.value("location.href");
    browser.open("about:blank");
    browser.open(address.as_str().unwrap());
    is_right(&mut browser);

    // The end of one is no end of the other, and is seen by who chooses it.
    left_sender.kill();
    wait_until("it is known to be gone", || {
        served.number("frames") > 0 && served.numbers()["state"] == "gone"
    });
    is_right(&mut browser);
    browser.value("document.getElementById('streams').focus()");
    browser.key("ArrowUp");
    browser.wait_for_text("state", "gone");
    browser.wait_for_text("why", "No frame since ");
    browser.wait_until("picture.width === 64 && picture.height === 48");
    browser.key("ArrowDown");
    browser.wait_for_text("state", "live");
    is_right(&mut browser);
    assert_eq!(browser.complaints, Vec::<String>::new());
}
