//! The terminal view on a terminal that answers as it is told: late, in pieces, slowly, or never.
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use common::{RECV, command};
use nix::poll::{PollFd, PollFlags, poll};
use shm_frame::{Sender, SenderOptions, Shape};
use shm_frame_testing::{PATIENCE, TestName, shape};

const CURSOR: &str = "\x1b[6n";
const WHO: &str = "\x1b[>c";
const WHAT: &str = "\x1b[c";
const NAME: &str = "\x1b[>q";
const COLOUR: &str = "\x1bP$qm\x1b\\";
const KITTY: &str = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\";

const ITERM: (&str, &str) = ("LC_TERMINAL", "iTerm2");
const XTERM: (&str, &str) = (WHO, "\x1b[>41;379;0c");
const OTHER: (&str, &str) = (WHAT, "\x1b[?1;2c");
const SIXEL: (&str, &str) = (WHAT, "\x1b[?62;4;22c");
const TRUE: (&str, &str) = (COLOUR, "\x1bP1$r0;38:2::1:2:3m\x1b\\");
const IS_KITTY: (&str, &str) = (KITTY, "\x1b_Gi=31;OK\x1b\\");

/// What a drawing begins with.
const DRAWING: &str = "\x1b[?2026h";

/// A sender of noise, of which every cell changes with every frame.
struct Noise {
    sender: Sender,
    shape: Shape,
    random: u32,
    due: Instant,
}

impl Noise {
    fn new(name: &TestName, width: u32, height: u32) -> Self {
        let shape = shape(width, height, 3);
        let options = SenderOptions::new().capacity(shape.bytes());
        let mut noise = Self {
            sender: Sender::create(&name.name(), &options).unwrap(),
            shape,
            random: 1,
            due: Instant::now(),
        };
        noise.publish();
        noise
    }

    /// Publishes a frame if the last one is some time ago.
    fn publish(&mut self) {
        if Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + Duration::from_millis(20);
        let mut next = || {
            self.random = self
                .random
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            self.random.to_be_bytes()[0]
        };
        let pixels: Vec<u8> = std::iter::repeat_with(&mut next)
            .take(self.shape.bytes())
            .collect();
        self.sender.publish(self.shape, &pixels).unwrap();
    }
}

/// A receiver, and the terminal that it draws on.
struct Terminal {
    receiver: Child,
    file: File,
    answers: Vec<(&'static str, &'static str)>,
    /// After so many drawings the terminal does not say any more where its cursor is.
    says_where: usize,
    utf8: bool,
    /// It answers nothing.
    silent: bool,
    /// All that was written to it, and how much of that was answered.
    text: String,
    answered: usize,
    /// Of a character that is not whole yet.
    rest: Vec<u8>,
}

impl Terminal {
    fn new(
        name: &TestName,
        args: &str,
        variables: &[(&str, &str)],
        columns: u16,
        rows: u16,
    ) -> Self {
        let size = nix::pty::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 8 * columns,
            ws_ypixel: 16 * rows,
        };
        let pty = nix::pty::openpty(&size, None).unwrap();
        let end = || pty.slave.try_clone().unwrap();
        let mut command = command(RECV, name, &format!("--view terminal {args}"));
        command.env_clear();
        command.env("TERM", "xterm-256color");
        command.envs(variables.iter().copied());
        command.stdin(end()).stdout(end()).stderr(end());
        // The last ends of the command are the receiver's.
        let receiver = command.spawn().unwrap();
        Self {
            receiver,
            file: File::from(pty.master),
            answers: vec![],
            says_where: usize::MAX,
            utf8: true,
            silent: false,
            text: String::new(),
            answered: 0,
            rest: vec![],
        }
    }

    fn types(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// Reads for a moment, at most so many bytes, and answers. `false`: the receiver is gone.
    fn read(&mut self, most: usize) -> bool {
        let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, 10_u16).unwrap() == 0 {
            return true;
        }
        let mut bytes = vec![0; most];
        // An error when the receiver is gone.
        let Ok(length) = self.file.read(&mut bytes) else {
            return false;
        };
        self.rest.extend_from_slice(&bytes[..length]);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let text: Vec<_> = self.rest.drain(..whole).collect();
        self.text += std::str::from_utf8(&text).unwrap();
        if !self.silent {
            self.answer();
        }
        true
    }

    /// Answers what was asked since the last answer.
    fn answer(&mut self) {
        let mut known = self.answers.clone();
        known.push((CURSOR, ""));
        loop {
            let new = &self.text[self.answered..];
            let next = known
                .iter()
                .filter_map(|(question, answer)| Some((new.find(question)?, *question, *answer)))
                .min();
            let Some((at, question, answer)) = next else {
                return;
            };
            let at = self.answered + at;
            if question == CURSOR && self.text[..at].matches(DRAWING).count() > self.says_where {
                return;
            }
            let answer = if question == CURSOR {
                format!("\x1b[24;{}R", self.column(at))
            } else {
                answer.to_owned()
            };
            self.answered = at + question.len();
            self.types(&answer);
        }
    }

    /// The column that the cursor was in.
    fn column(&self, at: usize) -> String {
        let before = &self.text[..at];
        if before.ends_with('\u{a0}') {
            return if self.utf8 { "2" } else { "3" }.to_owned();
        }
        let (_, column) = before.rsplit_once("\x1b[").unwrap();
        column.strip_suffix('G').unwrap().to_owned()
    }

    fn wait_until(&mut self, what: &str, mut happened: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !happened(self) {
            assert!(self.read(1 << 16), "ended before {what}: {:?}", self.text);
            assert!(
                Instant::now() < end,
                "waited in vain until {what}: {:?}",
                self.text
            );
        }
    }

    /// Reads for some time.
    fn read_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assert!(self.read(1 << 16), "ended: {:?}", self.text);
        }
    }

    fn drawings(&self) -> usize {
        self.text.matches(DRAWING).count()
    }

    /// Waits for the end without reading.
    fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.receiver.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it did not end: {:?}", self.text);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Reads until the end.
    fn read_to_end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while self.read(1 << 16) && self.receiver.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it did not end: {:?}", self.text);
        }
        while self.read(1 << 16) && Instant::now() < end {}
        self.end()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.receiver.kill();
        let _ = self.receiver.wait();
    }
}

#[test]
fn a_picture_is_drawn_as_the_terminal_can_and_no_terminal_between_is_asked_for_more() {
    const TRUE_CELLS: &str = "48;2;";
    const CELLS: &str = "48;5;";
    const IMAGES: [&str; 3] = ["\x1bP0;1q", "\x1b_Ga=T", "\x1b]1337;File="];
    let all = vec![WHO, WHAT, NAME, COLOUR, KITTY];
    let two = vec![WHO, WHAT];
    let name = TestName::new("ways");
    let _noise = Noise::new(&name, 64, 48);
    for (variables, answers, drawn, asked) in [
        (vec![], vec![XTERM, OTHER], CELLS, all.clone()),
        (vec![], vec![XTERM, OTHER, TRUE], TRUE_CELLS, all.clone()),
        // It knows the nearest of 256.
        (
            vec![],
            vec![XTERM, OTHER, (COLOUR, "\x1bP1$r0;38:5:16m\x1b\\")],
            CELLS,
            all.clone(),
        ),
        // VTE, whose kind says it.
        (
            vec![],
            vec![(WHO, "\x1b[>65;7006;1c"), OTHER, (COLOUR, "\x1bP0$r\x1b\\")],
            TRUE_CELLS,
            all.clone(),
        ),
        // Apple's Terminal prints strings that it does not know.
        (
            vec![],
            vec![(WHO, "\x1b[>1;95;0c"), OTHER],
            CELLS,
            two.clone(),
        ),
        (vec![], vec![XTERM, SIXEL], IMAGES[0], all.clone()),
        (vec![], vec![XTERM, SIXEL, IS_KITTY], IMAGES[1], all.clone()),
        (
            vec![ITERM],
            vec![(WHO, "\x1b[>0;95;0c"), SIXEL],
            IMAGES[2],
            vec![WHO, WHAT, NAME, COLOUR],
        ),
        // tmux and GNU screen on the other side of ssh.
        (
            vec![ITERM],
            vec![(WHO, "\x1b[>84;0;0c"), SIXEL],
            CELLS,
            two.clone(),
        ),
        (
            vec![ITERM],
            vec![(WHO, "\x1b[>83;40900;0c"), OTHER],
            CELLS,
            two.clone(),
        ),
        // On this side.
        (
            vec![ITERM, ("TMUX", "/tmp/no-tmux,1,0")],
            vec![],
            CELLS,
            vec![],
        ),
        (vec![ITERM, ("TERM_PROGRAM", "tmux")], vec![], CELLS, vec![]),
        (
            vec![ITERM, ("STY", "1.pts-0.host"), ("COLORTERM", "truecolor")],
            vec![],
            CELLS,
            vec![],
        ),
        (
            vec![ITERM, ("TERM", "screen.xterm-256color")],
            vec![],
            CELLS,
            vec![],
        ),
        (vec![("TERM", "linux")], vec![], "\x1b[4", vec![]),
    ] {
        let mut terminal = Terminal::new(&name, "--quiet --count 1", &variables, 80, 24);
        terminal.answers = answers.clone();
        let status = terminal.read_to_end();
        let text = &terminal.text;
        let what = format!("{variables:?} {answers:?}: {text:?}");
        assert!(status.success(), "{what}");
        let drawing = text.split_once(DRAWING).map_or("", |(_, drawing)| drawing);
        assert!(drawing.contains(drawn), "{drawn:?} {what}");
        for way in [CELLS, TRUE_CELLS].into_iter().chain(IMAGES) {
            assert_eq!(drawing.contains(way), way == drawn, "{way:?} {what}");
        }
        for question in &all {
            assert_eq!(
                text.contains(question),
                asked.contains(question),
                "{question:?} {what}"
            );
        }
    }
}

#[test]
fn signs_are_those_that_the_terminal_has() {
    let name = TestName::new("signs");
    let _noise = Noise::new(&name, 64, 48);
    let is_sextant = |c: char| ('\u{1fb00}'..='\u{1fb3b}').contains(&c);
    let is_quadrant = |c: char| ('\u{2596}'..='\u{259f}').contains(&c);
    let vte = (WHO, "\x1b[>65;7006;1c");
    for (variables, answers, utf8, sextants, quadrants, halves) in [
        (vec![], vec![XTERM, OTHER], true, false, true, true),
        (vec![], vec![vte, OTHER], true, true, false, false),
        (vec![("TERM", "linux")], vec![], true, false, false, true),
        (vec![], vec![XTERM, OTHER], false, false, false, false),
    ] {
        let mut terminal = Terminal::new(&name, "--quiet --count 1", &variables, 80, 24);
        terminal.answers = answers;
        terminal.utf8 = utf8;
        assert!(terminal.read_to_end().success());
        let text = &terminal.text;
        assert_eq!(
            text.contains(is_sextant),
            sextants,
            "{variables:?} {text:?}"
        );
        assert_eq!(
            text.contains(is_quadrant),
            quadrants,
            "{variables:?} {text:?}"
        );
        assert_eq!(text.contains('▀'), halves, "{variables:?} {text:?}");
    }
}

#[test]
fn there_are_never_two_drawings_that_the_terminal_did_not_answer() {
    let name = TestName::new("one-under-way");
    let mut noise = Noise::new(&name, 640, 400);
    for answers in [
        vec![XTERM, OTHER, TRUE],
        vec![XTERM, SIXEL],
        vec![XTERM, OTHER, IS_KITTY],
    ] {
        let mut terminal = Terminal::new(&name, "", &[], 80, 24);
        terminal.answers = answers.clone();
        for drawings in 1..=5 {
            // Frames come, and the terminal is still at work on this drawing.
            terminal.says_where = drawings - 1;
            terminal.answer();
            terminal.wait_until("it draws", |terminal| {
                noise.publish();
                terminal.drawings() == drawings
            });
            for _ in 0..10 {
                noise.publish();
                terminal.read_for(Duration::from_millis(20));
            }
            let now = terminal.drawings();
            assert_eq!(now, drawings, "{answers:?}: {:?}", terminal.text);
        }
        // An answer that got lost is asked for again, and nothing is drawn meanwhile.
        let drawings = terminal.drawings();
        let asked = |terminal: &Terminal| terminal.text.matches(CURSOR).count();
        let before = asked(&terminal);
        terminal.answered = terminal.text.len();
        terminal.wait_until("it asks again", |terminal| asked(terminal) > before);
        assert_eq!(terminal.drawings(), drawings);
        terminal.says_where = usize::MAX;
        terminal.answer();
        terminal.wait_until("it draws", |terminal| {
            noise.publish();
            terminal.drawings() > drawings
        });
        // It was on its way for more than the second after which it was asked for again.
        let age = |text: &str| {
            let (_, age) = text.rsplit_once("glass ")?;
            age.split(' ').next()?.parse::<f64>().ok()
        };
        terminal.wait_until("its age is told", |terminal| {
            noise.publish();
            let (_, last) = terminal.text.rsplit_once(DRAWING).unwrap();
            age(last).is_some()
        });
        let most = terminal.text.split(DRAWING).filter_map(age);
        let most = most.fold(0.0, f64::max);
        assert!(most >= 1.0, "{most}: {:?}", terminal.text);
        terminal.types("q");
        assert!(terminal.read_to_end().success());
    }
}

#[test]
fn a_terminal_that_never_answers_is_drawn_on_and_late_answers_are_no_keys() {
    let name = TestName::new("late");
    let mut noise = Noise::new(&name, 64, 48);
    let mut terminal = Terminal::new(&name, "", &[], 80, 24);
    // Not even before the first drawing.
    terminal.silent = true;
    terminal.wait_until("it draws twice", |terminal| {
        noise.publish();
        terminal.drawings() >= 2
    });
    assert!(!terminal.text.contains("glass"), "{:?}", terminal.text);
    // In pieces as well: none of them is Esc, or q, or c.
    for piece in [
        "\x1b[>41;379",
        ";0c\x1b",
        "[?62;22",
        "c",
        "\x1b",
        "P>|qcqc",
        "\x1b",
        "\\",
    ] {
        terminal.types(piece);
        terminal.read_for(Duration::from_millis(50));
    }
    // From now on all is answered.
    terminal.silent = false;
    terminal.answers = vec![TRUE];
    terminal.answer();
    let draws_in_true_colour = |terminal: &mut Terminal| {
        noise.publish();
        let (_, last) = terminal.text.rsplit_once(DRAWING).unwrap();
        last.contains("48;2;") && last.contains("glass")
    };
    terminal.wait_until("it draws in 24 bits", draws_in_true_colour);
    // Keys that send more, in one piece and in several; a text that is pasted. No answer gets
    // between the pieces of a key.
    terminal.silent = true;
    for piece in [
        "\x1b[A",
        "\x1b",
        "[",
        "1;5C",
        "\x1bO",
        "q",
        "\x1bq",
        "\x1b[200~q\x1b[201~",
    ] {
        terminal.types(piece);
        terminal.read_for(Duration::from_millis(50));
    }
    terminal.silent = false;
    terminal.answer();
    let drawings = terminal.drawings();
    terminal.wait_until("it goes on", |terminal| {
        noise.publish();
        terminal.drawings() > drawings
    });
    terminal.types("\x1b");
    assert!(terminal.read_to_end().success(), "{:?}", terminal.text);
}

#[test]
fn q_ends_although_nothing_is_read_any_more() {
    let name = TestName::new("stuck");
    let mut noise = Noise::new(&name, 160, 100);
    let mut terminal = Terminal::new(&name, "", &[], 300, 100);
    terminal.answers = vec![XTERM, OTHER, TRUE];
    // More than a terminal's queue holds.
    terminal.wait_until("a drawing is long", |terminal| {
        noise.publish();
        let drawings = terminal.text.split(DRAWING);
        drawings.map(str::len).max() > Some(150_000)
    });
    // It begins another one, which nobody reads.
    for _ in 0..20 {
        noise.publish();
        thread::sleep(Duration::from_millis(20));
    }
    terminal.types("q");
    assert!(terminal.end().success());
}

#[test]
fn only_cells_that_changed_are_sent() {
    let name = TestName::new("changed");
    let mut noise = Noise::new(&name, 640, 400);
    let shape = noise.shape;
    let mut pixels: Vec<u8> = (0..shape.bytes())
        .map(|i| ((i * i) >> 7).to_le_bytes()[0])
        .collect();
    let mut terminal = Terminal::new(&name, "", &[], 160, 24);
    terminal.answers = vec![XTERM, OTHER, TRUE];
    let last = |terminal: &Terminal| {
        let drawing = terminal.text.rsplit_once(DRAWING);
        drawing.map_or("", |(_, drawing)| drawing).to_owned()
    };
    noise.sender.publish(shape, &pixels).unwrap();
    terminal.wait_until("it is drawn, and is fine", |terminal| {
        terminal.text.contains("frame 2 ") && last(terminal).contains("?2026l")
    });
    terminal.read_for(Duration::from_millis(500));
    let before = terminal.text.len();
    // A corner.
    pixels[..600].fill(0);
    pixels[1920..2520].fill(0);
    noise.sender.publish(shape, &pixels).unwrap();
    terminal.wait_until("its number is shown", |terminal| {
        terminal.text[before..].contains("frame 3 ") && last(terminal).contains("?2026l")
    });
    let new = &terminal.text[before..];
    assert!(new.contains("\x1b[1G"), "{new:?}");
    assert!(new.len() < 2000, "{new:?}");
}

#[test]
fn on_a_slow_link_drawings_are_short_and_one_at_a_time() {
    let name = TestName::new("slow");
    let mut noise = Noise::new(&name, 640, 400);
    let mut terminal = Terminal::new(&name, "", &[], 200, 60);
    terminal.answers = vec![XTERM, OTHER, TRUE];
    // 1000 bytes each 10 ms, at most.
    let (begin, mut read) = (Instant::now(), 0);
    while terminal.drawings() < 12 {
        noise.publish();
        assert!(begin.elapsed() < PATIENCE, "{:?}", terminal.drawings());
        if begin.elapsed() < Duration::from_millis(read * 10) {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        assert!(terminal.read(1000), "{:?}", terminal.text);
        read += 1;
    }
    // All cells in two colours of 24 bits are 400 kB.
    let drawings: Vec<_> = terminal.text.split(DRAWING).skip(2).map(str::len).collect();
    assert!(
        drawings.iter().all(|&length| length < 200_000),
        "{drawings:?}"
    );
    terminal.types("q");
    assert!(terminal.read_to_end().success());
}
