//! The window, on a display of its own, by screenshots and key presses.
mod common;

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{Json as _, RECV, SEND, needs};
use opencv::core::{self, Mat, MatTraitConst, MatTraitConstManual, Rect, Size};
use opencv::{imgcodecs, imgproc};
use shm_frame::{Sender, SenderOptions};
use shm_frame_testing::{Program, Scratch, TestName, shape, wait_until};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ClientMessageEvent, ConfigureWindowAux, ConnectionExt, EventMask};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");

/// An X server without a screen.
struct Display {
    server: Program,
    name: String,
}

impl Display {
    fn start() -> Self {
        let mut server = Program::start(Command::new("Xvfb").args([
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1280x800x24",
            // Without this the server restarts when its last client ends, which may be xdotool, and
            // drops clients that come meanwhile.
            "-noreset",
            "-nolisten",
            "tcp",
        ]));
        server.wait_until("it has a display", |server| server.stdout().ends_with('\n'));
        let name = format!(":{}", server.stdout().trim());
        Self { server, name }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.name)
            .env_remove("QT_QPA_PLATFORM")
            .env_remove("WAYLAND_DISPLAY");
        command
    }

    /// The output of a tool on this display.
    fn tool(&self, program: &str, args: &[&str]) -> String {
        let output = self
            .command(program)
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for the window with this title, and returns its number.
    fn window(&mut self, title: &str) -> String {
        let mut window = String::new();
        let (display, server) = (self.name.clone(), &mut self.server);
        server.wait_until(&format!("there is a window {title:?}"), |_| {
            let output = Command::new("xdotool")
                .args(["search", "--onlyvisible", "--name", title])
                .env("DISPLAY", &display)
                .output();
            let found = String::from_utf8(output.unwrap().stdout).unwrap();
            window = found.lines().next().unwrap_or("").trim().into();
            !window.is_empty()
        });
        window
    }

    fn screenshot(&self, window: &str) -> Mat {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("window-{}.png", self.name.trim_start_matches(':')));
        let file = file.to_str().unwrap();
        self.tool("import", &["-window", window, file]);
        imgcodecs::imread(file, imgcodecs::IMREAD_COLOR).unwrap()
    }
}

fn sender(name: &TestName) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_shm-send")).args([
        "--image",
        PICTURE,
        "--quiet",
        "--name",
        name.as_str(),
    ]))
}

fn receiver(display: &Display, name: &TestName) -> Program {
    let mut command = display.command(env!("CARGO_BIN_EXE_shm-recv"));
    Program::start(command.args(["--view", "window", "--json", "--name", name.as_str()]))
}

/// A receiver's window that shows the picture and has the keyboard focus.
struct Shown {
    display: Display,
    receiver: Program,
    window: String,
    picture: Mat,
    scratch: Scratch,
    _sender: Program,
    name: TestName,
}

/// The part of the window with the numbers, and the rest.
const CAPTION: Rect = Rect {
    x: 0,
    y: 0,
    width: 250,
    height: 20,
};
const BELOW: Rect = Rect {
    x: 0,
    y: 24,
    width: 640,
    height: 380,
};

impl Shown {
    fn new(test: &str) -> Self {
        let mut display = Display::start();
        let name = TestName::new(test);
        let scratch = Scratch::new(&name);
        let sender = sender(&name);
        let mut command = display.command(env!("CARGO_BIN_EXE_shm-recv"));
        command.args(["--view", "window", "--json", "--name", name.as_str()]);
        let receiver = Program::start(command.current_dir(scratch.path()));
        let window = display.window(&format!("shm-recv {}", name.as_str()));
        let mut shown = Self {
            picture: imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap(),
            display,
            receiver,
            window,
            scratch,
            _sender: sender,
            name,
        };
        shown.wait_until("the window shows the picture", |shown| {
            shown.differs(BELOW).is_some_and(|levels| levels < 3.0)
        });
        shown
            .display
            .tool("xdotool", &["windowfocus", "--sync", &shown.window]);
        shown
    }

    fn wait_until(&mut self, what: &str, happened: impl Fn(&Self) -> bool) {
        let end = Instant::now() + shm_frame_testing::PATIENCE;
        while !happened(self) {
            if Instant::now() > end || !self.receiver.running() {
                self.receiver.fail(&format!("waited in vain until {what}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn key(&self, key: &str) {
        self.display.tool("xdotool", &["key", key]);
    }

    fn screenshot(&self) -> Mat {
        self.display.screenshot(&self.window)
    }

    /// How much a part of the window differs from the same part of the picture.
    fn differs(&self, part: Rect) -> Option<f64> {
        let shown = self.screenshot();
        if shown.size().ok()? != self.picture.size().ok()? {
            return None;
        }
        let part = |mat: &Mat| Mat::roi(mat, part).unwrap().clone_pointee();
        difference(&part(&shown), &part(&self.picture))
    }
}

/// How much two pictures differ: the mean of all pixels and channels, in levels from 0 to 255.
/// `None`: they cannot be compared.
fn difference(shown: &Mat, picture: &Mat) -> Option<f64> {
    let size = shown.size().ok().filter(|size| size.width > 0)?;
    let mut scaled = Mat::default();
    imgproc::resize(
        picture,
        &mut scaled,
        Size::new(size.width, size.height),
        0.0,
        0.0,
        imgproc::INTER_LINEAR,
    )
    .unwrap();
    let sum = core::norm2_def(shown, &scaled)
        .map(|_| core::norm2(shown, &scaled, core::NORM_L1, &core::no_array()).unwrap());
    Some(sum.ok()? / f64::from(size.area() * 3))
}

#[test]
fn the_window_shows_the_picture_and_q_or_esc_ends() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    for key in ["q", "Escape"] {
        let mut shown = Shown::new("window");
        shown.key(key);
        shown.receiver.ends_with(0);
        shown.receiver.assert_stdout(r#"{"event":"summary""#);
    }
}

#[test]
fn the_close_button_ends_the_command() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut shown = Shown::new("window-close");
    // The message that a window manager sends for the button.
    let (connection, _) = x11rb::connect(Some(&shown.display.name)).unwrap();
    let atom = |name: &[u8]| {
        connection
            .intern_atom(false, name)
            .unwrap()
            .reply()
            .unwrap()
            .atom
    };
    let data = [atom(b"WM_DELETE_WINDOW"), 0, 0, 0, 0];
    let window = shown.window.parse().unwrap();
    let close = ClientMessageEvent::new(32, window, atom(b"WM_PROTOCOLS"), data);
    connection
        .send_event(false, window, EventMask::NO_EVENT, close)
        .unwrap();
    connection.flush().unwrap();
    shown.receiver.ends_with(0);
}

#[test]
fn h_hides_the_numbers_on_the_picture_and_shows_them_again() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut shown = Shown::new("window-numbers");
    let with_numbers = |shown: &Shown| shown.differs(CAPTION).is_some_and(|levels| levels > 20.0);
    let without = |shown: &Shown| shown.differs(CAPTION).is_some_and(|levels| levels < 3.0);
    shown.wait_until("the numbers are there", with_numbers);
    shown.key("h");
    shown.wait_until("they are hidden", without);
    shown.key("h");
    shown.wait_until("they are there again", with_numbers);
}

#[test]
fn space_freezes_the_picture_but_not_the_receiving() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut shown = Shown::new("window-freeze");
    shown.key("space");
    shown.key("h");
    // Another sender takes the name, with a moving picture.
    let name = shown.name.as_str();
    let mut moving = Program::start(Command::new(env!("CARGO_BIN_EXE_shm-send")).args([
        "--quiet",
        "--replace",
        "--name",
        name,
    ]));
    shown.receiver.wait_for_events("attached", 2);
    let frames = shown.receiver.events("frame").len();
    shown.receiver.wait_for_events("frame", frames + 10);
    assert!(
        shown.differs(BELOW).unwrap() < 3.0,
        "it is still the picture"
    );
    shown.key("space");
    shown.wait_until("the moving picture is shown", |shown| {
        shown.differs(BELOW).is_some_and(|levels| levels > 20.0)
    });
    moving.signal("INT");
    moving.end();
}

#[test]
fn s_saves_the_picture_and_says_where() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut shown = Shown::new("window-save");
    shown.key("s");
    shown.receiver.wait_for("saved ");
    let files = shown.scratch.files();
    assert_eq!(files.len(), 1);
    shown
        .receiver
        .assert_stderr(&format!("saved {}", files[0].display()));
    let saved = imgcodecs::imread(files[0].to_str().unwrap(), imgcodecs::IMREAD_UNCHANGED).unwrap();
    // The frame, without the numbers on it.
    assert_eq!(
        saved.data_bytes().unwrap(),
        shown.picture.data_bytes().unwrap()
    );
}

#[test]
fn the_picture_keeps_its_proportions_in_any_window() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut shown = Shown::new("window-ratio");
    shown.key("h");
    for (width, height) in [(900, 404), (640, 700)] {
        let size = [width, height].map(|side: i32| side.to_string());
        shown.display.tool(
            "xdotool",
            &["windowsize", "--sync", &shown.window, &size[0], &size[1]],
        );
        let inside = Rect {
            x: (width - 640) / 2,
            y: (height - 404) / 2,
            width: 640,
            height: 404,
        };
        shown.wait_until("the picture is in the middle", |shown| {
            let screenshot = shown.screenshot();
            if screenshot.cols() != width || screenshot.rows() != height {
                return false;
            }
            let part = |part: Rect| Mat::roi(&screenshot, part).unwrap().clone_pointee();
            let corner = core::mean_def(&part(Rect::new(0, 0, 20, 20))).unwrap();
            let picture = difference(&part(inside), &shown.picture);
            picture.is_some_and(|levels| levels < 3.0) && corner[0] < 1.0
        });
    }
}

#[test]
fn a_single_frame_fills_the_window_at_first_and_after_it_was_resized() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    for (picture, first, later) in [
        ((16, 12), (320, 240), [(800, 600), (160, 120), (400, 300)]),
        (
            (2560, 1440),
            (1280, 720),
            [(640, 360), (960, 540), (320, 180)],
        ),
    ] {
        let mut display = Display::start();
        let name = TestName::new("window-fills");
        let shape = shape(picture.0, picture.1, 3);
        let options = SenderOptions::new().capacity(shape.bytes());
        let mut sender = Sender::create(&name.name(), &options).unwrap();
        // Its left half is red and its right half is blue.
        let half = usize::try_from(picture.0 / 2).unwrap();
        let row = [[0, 0, 255], [255, 0, 0]].map(|colour| colour.repeat(half));
        let pixels = row.concat().repeat(usize::try_from(picture.1).unwrap());
        let mut receiver = receiver(&display, &name);
        let id = display.window(&format!("shm-recv {}", name.as_str()));
        receiver.wait_until("the window waits for a frame", |_| {
            let screenshot = display.screenshot(&id);
            (screenshot.cols(), screenshot.rows()) == (640, 360)
        });
        sender.publish(shape, &pixels).unwrap();
        let (connection, _) = x11rb::connect(Some(&display.name)).unwrap();
        for (width, height) in [first].into_iter().chain(later) {
            if (width, height) != first {
                // Its middle stays in the middle of the display, as when a window is maximized.
                let place = ConfigureWindowAux::new()
                    .x((1280 - width) / 2)
                    .y((800 - height) / 2)
                    .width(u32::try_from(width).unwrap())
                    .height(u32::try_from(height).unwrap());
                connection
                    .configure_window(id.parse().unwrap(), &place)
                    .unwrap()
                    .check()
                    .unwrap();
            }
            let what = format!("the picture of {picture:?} fills a window of {width}x{height}");
            receiver.wait_until(&what, |_| {
                let screenshot = display.screenshot(&id);
                if (screenshot.cols(), screenshot.rows()) != (width, height) {
                    return false;
                }
                // The numbers are at the top.
                let has = |x, colour: [f64; 3]| {
                    let half = Rect::new(x, height / 2, width / 2, height / 2);
                    let mean = core::mean_def(&Mat::roi(&screenshot, half).unwrap()).unwrap();
                    // After a second without another frame the picture is dimmed.
                    let [full, dimmed] = [1.0, 0.4].map(|level| {
                        let close = |(a, b): (f64, f64)| (a - b * level).abs() < 0.01;
                        mean.iter().copied().zip(colour).all(close)
                    });
                    full || dimmed
                };
                has(0, [0.0, 0.0, 255.0]) && has(width / 2, [255.0, 0.0, 0.0])
            });
        }
        receiver.interrupt();
    }
}

#[test]
fn frames_of_any_size_get_a_visible_window() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    for (size, window) in [
        ("1x1", "320x320"),
        ("4x3", "320x240"),
        ("2000x2", "1280x120"),
        ("7680x4320", "1280x720"),
    ] {
        let mut display = Display::start();
        let name = TestName::new("window-sizes");
        let mut sender = Program::start(Command::new(env!("CARGO_BIN_EXE_shm-send")).args([
            "--quiet",
            "--fps",
            "5",
            "--slots",
            "2",
            "--size",
            size,
            "--name",
            name.as_str(),
        ]));
        let mut receiver = receiver(&display, &name);
        let id = display.window(&format!("shm-recv {}", name.as_str()));
        receiver.wait_until("the window has its size", |_| {
            let screenshot = display.screenshot(&id);
            format!("{}x{}", screenshot.cols(), screenshot.rows()) == window
        });
        receiver.interrupt();
        sender.signal("INT");
        sender.end();
    }
}

#[test]
fn a_signal_ends_a_command_with_a_window() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let name = TestName::new("window-signal");
    let mut receiver = receiver(&display, &name);
    display.window(&format!("shm-recv {}", name.as_str()));
    receiver.signal("TERM");
    receiver.ends_with(0);
}

/// A sender that shows what it sends, its window on the display, and its name.
fn showing(display: &mut Display, args: &[&str]) -> (Program, String, TestName) {
    let name = TestName::new("window-show");
    let mut command = display.command(SEND);
    command.args(["--show", "--name", name.as_str()]).args(args);
    let sender = Program::start(&mut command);
    let window = display.window(&format!("shm-send {}", name.as_str()));
    (sender, window, name)
}

#[test]
fn the_sender_shows_what_it_sends_until_a_signal_or_q_ends_it() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let picture = imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap();
    for key in [None, Some("q")] {
        // Of a single slot, too, which every frame is written into.
        let slots = if key.is_some() { "1" } else { "4" };
        let args = ["--image", PICTURE, "--slots", slots];
        let (mut sender, window, name) = showing(&mut display, &args);
        sender.wait_until("the window shows the picture", |_| {
            difference(&display.screenshot(&window), &picture).is_some_and(|levels| levels < 3.0)
        });
        match key {
            None => sender.signal("INT"),
            Some(key) => {
                display.tool("xdotool", &["windowfocus", "--sync", &window]);
                display.tool("xdotool", &["key", key]);
            }
        }
        sender.ends_with(0);
        sender.assert_stdout(" frames/s");
        assert!(!name.file().exists());
    }
}

#[test]
fn the_senders_window_shows_frames_of_a_new_size_too_and_closes_with_the_sender() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let scratch = Scratch::new(&TestName::new("window-sizes"));
    // The second picture does not fit into the segment that is made for the first one.
    let gray = |width, height, level| {
        let level = core::Scalar::all(level);
        Mat::new_rows_cols_with_default(height, width, core::CV_8UC3, level).unwrap()
    };
    for (file, picture) in [
        ("1.png", gray(32, 24, 50.0)),
        ("2.png", gray(320, 240, 200.0)),
    ] {
        let file = scratch.path().join(file);
        imgcodecs::imwrite_def(file.to_str().unwrap(), &picture).unwrap();
    }
    let images = scratch.path().to_str().unwrap();
    let args = ["--fps", "0.5", "--images", images];
    let (mut sender, window, name) = showing(&mut display, &args);
    for level in [50.0, 200.0] {
        sender.wait_until(&format!("the window is as light as {level}"), |_| {
            let mean = core::mean_def(&display.screenshot(&window)).unwrap();
            (mean[0] - level).abs() < 1.0
        });
    }
    sender.ends_with(0);
    sender.assert_stdout("2 frames in ");
    assert!(!name.file().exists());
}

#[test]
fn a_sender_with_a_window_ends_with_the_error_of_the_sending() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let (mut first, _, name) = showing(&mut display, &[]);
    first.wait_for("sending");
    let mut second =
        Program::start(Command::new(SEND).args(["--quiet", "--replace", "--name", name.as_str()]));
    first.ends_with(1);
    first.assert_stderr("taken over by another sender");
    second.signal("INT");
    second.ends_with(0);
    let mut missing = display.command(SEND);
    let mut missing = Program::start(missing.args(["--show", "--image", "/missing.png"]));
    missing.ends_with(1);
    missing.assert_stderr("--image /missing.png");
}

#[test]
fn without_a_display_a_window_is_an_error_and_auto_is_none() {
    if !needs("Xvfb") {
        return;
    }
    let display = Display::start();
    let name = TestName::new("no-window");
    let _sender = sender(&name);
    for (variable, why) in [("", "DISPLAY is not set"), (":4077", "does not answer")] {
        let receiver = |view| {
            let mut command = display.command(env!("CARGO_BIN_EXE_shm-recv"));
            command.env("DISPLAY", variable).args([
                "--count",
                "1",
                "--view",
                view,
                "--name",
                name.as_str(),
            ]);
            Program::start(&mut command)
        };
        let mut window = receiver("window");
        window.ends_with(1);
        assert!(
            window.stderr().contains(why) && window.stderr().contains("--view"),
            "{}",
            window.stderr()
        );
        receiver("auto").ends_with(0);
    }
}

#[test]
fn without_a_window_manager_the_window_has_the_keys_and_each_of_them_counts() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let name = TestName::new("window-keys");
    let _sender = sender(&name);
    let mut receiver = receiver(&display, &name);
    let window = display.window(&format!("shm-recv {}", name.as_str()));
    let picture = imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap();
    let caption = |display: &Display| {
        let shot = display.screenshot(&window);
        let part = |mat: &Mat| Mat::roi(mat, CAPTION).unwrap().clone_pointee();
        if shot.size().unwrap() != picture.size().unwrap() {
            return 0.0;
        }
        difference(&part(&shot), &part(&picture)).unwrap_or(0.0)
    };
    receiver.wait_until("the numbers are there", |_| caption(&display) > 20.0);
    // Nobody gave it the focus, and the pointer is elsewhere.
    display.tool("xdotool", &["mousemove", "1200", "780"]);
    display.tool("xdotool", &["key", "--delay", "0", "h", "h", "h"]);
    receiver.wait_until("they are hidden", |_| caption(&display) < 3.0);
    // The whole display, and back.
    display.tool("xdotool", &["key", "f"]);
    receiver.wait_until("it fills the display", |_| {
        let shot = display.screenshot(&window);
        (shot.cols(), shot.rows()) == (1280, 800)
    });
    display.tool("xdotool", &["key", "f"]);
    receiver.wait_until("it is as before", |_| {
        let shot = display.screenshot(&window);
        (shot.cols(), shot.rows()) == (640, 404)
    });
    display.tool("xdotool", &["key", "q"]);
    receiver.ends_with(0);
}

#[test]
fn the_wheel_zooms_into_what_is_under_the_cursor_and_its_value_is_told() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut shown = Shown::new("window-zoom");
    shown.key("h");
    shown.wait_until("there are no numbers", |shown| {
        shown.differs(CAPTION).is_some_and(|levels| levels < 3.0)
    });
    // Four steps: four times as large.
    shown.display.tool(
        "xdotool",
        &["mousemove", "--window", &shown.window, "320", "202"],
    );
    shown
        .display
        .tool("xdotool", &["click", "--repeat", "4", "4"]);
    let part = Mat::roi(&shown.picture, Rect::new(240, 152, 160, 101)).unwrap();
    let mut zoomed = Mat::default();
    let size = Size::new(640, 404);
    imgproc::resize(&part, &mut zoomed, size, 0.0, 0.0, imgproc::INTER_NEAREST).unwrap();
    let is = |shown: &Shown, picture: &Mat| {
        let part = |mat: &Mat| Mat::roi(mat, BELOW).unwrap().clone_pointee();
        let shot = shown.screenshot();
        shot.size().unwrap() == size
            && difference(&part(&shot), &part(picture)).is_some_and(|levels| levels < 3.0)
    };
    shown.wait_until("the middle is enlarged", |shown| is(shown, &zoomed));
    shown.wait_until("the pixel's value is told", |shown| {
        let top = |mat: &Mat| Mat::roi(mat, CAPTION).unwrap().clone_pointee();
        difference(&top(&shown.screenshot()), &top(&zoomed)).unwrap() > 10.0
    });
    shown.key("0");
    let picture = shown.picture.clone();
    shown.wait_until("the whole is shown", |shown| is(shown, &picture));
}

#[test]
fn a_frozen_picture_goes_on_by_a_frame_at_a_time() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let name = TestName::new("window-step");
    let gray = shape(64, 48, 1);
    let options = SenderOptions::new().capacity(gray.bytes());
    let mut sender = Sender::create(&name.name(), &options).unwrap();
    let mut receiver = receiver(&display, &name);
    let window = display.window(&format!("shm-recv {}", name.as_str()));
    let level = |display: &Display| {
        let shot = display.screenshot(&window);
        core::mean_def(&Mat::roi(&shot, Rect::new(0, 100, 320, 100)).unwrap()).unwrap()[0]
    };
    // A frozen picture is not dimmed when it is old.
    let is = |display: &Display, of: f64| (level(display) - of).abs() < 1.0;
    sender.publish(gray, &vec![100; gray.bytes()]).unwrap();
    receiver.wait_until("the first is shown", |_| {
        is(&display, 100.0) || is(&display, 40.0)
    });
    display.tool("xdotool", &["key", "space"]);
    receiver.wait_until("it is frozen", |_| is(&display, 100.0));
    sender.publish(gray, &vec![200; gray.bytes()]).unwrap();
    receiver.wait_for_events("frame", 2);
    thread::sleep(Duration::from_millis(300));
    assert!(is(&display, 100.0), "it is still the first");
    display.tool("xdotool", &["key", "period"]);
    receiver.wait_until("the second is shown", |_| is(&display, 200.0));
    sender.publish(gray, &vec![50; gray.bytes()]).unwrap();
    receiver.wait_for_events("frame", 3);
    thread::sleep(Duration::from_millis(300));
    assert!(is(&display, 200.0), "it is frozen all the same");
}

#[test]
fn a_display_that_dies_ends_neither_the_receiving_nor_the_sending() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let (mut sender, _, name) = showing(&mut display, &["--image", PICTURE]);
    let scratch = Scratch::new(&name);
    let film = scratch.path().join("film.mkv");
    let mut command = display.command(RECV);
    command.args([
        "--view",
        "window",
        "--json",
        "--name",
        name.as_str(),
        "--record",
    ]);
    let mut receiver = Program::start(command.arg(&film));
    receiver.wait_for_events("frame", 5);
    display.window(&format!("shm-recv {}", name.as_str()));
    display.server.signal("KILL");
    for program in [&mut sender, &mut receiver] {
        program.wait_for("nothing is shown any more");
    }
    let frames = receiver.events("frame").len();
    receiver.wait_for_events("frame", frames + 10);
    receiver.interrupt();
    receiver.assert_stdout(r#""dropped":{"record":0}"#);
    sender.interrupt();
    assert!(film.metadata().unwrap().len() > 1000);
}

#[test]
fn a_display_that_does_not_answer_is_given_up() {
    let name = TestName::new("window-mute");
    let _sender = sender(&name);
    // It accepts connections, and that is all.
    let number = 4000 + std::process::id() % 1000;
    std::fs::create_dir_all("/tmp/.X11-unix").unwrap();
    let socket = PathBuf::from(format!("/tmp/.X11-unix/X{number}"));
    let mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let receiver = |view: &str, display: Option<String>, wayland: bool| {
        let mut command = Command::new(RECV);
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command.envs(display.map(|display| ("DISPLAY", display)));
        command.envs(wayland.then_some(("WAYLAND_DISPLAY", "wayland-0")));
        command.args(["--view", view, "--count", "1", "--name", name.as_str()]);
        Program::start(&mut command)
    };
    let display = || Some(format!(":{number}"));
    let mut window = receiver("window", display(), false);
    window.ends_with(1);
    window.assert_stderr("does not answer: tried for 3 s");
    let mut auto = receiver("auto", display(), false);
    auto.ends_with(0);
    auto.assert_stderr("shown nowhere: display");
    let mut wayland = receiver("auto", None, true);
    wayland.ends_with(0);
    wayland.assert_stderr("start Xwayland");
    drop(mute);
    std::fs::remove_file(socket).unwrap();
}

#[test]
fn several_streams_are_side_by_side_each_with_its_numbers() {
    if !needs("Xvfb xdotool import") {
        return;
    }
    let mut display = Display::start();
    let (left, right) = (TestName::new("window-left"), TestName::new("window-right"));
    let gray = shape(320, 240, 1);
    let options = SenderOptions::new().capacity(gray.bytes());
    let mut senders = [&left, &right].map(|name| Sender::create(&name.name(), &options).unwrap());
    let mut command = display.command(RECV);
    command.args(["--view", "window", "--json", left.as_str(), right.as_str()]);
    let mut receiver = Program::start(&mut command);
    let window = display.window(&format!("shm-recv {} {}", left.as_str(), right.as_str()));
    receiver.wait_until("both are shown", |_| {
        for (sender, level) in senders.iter_mut().zip([60, 180]) {
            sender.publish(gray, &vec![level; gray.bytes()]).unwrap();
        }
        let shot = display.screenshot(&window);
        if (shot.cols(), shot.rows()) != (640, 240) {
            return false;
        }
        let mean = |x| {
            let part = Rect::new(x, 100, 320, 140);
            core::mean_def(&Mat::roi(&shot, part).unwrap()).unwrap()[0]
        };
        (mean(0) - 60.0).abs() < 1.0 && (mean(320) - 180.0).abs() < 1.0
    });
    display.tool("xdotool", &["key", "q"]);
    receiver.ends_with(0);
    let summaries = receiver.events("summary");
    let names: Vec<_> = summaries
        .iter()
        .map(|line| line["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [left.as_str(), right.as_str()]);
}

#[test]
fn a_terminal_that_draws_sixels_shows_the_picture_itself() {
    if !needs("Xvfb xdotool import xterm") {
        return;
    }
    let mut display = Display::start();
    let name = TestName::new("sixels");
    let _sender = sender(&name);
    wait_until("there is a segment", || name.file().exists());
    // A terminal like DEC's VT340, at the upper left. Without DISPLAY its program shows the frames
    // in it, and it ends with its program.
    let mut command = display.command("xterm");
    command.args([
        "-T",
        "sixels",
        "-ti",
        "vt340",
        "-xrm",
        "XTerm*numColorRegisters: 256",
    ]);
    command.args([
        "-b",
        "0",
        "-bw",
        "0",
        "+sb",
        "-fn",
        "fixed",
        "-geometry",
        "100x40+0+0",
        "-e",
    ]);
    command.args(["env", "-i", "TERM=xterm", RECV, "--view", "terminal"]);
    command.args(["--name", name.as_str()]);
    let mut xterm = Program::start(&mut command);
    let window = display.window("sixels");
    let picture = imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap();
    // A letter has 6x13 pixels. The picture has 36 rows, below a message of one row.
    let part = Rect::new(0, 13, 600, 378);
    xterm.wait_until("the picture is there", |_| {
        let screenshot = display.screenshot(&window);
        if screenshot.cols() < part.width || screenshot.rows() < part.y + part.height {
            return false;
        }
        let mut smooth = Mat::default();
        // Each pixel is one of 216 colours; only their mean is right.
        imgproc::blur_def(
            &Mat::roi(&screenshot, part).unwrap(),
            &mut smooth,
            Size::new(8, 8),
        )
        .unwrap();
        difference(&smooth, &picture).is_some_and(|levels| levels < 10.0)
    });
    display.tool("xdotool", &["windowfocus", "--sync", &window]);
    xterm.wait_until("q is heard", |xterm| {
        display.tool("xdotool", &["key", "q"]);
        !xterm.running()
    });
}
