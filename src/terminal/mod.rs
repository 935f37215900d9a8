//! The bottom of a terminal: a picture, if frames are shown there, and a status line. They stay in
//! place while messages scroll by above. A thread draws them as fast as the terminal takes them, so
//! that nothing else waits for a slow terminal.

mod line;
mod picture;
mod tty;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

pub(crate) use self::line::{Item, Line};
use self::picture::Painter;
pub(crate) use self::tty::{Stream, Tty};
use crate::picture::Picture;
use crate::stdio;
use crate::stop;

/// The shortest time between two drawings: people see no more pictures, and read no more numbers.
const PICTURE_PERIOD: Duration = Duration::from_millis(16);
const STATUS_PERIOD: Duration = Duration::from_millis(100);

/// Rows above a picture that are left for the last messages.
const MESSAGE_ROWS: usize = 3;
/// A terminal with fewer rows has none to spare for messages.
const FEW_ROWS: usize = 16;

/// The bottom of a terminal while it is drawn on.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    /// The terminal whose keys are read, if pictures are drawn.
    keys: Option<Arc<Tty>>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

/// What the thread is to draw next.
#[derive(Default)]
struct Wanted {
    messages: Vec<String>,
    status: Option<Line>,
    picture: Option<Arc<Picture>>,
    /// One of these is new.
    fresh: bool,
    /// The thread is to end.
    closing: bool,
    /// The thread draws no more.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().expect("nobody panics while holding it")
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = self.lock();
        change(&mut wanted);
        wanted.fresh = true;
        self.changed.notify_one();
    }
}

impl Screen {
    /// Begins to draw a status line.
    pub(crate) fn status_line(tty: Tty) -> Result<Self> {
        Self::start(Arc::new(tty), None)
    }

    /// Begins to draw pictures and a status line, and to read keys.
    pub(crate) fn with_pictures(tty: Tty) -> Result<Self> {
        tty.take_keys();
        let painter = Painter::choose(&tty);
        Self::start(Arc::new(tty), Some(painter))
    }

    fn start(tty: Arc<Tty>, painter: Option<Painter>) -> Result<Self> {
        let keys = painter.is_some().then(|| Arc::clone(&tty));
        // Ctrl-Z and Ctrl-\, which would leave the terminal in the state for drawing.
        let signals = keys.as_ref().map(|_| Signals::new([SIGTSTP, SIGQUIT]));
        let mut drawer = Drawer {
            shared: Arc::default(),
            tty,
            painter,
            signals: signals.transpose()?,
            above: 0,
            size: None,
        };
        let shared = Arc::clone(&drawer.shared);
        Ok(Self {
            shared,
            keys,
            drawer: Mutex::new(Some(thread::spawn(move || drawer.run()))),
        })
    }

    pub(crate) fn status(&self, lines: Vec<Line>) {
        self.shared
            .change(|wanted| wanted.status = lines.into_iter().next());
    }

    pub(crate) fn picture(&self, picture: Arc<Picture>) {
        self.shared.change(|wanted| wanted.picture = Some(picture));
    }

    /// Prints a message above the part that stays in place.
    pub(crate) fn say(&self, text: &str) {
        let mut closed = false;
        self.shared.change(|wanted| {
            closed = wanted.closed;
            if !closed {
                wanted.messages.push(text.to_owned());
            }
        });
        if closed {
            stdio::warn(text);
        }
    }

    /// The keys that were pressed, if pictures are drawn.
    pub(crate) fn keys(&self) -> Vec<char> {
        self.keys.as_ref().map(|tty| tty.keys()).unwrap_or_default()
    }

    /// Gives the terminal back as it was. Later messages go to stderr.
    pub(crate) fn close(&self) {
        self.shared.change(|wanted| wanted.closing = true);
        let drawer = self
            .drawer
            .lock()
            .expect("nobody panics while holding it")
            .take();
        if let Some(drawer) = drawer {
            // If the thread panicked, there is nothing more to do for the terminal.
            let _ = drawer.join();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread that draws.
struct Drawer {
    shared: Arc<Shared>,
    tty: Arc<Tty>,
    /// `None`: only the status line is drawn.
    painter: Option<Painter>,
    signals: Option<Signals>,
    /// Rows of the picture. The cursor is on the status line, which is below.
    above: usize,
    /// The terminal's size in cells at the last drawing.
    size: Option<(usize, usize)>,
}

impl Drawer {
    fn run(&mut self) {
        let period = if self.painter.is_some() {
            PICTURE_PERIOD
        } else {
            STATUS_PERIOD
        };
        loop {
            let begin = Instant::now();
            self.heed_signals();
            let mut wanted = self.shared.lock();
            // A signal ends the drawing at once: the rest of the process may take longer.
            let ended = wanted.closing || stop::requested();
            wanted.closed = ended;
            let fresh = std::mem::take(&mut wanted.fresh);
            let messages = std::mem::take(&mut wanted.messages);
            let status = wanted.status.clone();
            let picture = wanted.picture.clone();
            drop(wanted);
            if fresh || self.is_resized() {
                let bytes = self.drawing(&messages, status.as_ref(), picture.as_deref());
                self.tty.write(&bytes);
            }
            if ended {
                break;
            }
            thread::sleep(period.saturating_sub(begin.elapsed()));
            let wanted = self.shared.lock();
            if !wanted.fresh && !wanted.closing {
                let _ = self.shared.changed.wait_timeout(wanted, STATUS_PERIOD);
            }
        }
        self.leave();
    }

    /// Whether the terminal's size changed, so that the last picture may be anywhere.
    fn is_resized(&self) -> bool {
        let now = self.tty.size().cells();
        self.painter.is_some() && self.size.is_some_and(|size| size != now)
    }

    /// The bytes that draw all this over the last drawing.
    fn drawing(
        &mut self,
        messages: &[String],
        status: Option<&Line>,
        picture: Option<&Picture>,
    ) -> Vec<u8> {
        let size = self.tty.size();
        let (columns, rows) = size.cells();
        // Rows that are left for the status line, and for messages, so that these stay in sight.
        let others = if rows < FEW_ROWS { 1 } else { 1 + MESSAGE_ROWS };
        let painted = match (&self.painter, picture) {
            (Some(painter), Some(picture)) => painter.paint(picture, size.less_rows(others)),
            _ => None,
        };
        let (height, painting) = painted.unwrap_or_default();
        let resized = self.is_resized();
        let anew = resized || !messages.is_empty() || height != self.above;
        let mut text = String::new();
        if let Some(painter) = &self.painter {
            // Begin a synchronized update, and hide the cursor.
            text += "\x1b[?2026h\x1b[?25l";
            text += if anew { painter.erase() } else { "" };
        }
        text += "\r";
        if resized {
            text += "\x1b[2J\x1b[H";
        } else if self.above > 0 {
            text.extend(["\x1b[", &self.above.to_string(), "A"]);
        }
        if anew {
            text += "\x1b[J";
            for message in messages {
                text.extend([&printable(message), "\r\n"]);
            }
            text += &"\n".repeat(height);
            if height > 0 {
                text.extend(["\x1b[", &height.to_string(), "A"]);
            }
        }
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&painting);
        // A full line would wrap.
        let columns = columns.saturating_sub(1);
        let line = status.map(|status| status.fit(columns, self.tty.colours().any()));
        bytes.extend_from_slice(format!("\r{}\x1b[K", line.unwrap_or_default()).as_bytes());
        if self.painter.is_some() {
            bytes.extend_from_slice(b"\x1b[?2026l");
        }
        self.above = height;
        self.size = Some(size.cells());
        bytes
    }

    /// Leaves the terminal as it was, with the last drawing on it.
    fn leave(&mut self) {
        // A drawing may have been cut off: end an image, a synchronized update, a colour, and show
        // the cursor.
        let picture = "\x1b\\\x1b[?2026l\x1b[0m\x1b[?25h";
        let end = self.painter.as_ref().map_or("", |_| picture);
        self.tty.write(format!("{end}\r\x1b[K").as_bytes());
        self.tty.give_keys();
    }

    /// Stops or quits on a signal, with the terminal as it was. When continued, draws again, below.
    fn heed_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<_> = signals.pending().collect();
        for signal in pending {
            self.leave();
            // Returns when the process is continued. It cannot fail for these two signals.
            let _ = emulate_default_handler(signal);
            self.tty.take_keys();
            self.above = 0;
            self.shared.lock().fresh = true;
        }
    }
}

/// A text without control characters: names and messages may come from other users, and a terminal
/// would obey them.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
