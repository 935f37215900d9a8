//! The status line and the terminal view, as a pane of tmux shows them.
mod common;

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Json as _, RECV, needs, send};
use shm_frame::{Name, Sender, SenderOptions, Shape};
use shm_frame_testing::{Scratch, TestName, shape, wait_until};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscape-640x404.png");

/// A terminal with a shell in it.
struct Terminal(String);

impl Terminal {
    fn new(columns: u32, rows: u32, variables: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self(format!("shm-frame-test-{}-{count}", std::process::id()));
        let shell = format!("env -u DISPLAY -u NO_COLOR -u COLORTERM {variables} PS1='$ ' sh");
        let size = [columns, rows].map(|side| side.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &size[0], "-y", &size[1], &shell]);
        terminal.wait_for("the shell's prompt", |pane| pane.starts_with('$'));
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        // A server of its own, without the user's settings, and with UTF-8 in any locale.
        tmux.args(["-L", &self.0, "-f", "/dev/null", "-u"]);
        let output = tmux.env_remove("TMUX").args(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "tmux {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn line(&self, text: &str) {
        self.keys(&["-l", text]);
        self.keys(&["Enter"]);
    }

    fn recv(&self, name: &TestName, args: &str) {
        self.line(&format!("clear; {RECV} --name {} {args}", name.as_str()));
    }

    /// The text on the screen, without colours.
    fn pane(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The text on the screen, with colours as escape sequences.
    fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e", "-N"])
    }

    /// How many cells of each row are coloured behind: those of a picture.
    fn picture(&self) -> Vec<usize> {
        let (mut rows, mut behind) = (vec![], false);
        for line in self.coloured().lines() {
            let mut parts = line.split("\x1b[");
            let mut cells = usize::from(behind) * parts.next().unwrap().chars().count();
            for part in parts {
                let (parameters, text) = part.split_once('m').unwrap();
                let parameters = parameters.split(';').collect::<Vec<_>>();
                match parameters[..] {
                    ["0" | ""] | [.., "49"] => behind = false,
                    _ => behind |= parameters.contains(&"48"),
                }
                cells += usize::from(behind) * text.chars().count();
            }
            rows.push(cells);
        }
        rows
    }

    fn wait_for_picture(&self) {
        wait_until("there is a picture", || {
            self.picture().iter().sum::<usize>() > 500
        });
    }

    fn wait_for(&self, what: &str, shown: impl Fn(&str) -> bool) -> String {
        let mut pane = String::new();
        let end = std::time::Instant::now() + shm_frame_testing::PATIENCE;
        loop {
            pane.clone_from(&self.pane());
            if shown(&pane) {
                return pane;
            }
            assert!(
                std::time::Instant::now() < end,
                "waited in vain for {what}:\n{pane}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// The terminal's settings, as stty(1) prints them.
    fn modes(&self) -> String {
        let tty = self.tmux(&["display-message", "-p", "#{pane_tty}"]);
        let output = Command::new("stty")
            .args(["-a", "-F", tty.trim()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn cursor_is_shown(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{cursor_flag}"])
            .trim()
            == "1"
    }

    /// Waits until the command ended and the shell is back. Returns the exit code.
    fn exit_code(&self) -> String {
        self.wait_for("the shell", |pane| pane.trim_end().ends_with("\n$"));
        self.line("echo exit $?.");
        let is_code = |line: &&str| line.starts_with("exit ");
        let pane = self.wait_for("the exit code", |pane| {
            pane.lines().any(|line| is_code(&line))
        });
        let code = pane.lines().find(is_code).unwrap();
        code.split(['.', ' ']).nth(1).unwrap().to_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.0, "kill-server"])
            .output();
    }
}

/// The status line, which is the last one that is not empty.
fn status(pane: &str) -> &str {
    pane.trim_end().lines().last().unwrap_or_default()
}

fn is_status(line: &str) -> bool {
    line.starts_with("frame ") && line.ends_with(" torn 0")
}

/// The frame's number in the status line.
fn frame_of(pane: &str) -> Option<u64> {
    status(pane).split_whitespace().nth(1)?.parse().ok()
}

/// A sender in this process, and a picture whose left half is red and whose right half is blue.
fn red_and_blue(name: &TestName) -> (Sender, Shape, Vec<u8>) {
    let shape = shape(48, 24, 3);
    let options = SenderOptions::new().capacity(shape.bytes());
    let sender = Sender::create(&Name::new(name.as_str()).unwrap(), &options).unwrap();
    let row = [[0, 0, 255], [255, 0, 0]]
        .map(|colour| colour.repeat(24))
        .concat();
    (sender, shape, row.repeat(24))
}

#[test]
fn a_status_line_stays_in_place_while_messages_scroll_by_above() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("status");
    let terminal = Terminal::new(120, 20, "");
    terminal.recv(&name, "--view none");
    let waiting = format!(
        "there is no segment {}: waiting for a sender",
        name.as_str()
    );
    terminal.wait_for("the message", |pane| pane.contains(&waiting));
    let mut attached = 0;
    for size in ["64x48", "32x24"] {
        let mut sender = send(&name, &format!("--size {size}"));
        attached += 1;
        // The first frame may have been there before: then its age is told.
        let pane = terminal.wait_for("the status line", |pane| {
            let status = status(pane);
            is_status(status) && status.contains(size) && status.contains("delay")
        });
        for word in [
            "frames/s",
            "delay",
            " ms",
            "p50",
            "p99",
            "skipped 0",
            "torn 0",
        ] {
            assert!(status(&pane).contains(word), "{word}: {pane}");
        }
        assert_eq!(pane.matches("frame ").count(), 1, "{pane}");
        assert_eq!(pane.matches("attached to").count(), attached, "{pane}");
        let first = frame_of(&pane);
        terminal.wait_for("the next frame", |pane| frame_of(pane) > first);
        sender.interrupt();
        terminal.wait_for("the end", |pane| pane.matches(" ended").count() == attached);
    }
    terminal.keys(&["C-c"]);
    let pane = terminal.wait_for("the summary", |pane| pane.contains(" skipped, "));
    assert!(!pane.lines().any(is_status), "{pane}");
    assert!(pane.contains("delay in ms"), "{pane}");
    assert_eq!(terminal.exit_code(), "0");
}

#[test]
fn a_status_line_is_cut_to_the_terminal_and_left_out_for_log_json_and_quiet() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("narrow");
    let _sender = send(&name, "--size 64x48");
    let narrow = Terminal::new(30, 10, "");
    narrow.recv(&name, "--view none");
    let pane = narrow.wait_for("the numbers", |pane| status(pane).contains("64x48x3 "));
    assert!(status(&pane).len() < 30 && !pane.contains("torn"), "{pane}");
    narrow.keys(&["C-c"]);

    let terminal = Terminal::new(120, 20, "");
    for (count, args, shows) in [
        (2, "--log", "frame "),
        (3, "--json", r#"{"event":"frame""#),
        (4, "--quiet", "4 frames in"),
    ] {
        terminal.recv(&name, &format!("--view none --count {count} {args}"));
        let summary = format!("{count} frames in");
        let pane = terminal.wait_for("the summary", |pane| pane.contains(&summary));
        assert!(pane.contains(shows), "{args}: {pane}");
        assert!(!pane.lines().any(is_status), "{args}: {pane}");
    }
    terminal.recv(&name, "--view none --raw -");
    terminal.wait_for("the error", |pane| {
        pane.contains("--raw -: stdout is a terminal")
    });
    assert_eq!(terminal.exit_code(), "1");
    // A terminal that can only print lines.
    let dumb = Terminal::new(120, 20, "TERM=dumb");
    dumb.recv(&name, "--count 2");
    let pane = dumb.wait_for("the summary", |pane| pane.contains("2 frames in"));
    assert_eq!(pane.matches("  sent ").count(), 2, "{pane}");
    dumb.recv(&name, "--view terminal");
    dumb.wait_for("the error", |pane| {
        pane.contains("--view terminal: stdout is no terminal")
    });
    assert_eq!(dumb.exit_code(), "1");
}

#[test]
fn the_terminal_view_shows_the_picture_in_colour_above_the_status_line() {
    if !needs("tmux stty") {
        return;
    }
    let name = TestName::new("terminal-view");
    let (mut sender, shape, pixels) = red_and_blue(&name);
    for (variables, red, blue) in [
        ("COLORTERM=truecolor", "48;2;255;0;0", "48;2;0;0;255"),
        ("", "48;5;196", "48;5;21"),
    ] {
        let terminal = Terminal::new(80, 24, variables);
        let before = terminal.modes();
        // Without a display frames are shown in the terminal.
        terminal.recv(&name, "");
        terminal.wait_for("the message", |pane| pane.contains("attached to"));
        sender.publish(shape, &pixels).unwrap();
        // The status line may come first.
        terminal.wait_for("the status line", |pane| status(pane).contains("skip"));
        // Cells are twice as high as wide: a picture of 2:1 that is 80 wide is 20 high.
        wait_until("there is the picture", || {
            let mut rows = terminal.picture();
            rows.retain(|&cells| cells > 0);
            rows == [80; 20]
        });
        let coloured = terminal.coloured();
        let line = coloured
            .lines()
            .find(|line| line.contains("\x1b[48"))
            .unwrap();
        let at = |colour| {
            line.find(colour)
                .unwrap_or_else(|| panic!("no {colour}: {line:?}"))
        };
        assert!(at(red) < at(blue), "{line:?}");
        assert_ne!(terminal.modes(), before);
        assert!(!terminal.cursor_is_shown());

        terminal.keys(&["q"]);
        terminal.wait_for("the summary", |pane| pane.contains(" skipped, "));
        // The last picture stays.
        assert!(terminal.picture().iter().sum::<usize>() > 500);
        assert_eq!(terminal.exit_code(), "0");
        assert_eq!(terminal.modes(), before);
        assert!(terminal.cursor_is_shown());
    }
}

#[test]
fn in_tmux_the_picture_is_of_coloured_signs_and_the_title_stays() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("tmux");
    let _sender = send(&name, "--size 64x48");
    for variables in [
        "",
        "TERM=xterm-256color LC_TERMINAL=iTerm2",
        // As seen through ssh.
        "-u TMUX -u TERM_PROGRAM TERM=xterm-256color",
        "-u TMUX -u TERM_PROGRAM TERM=xterm-256color LC_TERMINAL=iTerm2",
    ] {
        let terminal = Terminal::new(80, 24, variables);
        let title = || terminal.tmux(&["display-message", "-p", "#{pane_title}"]);
        let before = title();
        terminal.recv(&name, "--view terminal");
        terminal.wait_for_picture();
        assert_eq!(title(), before, "{variables}");
        terminal.keys(&["q"]);
        assert_eq!(terminal.exit_code(), "0");
    }
}

#[test]
fn without_colours_the_picture_is_made_of_letters() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("letters");
    // It has every shade, from dark to the sun, so every letter occurs.
    let _sender = send(&name, &format!("--image {PICTURE}"));
    for variables in ["NO_COLOR=1", "TERM=vt220"] {
        let terminal = Terminal::new(60, 20, variables);
        terminal.recv(&name, "--view terminal");
        // The status line may come first.
        terminal.wait_for("the status line and every letter", |pane| {
            let letters = ["...", ":::", "---", "===", "+++", "@@@"];
            status(pane).contains("/s ") && letters.iter().all(|letters| pane.contains(letters))
        });
        let pane = terminal.coloured();
        assert!(!pane.contains('\x1b'), "{variables}: {pane:?}");
        terminal.keys(&["q"]);
        terminal.wait_for("the summary", |pane| pane.contains(" skipped, "));
        // With --quiet there is only the picture.
        terminal.recv(&name, "--view terminal --quiet");
        terminal.wait_for("the picture", |pane| {
            pane.contains("===") && !pane.contains(" skipped, ")
        });
        let pane = terminal.pane();
        assert!(
            !pane.contains("/s ") && !pane.contains("attached"),
            "{pane}"
        );
        terminal.keys(&["q"]);
        terminal.wait_for("the summary", |pane| pane.contains(" skipped, "));
    }
}

#[test]
fn the_picture_fits_again_when_the_terminal_changes_its_size() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("resize");
    let _sender = send(&name, "--size 64x48");
    let terminal = Terminal::new(100, 30, "");
    terminal.recv(&name, "--view terminal");
    for (columns, rows, others) in [
        (100, 30, 4),
        (50, 30, 4),
        (120, 12, 3),
        (5, 3, 1),
        (3, 2, 1),
        (80, 24, 4),
    ] {
        let size = [columns, rows].map(|side: usize| side.to_string());
        terminal.tmux(&["resize-window", "-x", &size[0], "-y", &size[1]]);
        // As wide or as high as the room, and not more.
        wait_until("there is the picture in its new size", || {
            let mut picture = terminal.picture();
            picture.retain(|&cells| cells > 0);
            let (wide, high) = (picture.iter().max().copied(), picture.len());
            let room = rows - others;
            match wide {
                Some(wide) if columns > 3 => {
                    (wide == columns && high <= room) || high == room || high + 1 == room
                }
                Some(_) => false,
                None => columns == 3,
            }
        });
        // The last message stays in sight where there is a row for it.
        if rows >= 5 {
            terminal.wait_for("the message", |pane| pane.contains("slots"));
        }
    }
    terminal.keys(&["q"]);
    assert_eq!(terminal.exit_code(), "0");
}

#[test]
fn keys_freeze_and_save_what_the_terminal_shows() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("keys");
    let scratch = Scratch::new(&name);
    let (mut sender, shape, pixels) = red_and_blue(&name);
    let terminal = Terminal::new(140, 30, "COLORTERM=truecolor");
    terminal.line(&format!("cd '{}'", scratch.path().display()));
    terminal.recv(&name, "--view terminal");
    terminal.wait_for("the message", |pane| pane.contains("attached to"));
    sender.publish(shape, &pixels).unwrap();
    let red = |terminal: &Terminal| terminal.coloured().contains("48;2;255;0;0");
    wait_until("red is shown", || red(&terminal));
    terminal.keys(&["Space"]);
    terminal.wait_for("that it is frozen", |pane| {
        status(pane).starts_with("frozen")
    });
    terminal.keys(&["s"]);
    let saved = format!("{}-000001.png", &name.as_str()[1..]);
    terminal.wait_for("where it is", |pane| {
        pane.contains("saved ") && pane.replace('\n', "").contains(&saved)
    });
    // A frame that is received, but not shown.
    let blue = [255, 0, 0].repeat(48 * 24);
    sender.publish(shape, &blue).unwrap();
    terminal.wait_for("its number", |pane| {
        status(pane).starts_with("frozen  frame 2 ")
    });
    assert!(red(&terminal));
    terminal.keys(&["Space"]);
    wait_until("it is shown", || !red(&terminal));
    // An arrow key sends Esc and more: it does not end the command.
    terminal.keys(&["Left"]);
    terminal.keys(&["x"]);
    sender.publish(shape, &blue).unwrap();
    terminal.wait_for("the next", |pane| frame_of(pane) == Some(3));
    terminal.keys(&["Escape"]);
    terminal.wait_for("the summary", |pane| pane.contains("3 frames in "));

    let file = scratch.path().join(saved);
    let image =
        opencv::imgcodecs::imread(file.to_str().unwrap(), opencv::imgcodecs::IMREAD_COLOR).unwrap();
    assert_eq!(
        opencv::prelude::MatTraitConstManual::data_bytes(&image).unwrap(),
        pixels
    );
}

#[test]
fn h_hides_the_numbers_and_a_stream_that_ends_is_told_all_the_same() {
    if !needs("tmux") {
        return;
    }
    let name = TestName::new("hidden");
    let sender = send(&name, "--size 64x48");
    let terminal = Terminal::new(100, 30, "COLORTERM=truecolor");
    terminal.recv(&name, "--view terminal");
    terminal.wait_for("the numbers", |pane| status(pane).contains("delay"));
    terminal.keys(&["h"]);
    terminal.wait_for("no numbers", |pane| !pane.contains("delay"));
    terminal.keys(&["h"]);
    terminal.wait_for("the numbers", |pane| status(pane).contains("delay"));
    terminal.keys(&["h"]);
    terminal.wait_for("no numbers", |pane| !pane.contains("delay"));
    let bright = terminal.coloured();
    sender.signal("STOP");
    terminal.wait_for("that no frame comes", |pane| {
        status(pane).starts_with("no frame for ")
    });
    // The picture is dark.
    let lightest = |text: &str| -> u32 {
        let levels = text.split("48;2;").skip(1);
        let levels = levels.filter_map(|text| text.split(['m', ';']).next()?.parse().ok());
        levels.max().unwrap_or(0)
    };
    wait_until("it is dimmed", || {
        lightest(&terminal.coloured()) < lightest(&bright) / 2
    });
    sender.signal("CONT");
    terminal.wait_for("it goes on", |pane| !pane.contains("no frame for"));
    terminal.keys(&["q"]);
    assert_eq!(terminal.exit_code(), "0");
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    if !needs("tmux stty pkill") {
        return;
    }
    let name = TestName::new("signals");
    let _sender = send(&name, "--size 64x48");
    for (signal, code) in [("INT", "0"), ("TERM", "0"), ("QUIT", "131")] {
        let terminal = Terminal::new(80, 24, "");
        let before = terminal.modes();
        terminal.recv(&name, "--view terminal");
        terminal.wait_for_picture();
        let kill = format!("[^ ]*shm-recv --name {}", name.as_str());
        assert!(
            Command::new("pkill")
                .args([&format!("-{signal}"), "-f", &format!("^{kill}")])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(terminal.exit_code(), code, "{}", terminal.pane());
        assert_eq!(terminal.modes(), before, "{signal}");
        assert!(terminal.cursor_is_shown(), "{signal}");
    }

    let terminal = Terminal::new(80, 24, "");
    let before = terminal.modes();
    terminal.recv(&name, "--view terminal");
    terminal.wait_for_picture();
    terminal.keys(&["C-z"]);
    terminal.wait_for("the shell", |pane| pane.contains("Stopped"));
    assert_eq!(terminal.modes(), before);
    assert!(terminal.cursor_is_shown());
    terminal.line("clear; fg");
    terminal.wait_for_picture();
    terminal.keys(&["q"]);
    terminal.wait_for("the summary", |pane| pane.contains(" skipped, "));
    assert_eq!(terminal.modes(), before);
    // A command in the background draws nothing.
    terminal.line(&format!(
        "clear; {RECV} --name {} --count 2 & wait",
        name.as_str()
    ));
    let is_summary = |line: &str| line.starts_with("2 frames in");
    let pane = terminal.wait_for("the summary", |pane| pane.lines().any(is_summary));
    assert!(pane.contains("  sent "), "{pane}");
    assert_eq!(terminal.picture().iter().sum::<usize>(), 0, "{pane}");
}

#[test]
fn a_terminal_that_takes_nothing_does_not_stop_the_receiving() {
    if !needs("tmux stty pkill") {
        return;
    }
    let name = TestName::new("stalled");
    let scratch = Scratch::new(&name);
    let _sender = send(&name, "--size 64x48");
    let terminal = Terminal::new(80, 24, "COLORTERM=truecolor");
    terminal.recv(
        &name,
        &format!("--view terminal --save '{}'", scratch.path().display()),
    );
    terminal.wait_for_picture();
    terminal.keys(&["C-s"]);
    let shown = wait_until_still(&terminal);
    let saved = scratch.saved().len();
    wait_until("frames are received", || scratch.saved().len() > saved + 20);
    assert_eq!(terminal.pane(), shown, "and nothing is drawn");
    terminal.keys(&["C-q"]);
    terminal.wait_for("it goes on", |pane| pane != shown);
    // A signal ends the command, though nothing can be drawn.
    terminal.keys(&["C-s"]);
    wait_until_still(&terminal);
    let receiver = format!("^[^ ]*shm-recv --name {}", name.as_str());
    let signal = |signal| {
        let mut pkill = Command::new("pkill");
        pkill.args([signal, "-f", &receiver]).status().unwrap()
    };
    assert!(signal("-TERM").success());
    let saved = || scratch.saved().len();
    let mut last = usize::MAX;
    wait_until("it receives no more", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::mem::replace(&mut last, saved()) == saved()
    });
    terminal.keys(&["C-q"]);
    wait_until("it has ended", || !signal("-0").success());
    // Half of what it drew was dropped with the end, so anything may be left on the screen.
    terminal.line("code=$?; clear; echo ended; (exit $code)");
    assert_eq!(terminal.exit_code(), "0");
}

/// Waits until the terminal's text stays the same for some time, and returns it.
fn wait_until_still(terminal: &Terminal) -> String {
    let mut last = String::new();
    wait_until("the terminal is still", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let pane = terminal.pane();
        std::mem::replace(&mut last, pane.clone()) == pane
    });
    last
}
