//! A terminal: its size, its colours, its keys, and writes that nobody gets stuck in.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};

use crate::stdio;
use crate::stop;

/// How long to wait at a time.
const SLICE: Duration = Duration::from_millis(50);

/// A stream that may be a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A terminal that understands escape sequences.
#[derive(Debug)]
pub(crate) struct Tty {
    /// Of its own description, so that it does not block and nobody else's mode changes.
    out: File,
    colours: Colours,
    /// How the keyboard was, while keys are taken one by one.
    before: Mutex<Option<Termios>>,
}

/// What colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// None, or the user wants none.
    None,
    /// The 256 of xterm.
    Palette,
    /// 24 bits.
    True,
}

impl Colours {
    pub(crate) fn any(self) -> bool {
        self != Self::None
    }

    fn known() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        let term = variable("TERM");
        if !variable("NO_COLOR").is_empty()
            || term.starts_with("vt")
            || term.ends_with("-mono")
            || term.ends_with("-m")
        {
            Self::None
        } else if matches!(variable("COLORTERM").as_str(), "truecolor" | "24bit")
            || term.ends_with("-direct")
        {
            Self::True
        } else {
            Self::Palette
        }
    }
}

/// A terminal's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub columns: usize,
    pub rows: usize,
    /// Of a cell in pixels, if the terminal says.
    pub cell: Option<(usize, usize)>,
}

impl Size {
    pub(crate) fn cells(self) -> (usize, usize) {
        (self.columns, self.rows)
    }

    /// What is left above some rows.
    pub(crate) fn less_rows(self, rows: usize) -> Self {
        Self {
            rows: self.rows.saturating_sub(rows),
            ..self
        }
    }
}

impl Tty {
    /// The terminal that a stream is, if it is one that can be drawn on, and this process is not in
    /// its background.
    pub(crate) fn of(stream: Stream) -> Option<Self> {
        let (is_terminal, out) = match stream {
            Stream::Stdout => (io::stdout().is_terminal(), stdio::reopen(&io::stdout())),
            Stream::Stderr => (io::stderr().is_terminal(), stdio::reopen(&io::stderr())),
        };
        let term = env::var("TERM").unwrap_or_default();
        if !is_terminal || matches!(term.as_str(), "" | "dumb" | "unknown") {
            return None;
        }
        let out = out.ok()?;
        // Fails for a terminal that is not this process's: then there is no foreground.
        if tcgetpgrp(&out).is_ok_and(|group| group != getpgrp()) {
            return None;
        }
        Some(Self {
            out,
            colours: Colours::known(),
            before: Mutex::default(),
        })
    }

    pub(crate) fn colours(&self) -> Colours {
        self.colours
    }

    pub(crate) fn size(&self) -> Size {
        let Ok(size) = tcgetwinsize(&self.out) else {
            return Size {
                columns: 80,
                rows: 24,
                cell: None,
            };
        };
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        if columns == 0 || rows == 0 {
            // A serial line does not know.
            return Size {
                columns: 80,
                rows: 24,
                cell: None,
            };
        }
        let cell = (
            usize::from(size.ws_xpixel) / columns,
            usize::from(size.ws_ypixel) / rows,
        );
        Size {
            columns,
            rows,
            cell: (cell.0 > 0 && cell.1 > 0).then_some(cell),
        }
    }

    /// Writes all of it, or gives up if the terminal takes nothing and the end is asked for.
    pub(crate) fn write(&self, bytes: &[u8]) {
        // An error is a terminal that is gone, and whoever looked at it as well.
        let _ = stdio::write_all(&self.out, bytes);
    }

    /// From now on keys come one by one and unseen, if there is a keyboard.
    pub(crate) fn take_keys(&self) {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return;
        };
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // A read takes what is there.
        modes.special_codes[SpecialCodeIndex::VMIN] = 0;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        if tcsetattr(&stdin, OptionalActions::Now, &modes).is_ok() {
            *self.before() = Some(before);
        }
    }

    /// The keyboard as it was.
    pub(crate) fn give_keys(&self) {
        if let Some(before) = self.before().take() {
            // Typed ahead, to a picture: not for the shell.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
        }
    }

    /// The keys that were pressed. Those that send more than one byte, as the arrows do, are none.
    pub(crate) fn keys(&self) -> Vec<char> {
        let typed = self.typed(Duration::ZERO);
        let sequence = typed.windows(2).position(|pair| pair[0] == b'\x1b');
        let keys = &typed[..sequence.unwrap_or(typed.len())];
        keys.iter().copied().map(char::from).collect()
    }

    /// Asks the terminal something, and returns what it said until its answer is whole.
    pub(crate) fn ask(&self, question: &str, is_whole: impl Fn(&str) -> bool) -> String {
        const PATIENCE: Duration = Duration::from_secs(1);
        let mut answer = String::new();
        if self.before().is_none() {
            return answer;
        }
        self.write(question.as_bytes());
        let begin = Instant::now();
        while !is_whole(&answer) && begin.elapsed() < PATIENCE && !stop::requested() {
            answer += &String::from_utf8_lossy(&self.typed(SLICE));
        }
        answer
    }

    fn typed(&self, time: Duration) -> Vec<u8> {
        let mut bytes = [0; 256];
        let stdin = io::stdin();
        if self.before().is_none() || !ready(&stdin, PollFlags::POLLIN, time) {
            return Vec::new();
        }
        // Not through std's buffer, which poll(2) does not see.
        let read = rustix::io::read(&stdin, &mut bytes).unwrap_or(0);
        bytes[..read].to_vec()
    }

    fn before(&self) -> std::sync::MutexGuard<'_, Option<Termios>> {
        self.before.lock().expect("nobody panics while holding it")
    }
}

fn ready(file: impl AsFd, what: PollFlags, time: Duration) -> bool {
    let ms = u16::try_from(time.as_millis()).expect("short");
    poll(&mut [PollFd::new(file.as_fd(), what)], ms).is_ok_and(|ready| ready > 0)
}
