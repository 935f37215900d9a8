//! The bottom of a terminal: a picture, if frames are shown there, and a status line, which stay in place while messages
//! scroll by above. It is drawn by a thread of its own, as fast as the terminal takes it: nobody waits for the terminal.

mod picture;
mod tty;

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use self::picture::Painter;
pub(crate) use self::tty::{Stream, Tty};
use crate::console as output;
use crate::recv::status::Status;
use crate::recv::view::Picture;
use crate::stop;

/// The shortest time between two drawings. Nobody sees more pictures, nor reads more numbers.
const PICTURE_PERIOD: Duration = Duration::from_millis(16);
const STATUS_PERIOD: Duration = Duration::from_millis(100);

/// Rows above a picture, for the last messages.
const MESSAGE_ROWS: usize = 3;
/// A terminal with less rows than this has none to spare.
const FEW_ROWS: usize = 16;

/// The live bottom of a terminal.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    /// Whose keys are read, if pictures are drawn.
    keys: Option<Arc<Tty>>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

/// What is to be drawn next.
#[derive(Default)]
struct Wanted {
    messages: Vec<String>,
    status: Option<Status>,
    picture: Option<Arc<Picture>>,
    /// There is something new among these.
    fresh: bool,
    closing: bool,
    /// Nothing is drawn any more.
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
    /// Only a status line.
    pub(crate) fn status_line(tty: Tty) -> Result<Self> {
        Self::start(Arc::new(tty), None)
    }

    /// Pictures, too, and keys.
    pub(crate) fn with_pictures(tty: Tty) -> Result<Self> {
        tty.take_keys();
        let painter = Painter::choose(&tty);
        Self::start(Arc::new(tty), Some(painter))
    }

    fn start(tty: Arc<Tty>, painter: Option<Painter>) -> Result<Self> {
        let keys = painter.is_some().then(|| Arc::clone(&tty));
        // Those that would leave the terminal as it is drawn on.
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

    pub(crate) fn status(&self, status: Status) {
        self.shared.change(|wanted| wanted.status = Some(status));
    }

    pub(crate) fn picture(&self, picture: Arc<Picture>) {
        self.shared.change(|wanted| wanted.picture = Some(picture));
    }

    /// Says something above what stays in place.
    pub(crate) fn say(&self, text: &str) {
        let mut closed = false;
        self.shared.change(|wanted| {
            closed = wanted.closed;
            if !closed {
                wanted.messages.push(text.to_owned());
            }
        });
        if closed {
            output::warn(text);
        }
    }

    /// The keys that were pressed, if pictures are drawn.
    pub(crate) fn keys(&self) -> Vec<char> {
        self.keys.as_ref().map(|tty| tty.keys()).unwrap_or_default()
    }

    /// Gives the terminal back as it was. What is said from now on goes to stderr.
    pub(crate) fn close(&self) {
        self.shared.change(|wanted| wanted.closing = true);
        let drawer = self
            .drawer
            .lock()
            .expect("nobody panics while holding it")
            .take();
        if let Some(drawer) = drawer {
            // Whether it panicked or not, the terminal is as well as it gets.
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
    /// Rows of the picture, above the status line, which the cursor is on.
    above: usize,
    /// The terminal's size when it was last drawn on, in cells.
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
            // On a signal at once, should the rest of the process be busy for longer.
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

    /// Whether a picture that was drawn may be anywhere now.
    fn is_resized(&self) -> bool {
        let now = self.tty.size().cells();
        self.painter.is_some() && self.size.is_some_and(|size| size != now)
    }

    /// What it takes to draw all this where the last drawing was.
    fn drawing(
        &mut self,
        messages: &[String],
        status: Option<&Status>,
        picture: Option<&Picture>,
    ) -> Vec<u8> {
        let size = self.tty.size();
        let (columns, rows) = size.cells();
        // Besides the status line there are some for messages, which would scroll out of sight at once.
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
            // Shown at once, where the terminal knows how; and no cursor.
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
        // A line that is full would go on in the next.
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

    /// Leaves the terminal as it was, but for what was drawn.
    fn leave(&mut self) {
        // Whatever a picture that was cut off has begun: an image, a drawing at once, a colour, a hidden cursor.
        let picture = "\x1b\\\x1b[?2026l\x1b[0m\x1b[?25h";
        let end = self.painter.as_ref().map_or("", |_| picture);
        self.tty.write(format!("{end}\r\x1b[K").as_bytes());
        self.tty.give_keys();
    }

    /// Stops and quits with the terminal as it was, and begins anew below when continued.
    fn heed_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<_> = signals.pending().collect();
        for signal in pending {
            self.leave();
            // Comes back when continued; fails for no signal that there is.
            let _ = emulate_default_handler(signal);
            self.tty.take_keys();
            self.above = 0;
            self.shared.lock().fresh = true;
        }
    }
}

/// A text without what a terminal would take for commands: names and messages may come from others.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
