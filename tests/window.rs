//! The window, on a display of its own, by screenshot and key presses.
#![cfg(feature = "cli")]

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{Program, TestName};
use opencv::core::{self, Mat, MatTraitConst, Size};
use opencv::{imgcodecs, imgproc};

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
            // Else it starts anew, and drops who comes meanwhile, when its only client goes: which may be xdotool.
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

    /// What a tool prints.
    fn tool(&self, program: &str, args: &[&str]) -> String {
        let output = self
            .command(program)
            .args(args)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The window of that title, when it is there.
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

/// How much two pictures differ, in levels a pixel and channel, 0 to 255. `None`: they can't be compared.
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
fn the_window_shows_the_picture_and_q_ends() {
    let mut display = Display::start();
    let name = TestName::new("window");
    let _sender = sender(&name);
    let mut receiver = receiver(&display, &name);
    let window = display.window(&format!("shm-recv {}", name.as_str()));
    let picture = imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap();
    receiver.wait_until("the window shows the picture", |_| {
        difference(&display.screenshot(&window), &picture).is_some_and(|levels| levels < 3.0)
    });
    display.tool("xdotool", &["windowfocus", "--sync", &window]);
    receiver.wait_until("q is heard", |receiver| {
        display.tool("xdotool", &["key", "q"]);
        !receiver.running()
    });
    receiver.ends_with(0);
    assert!(
        receiver.stdout().contains(r#"{"event":"summary""#),
        "{}",
        receiver.stdout()
    );
}

#[test]
fn a_signal_ends_a_window() {
    let mut display = Display::start();
    let name = TestName::new("window-signal");
    let mut receiver = receiver(&display, &name);
    display.window(&format!("shm-recv {}", name.as_str()));
    receiver.signal("TERM");
    receiver.ends_with(0);
}

#[test]
fn the_sender_shows_what_it_sends() {
    let mut display = Display::start();
    let name = TestName::new("window-show");
    let mut command = display.command(env!("CARGO_BIN_EXE_shm-send"));
    let mut sender =
        Program::start(command.args(["--show", "--image", PICTURE, "--name", name.as_str()]));
    let window = display.window(&format!("shm-send {}", name.as_str()));
    let picture = imgcodecs::imread(PICTURE, imgcodecs::IMREAD_COLOR).unwrap();
    sender.wait_until("the window shows the picture", |_| {
        difference(&display.screenshot(&window), &picture).is_some_and(|levels| levels < 3.0)
    });
    sender.signal("INT");
    sender.ends_with(0);
    assert!(!name.file().exists());
}

#[test]
fn without_a_display_a_window_is_an_error_and_auto_is_none() {
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
