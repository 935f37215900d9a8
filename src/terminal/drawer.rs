//! The thread that draws. It alone reads from the terminal and writes to it, and waits for either,
//! and for something to draw, at the same time.

use std::collections::VecDeque;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::ability::{Ability, Way};
use super::colour::Colours;
use super::input::{Event, Input};
use super::line::{self, Line};
use super::link::Link;
use super::picture::{Painter, Place};
use super::tty::Tty;
use super::{Scene, Shared, printable};
use crate::picture::{Picture, load_codecs};
use crate::stop;

/// The shortest time between two drawings: people see no more pictures, and read no more numbers.
const PICTURE_PERIOD: Duration = Duration::from_millis(16);
const STATUS_PERIOD: Duration = Duration::from_millis(100);
/// How long to wait at a time: signals and the terminal's size are looked at in between.
const SLICE: Duration = Duration::from_millis(50);
/// How long the last drawing may take to get to the terminal: at the end of the frames, and if the
/// user does not want to wait.
const LAST: Duration = Duration::from_secs(2);
const HURRIED: Duration = Duration::from_millis(300);
/// How long the terminal has to take what gives it back.
const GIVEN_BACK: Duration = Duration::from_millis(100);

/// Rows above a picture that are left for the last messages, at most.
const MESSAGE_ROWS: usize = 3;

/// The thread that draws.
pub(super) struct Drawer {
    shared: Arc<Shared>,
    woken: PipeReader,
    tty: Tty,
    /// The terminal does not exist any more.
    gone: bool,
    input: Input,
    /// For pictures: only then the terminal is asked something, and keys are read.
    view: Option<View>,
    signals: Option<Signals>,
    /// What is still to be written.
    out: Vec<u8>,
    /// When the next drawing may begin.
    due: Instant,
    /// What is on the glass. The cursor is in its last row.
    layout: Option<Layout>,
    /// The terminal's size in cells at the last drawing.
    size: Option<(usize, usize)>,
    /// Whether there are colours for the status.
    coloured: bool,
    /// The last messages, to be printed again when the terminal's size has changed.
    recent: VecDeque<String>,
}

/// What draws pictures.
struct View {
    ability: Ability,
    link: Link,
    painter: Option<Painter>,
    /// The picture on the glass.
    drawn: Option<Arc<Picture>>,
}

/// How the rows are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    place: Option<Place>,
    status: usize,
}

impl Layout {
    fn picture(self) -> usize {
        self.place.map_or(0, |place| place.rows)
    }

    /// Rows above the last one.
    fn above(self) -> usize {
        self.picture() + self.status - 1
    }
}

impl Drawer {
    pub(super) fn new(
        shared: Arc<Shared>,
        woken: PipeReader,
        mut tty: Tty,
        pictures: bool,
    ) -> Result<Self> {
        if pictures {
            tty.take_keys();
        }
        let view = pictures.then(|| View {
            ability: Ability::of_environment(),
            link: Link::new(!tty.has_keys()),
            painter: None,
            drawn: None,
        });
        // Ctrl-Z and Ctrl-\, which would leave the terminal in the state for drawing.
        let signals = pictures.then(|| Signals::new([SIGTSTP, SIGQUIT]));
        Ok(Self {
            shared,
            woken,
            tty,
            gone: false,
            input: Input::default(),
            view,
            signals: signals.transpose()?,
            out: Vec::new(),
            due: Instant::now(),
            layout: None,
            size: None,
            coloured: Colours::of_environment() != Some(Colours::None),
            recent: VecDeque::new(),
        })
    }

    pub(super) fn run(&mut self) {
        loop {
            self.heed_signals();
            // A signal ends the drawing at once: the rest of the process may take longer.
            if self.shared.lock().closing || stop::requested() {
                break;
            }
            self.step();
        }
        self.finish(false);
        let messages = {
            let mut wanted = self.shared.lock();
            wanted.closed = true;
            std::mem::take(&mut wanted.messages)
        };
        self.leave(&messages);
    }

    /// Draws, if there is something to draw and it may be sent; then waits for what comes next.
    fn step(&mut self) {
        let now = Instant::now();
        self.ask(now);
        if self.is_wanted() && self.next().is_some_and(|at| now >= at) {
            self.draw(now);
        }
        let next = if self.is_wanted() { self.next() } else { None };
        let dues = [next, self.input.due()].into_iter().flatten();
        self.wait(dues.fold(now + SLICE, Instant::min));
    }

    fn is_wanted(&self) -> bool {
        let painter = self.view.as_ref().and_then(|view| view.painter.as_ref());
        self.shared.lock().fresh || self.is_resized() || painter.is_some_and(Painter::is_unfinished)
    }

    /// When the next drawing may begin. `None`: first something must be written, or answered.
    fn next(&self) -> Option<Instant> {
        if !self.out.is_empty() {
            return None;
        }
        match &self.view {
            None => Some(self.due),
            Some(view) => view.link.free_at().map(|at| at.max(self.due)),
        }
    }

    /// Asks the terminal what it is; later, again where it is, if an answer got lost.
    fn ask(&mut self, now: Instant) {
        let columns = self.tty.size().columns;
        let asks = self.out.is_empty() && self.tty.has_keys();
        let Some(view) = self.view.as_mut().filter(|_| asks) else {
            return;
        };
        let question = if view.link.is_clear() {
            let question = view.ability.next_question();
            question.map(|question| question + view.link.probe(now))
        } else {
            view.link.ask_again(columns, now)
        };
        self.out
            .extend(question.into_iter().flat_map(String::into_bytes));
    }

    /// Waits until there is something to read, to write or to draw, and reads and writes that.
    fn wait(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the time has come afterwards.
        let ms = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, self.tty.has_keys());
        wanted.set(PollFlags::POLLOUT, !self.out.is_empty());
        let mut ready = vec![PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        if !self.gone && !wanted.is_empty() {
            ready.push(PollFd::new(self.tty.as_fd(), wanted));
        }
        if poll(&mut ready, ms).is_err() {
            // A signal. It is heeded soon.
            return;
        }
        let is_ready = |i: usize| ready.get(i).and_then(PollFd::any).unwrap_or(false);
        let (woken, tty) = (is_ready(0), is_ready(1));
        if woken {
            // What woke is in the shared part.
            let _ = self.woken.read(&mut [0; 64]);
        }
        if tty {
            self.read();
            self.write();
        }
        if let Some(event) = self.input.tick(Instant::now()) {
            self.take(event, Instant::now());
        }
    }

    fn read(&mut self) {
        if !self.tty.has_keys() {
            return;
        }
        let now = Instant::now();
        match self.tty.read() {
            Ok(bytes) => {
                for event in self.input.feed(&bytes, now) {
                    self.take(event, now);
                }
            }
            Err(_) => self.gone = true,
        }
    }

    /// Writes as much as the terminal takes.
    fn write(&mut self) {
        if self.out.is_empty() {
            return;
        }
        match self.tty.write(&self.out) {
            // It was ready with one byte of room: a line end takes two.
            Ok(0) => thread::sleep(Duration::from_millis(5)),
            Ok(written) => drop(self.out.drain(..written)),
            Err(_) => self.gone = true,
        }
        if self.gone {
            self.out.clear();
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        let sequence = match event {
            Event::Key(key) => {
                self.shared.lock().keys.push(key);
                return;
            }
            Event::Sequence(sequence) => sequence,
        };
        let Some(view) = &mut self.view else {
            return;
        };
        match view.link.answer(&sequence, now) {
            Some(column @ 2..=3) => view.ability.learn_utf8(column == 2),
            Some(_) => {}
            None => view.ability.learn(&sequence),
        }
    }

    /// Draws what is wanted over the last drawing.
    fn draw(&mut self, now: Instant) {
        let (scene, mut messages) = {
            let mut wanted = self.shared.lock();
            wanted.fresh = false;
            (wanted.scene.clone(), std::mem::take(&mut wanted.messages))
        };
        let size = self.tty.size();
        let (columns, rows) = size.cells();
        let resized = self.is_resized();
        let status = self.status(&scene, columns, rows, now);
        let mut erase = String::new();
        let mut place = None;
        if let (Some(view), Some((picture, _))) = (&mut self.view, &scene.picture) {
            let way = view.ability.way(size.cell.is_some());
            if view
                .painter
                .as_ref()
                .is_none_or(|painter| painter.way != way)
            {
                if let (Way::Kitty | Way::Iterm, Err(error)) = (way, load_codecs()) {
                    messages.push(format!("no pictures: {error:#}"));
                }
                let old = view.painter.replace(Painter::new(way));
                erase = old.map(|mut old| old.erase()).unwrap_or_default();
                view.drawn = None;
            }
            let others = status.len() + message_rows(rows);
            let painter = view.painter.as_ref();
            place = painter.and_then(|painter| painter.place(picture, size.less_rows(others)));
        }
        let layout = Layout {
            place,
            status: status.len(),
        };
        let anew = resized || !messages.is_empty() || self.layout != Some(layout);
        let mut text = String::new();
        if self.view.is_some() {
            // Begin a synchronized update, and hide the cursor.
            text += "\x1b[?2026h\x1b[?25l";
        }
        text += "\r";
        if resized {
            text += "\x1b[2J\x1b[H";
        } else if let Some(above) = self.layout.map(Layout::above).filter(|&above| above > 0) {
            text.extend(["\x1b[", &above.to_string(), "A"]);
        }
        if anew {
            let painter = self.view.as_mut().and_then(|view| view.painter.as_mut());
            text += &erase;
            text += &painter.map(Painter::erase).unwrap_or_default();
            text += "\x1b[J";
            self.recent.extend(messages.iter().cloned());
            let old = self.recent.len().saturating_sub(message_rows(rows).max(1));
            self.recent.drain(..old);
            let again = self.recent.iter().filter(|_| resized);
            for message in again.chain(messages.iter().filter(|_| !resized)) {
                text.extend([&printable(message), "\r\n"]);
            }
            if layout.above() > 0 {
                text += &"\n".repeat(layout.above());
                text.extend(["\x1b[", &layout.above().to_string(), "A"]);
            }
        }
        self.out.extend_from_slice(text.as_bytes());
        let begun = self.paint(&scene, layout, anew);
        let status: Vec<_> = status
            .iter()
            .map(|line| format!("\r{line}\x1b[K"))
            .collect();
        self.out.extend_from_slice(status.join("\n").as_bytes());
        let period = if let Some(view) = &mut self.view {
            self.out.extend_from_slice(b"\x1b[?2026l");
            // To draw takes time as well, which is not the link's.
            let sent = Instant::now();
            let question = view.link.ask(self.out.len(), begun, columns, sent);
            self.out.extend_from_slice(question.as_bytes());
            PICTURE_PERIOD
        } else {
            STATUS_PERIOD
        };
        self.layout = Some(layout);
        self.size = Some(size.cells());
        self.due = now + period;
        // Mostly the terminal takes it at once.
        self.write();
    }

    /// Draws the picture in its place, and goes to the line below. Returns when the picture began,
    /// if it was drawn.
    fn paint(&mut self, scene: &Scene, layout: Layout, anew: bool) -> Option<Instant> {
        let (place, view) = (layout.place?, self.view.as_mut()?);
        let (picture, begun) = scene.picture.as_ref()?;
        let painter = view.painter.as_mut()?;
        let same = view
            .drawn
            .as_ref()
            .is_some_and(|drawn| Arc::ptr_eq(drawn, picture));
        if !same || anew || painter.is_unfinished() {
            // Fails for frames that OpenCV cannot scale, if there are any.
            if let Ok(bytes) = painter.paint(picture, place, view.link.budget()) {
                self.out.extend_from_slice(&bytes);
                view.drawn = Some(Arc::clone(picture));
                return Some(*begun);
            }
        }
        let rows = place.rows;
        self.out
            .extend_from_slice(format!("\x1b[{rows}B").as_bytes());
        None
    }

    /// The status lines that there is room for, at least one.
    fn status(&self, scene: &Scene, columns: usize, rows: usize, now: Instant) -> Vec<String> {
        let age = self.view.as_ref().and_then(|view| view.link.age(now));
        let room = if self.view.is_some() { rows / 4 } else { rows };
        let hidden = scene.caption.hidden;
        let lines = scene
            .status
            .iter()
            .filter(|line| !hidden || line.is_warning());
        let mut lines: Vec<Line> = lines.cloned().collect();
        if lines.is_empty() {
            lines.push(Line(Vec::new()));
        }
        if !hidden {
            let words = scene.caption.words.iter();
            let words = words.map(|word| line::Item::new(word.clone(), word.clone()));
            lines[0].0.splice(0..0, words);
        }
        // A full line would wrap.
        let columns = columns.saturating_sub(1);
        line::fit_all(&lines, room, columns, age, self.coloured)
    }

    /// Whether the terminal's size changed, so that the last picture may be anywhere.
    fn is_resized(&self) -> bool {
        let now = self.tty.size().cells();
        self.view.is_some() && self.size.is_some_and(|size| size != now)
    }

    /// Lets the last drawing get to the terminal, and the answer to it come back: later it would be
    /// typed into the shell. At the end of the frames, what is wanted is drawn before.
    fn finish(&mut self, hurried: bool) {
        let begin = Instant::now();
        loop {
            let hurried = hurried || stop::requested();
            let end = begin + if hurried { HURRIED } else { LAST };
            let now = Instant::now();
            if !hurried {
                self.ask(now);
            }
            let wanted = !hurried && self.is_wanted();
            if wanted && self.next().is_some_and(|at| now >= at) {
                self.draw(now);
            }
            let answers = self.view.as_ref().is_some_and(|view| view.link.is_due());
            let done = !wanted && self.out.is_empty() && !answers;
            if done || self.gone || now >= end {
                return;
            }
            let next = if wanted { self.next() } else { None };
            self.wait(next.unwrap_or(end).min(now + SLICE));
        }
    }

    /// Leaves the terminal as it was, with the last drawing on it, and messages below.
    fn leave(&mut self, messages: &[String]) {
        let mut text = String::new();
        if !self.out.is_empty() {
            // The terminal does not take it: nobody waits for that. An image or a colour may have
            // been cut off anywhere.
            self.out.clear();
            self.tty.discard();
            let row = self.view.as_ref().and_then(|view| view.link.row());
            let last = row.map_or("\x1b[999B".to_owned(), |row| format!("\x1b[{row}H"));
            text.extend(["\x1b\\", &last]);
        }
        if self.view.is_some() {
            text += "\x1b[?2026l\x1b[0m\x1b[?25h";
        }
        text += "\r";
        let status = self.layout.map_or(1, |layout| layout.status);
        if status > 1 {
            text.extend(["\x1b[", &(status - 1).to_string(), "A"]);
        }
        text += "\x1b[J";
        for message in messages {
            text.extend([&printable(message), "\r\n"]);
        }
        self.out = text.into_bytes();
        let end = Instant::now() + GIVEN_BACK;
        while !self.out.is_empty() && !self.gone && Instant::now() < end {
            self.wait(end);
        }
        self.out.clear();
        self.tty.give_keys();
    }

    /// Stops or quits on a signal, with the terminal as it was. When continued, draws again, below.
    fn heed_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<_> = signals.pending().collect();
        for signal in pending {
            self.finish(true);
            self.leave(&[]);
            // Returns when the process is continued. It cannot fail for these two signals.
            let _ = emulate_default_handler(signal);
            self.tty.take_keys();
            self.layout = None;
            if let Some(view) = &mut self.view {
                view.link.forget();
            }
            self.shared.lock().fresh = true;
        }
    }
}

/// Rows that are left for messages: a small terminal has few to spare.
fn message_rows(rows: usize) -> usize {
    (rows / 5).min(MESSAGE_ROWS)
}
