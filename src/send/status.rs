//! The status line of a sender: how far it is, how fast, and who receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use shm_frame::Name;

use crate::console::Console;
use crate::send::tally::Tally;
use crate::terminal::{Item, Line};
use crate::units::{counted, ms};

/// How often the line changes.
const PERIOD: Duration = Duration::from_millis(250);
/// How long after the receivers were counted they are counted again.
const COUNT_AGAIN: Duration = Duration::from_millis(500);
/// How many letters the bar of a source that ends has.
const BAR: u64 = 20;

/// A status line that stays in place.
pub(super) struct Status {
    console: Console,
    /// How many frames the source has, if it ends.
    frames: Option<u64>,
    /// How many of them were sent or skipped.
    done: u64,
    begin: Instant,
    due: Instant,
    receivers: Counter,
}

/// Counts the receivers, beside the sending: the kernel takes its time to tell.
struct Counter {
    ask: SyncSender<()>,
    last: Arc<AtomicUsize>,
}

impl Counter {
    fn new(name: Name) -> Self {
        let (ask, asked) = mpsc::sync_channel(1);
        let last = Arc::new(AtomicUsize::new(0));
        let found = Arc::clone(&last);
        // Where there is no thread for it, none are told.
        let _ = thread::Builder::new().spawn(move || {
            while asked.recv().is_ok() {
                let segments = shm_frame::list().map(|listing| listing.segments);
                let mut segments = segments.unwrap_or_default().into_iter();
                let own = segments.find(|segment| segment.name == name);
                let receivers = own.and_then(|own| own.control).map(|own| own.receivers);
                found.store(receivers.unwrap_or(0), Ordering::Relaxed);
                thread::sleep(COUNT_AGAIN);
            }
        });
        Self { ask, last }
    }

    /// How many there were when they were last counted.
    fn last(&self) -> usize {
        // Full: it is asked for.
        let _ = self.ask.try_send(());
        self.last.load(Ordering::Relaxed)
    }
}

impl Status {
    /// `None`: there is no terminal for one, or nobody wants it.
    pub(super) fn new(name: &Name, frames: Option<u64>, console: &Console) -> Option<Self> {
        let now = Instant::now();
        console.has_status_line().then(|| Self {
            console: console.clone(),
            frames,
            done: 0,
            begin: now,
            due: now,
            receivers: Counter::new(name.clone()),
        })
    }

    /// Takes note of another frame of the source.
    pub(super) fn step(&mut self) {
        self.done += 1;
    }

    /// Brings the line up to date, if that is due. To be called often.
    pub(super) fn tick(&mut self, tally: &Tally) {
        if Instant::now() >= self.due {
            self.due = Instant::now() + PERIOD;
            self.console
                .status(0, self.line(tally, self.receivers.last()));
        }
    }

    /// The values, the most important first.
    fn line(&self, tally: &Tally, receivers: usize) -> Line {
        let mut items = Vec::new();
        let mut add = |full: String, short: String| items.push(Item::new(full, short));
        match self.frames.filter(|&frames| frames > 0) {
            Some(frames) => {
                let count = format!("{}/{frames}", self.done);
                let count = format!("{count} frames");
                add(format!("{} {count}", self.bar(frames)), count);
                let left = format!("{} left", clock(self.left(frames)));
                add(left.clone(), left);
            }
            None => add(format!("frame {}", tally.frames), tally.frames.to_string()),
        }
        let fps = tally.pace.fps();
        add(format!("{fps:.1} frames/s"), format!("{fps:.1}/s"));
        let receivers = counted(receivers as u64, "receiver");
        add(receivers.clone(), receivers);
        if let Some(ns) = tally.last_ns {
            let ms = ms(ns);
            add(format!("writing {ms:.3} ms"), format!("{ms:.3} ms"));
        }
        if tally.skipped > 0 {
            let skipped = tally.skipped;
            add(format!("skipped {skipped}"), format!("skip {skipped}"));
        }
        Line(items)
    }

    /// How far it is, as a picture of letters.
    fn bar(&self, frames: u64) -> String {
        let filled = (self.done.min(frames) * BAR).div_ceil(frames);
        let letters = (1..=BAR).map(|letter| if letter <= filled { '#' } else { '-' });
        format!("[{}]", letters.collect::<String>())
    }

    /// How long the rest takes if it is as fast as what was.
    fn left(&self, frames: u64) -> Duration {
        let left = frames.saturating_sub(self.done);
        let done = u32::try_from(self.done.max(1)).unwrap_or(u32::MAX);
        let each = self.begin.elapsed() / done;
        each.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// Minutes and seconds, and hours if there are any.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
