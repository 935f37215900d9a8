//! Shows frames in a window or in the terminal, and obeys the keys pressed there.

use std::path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use shm_frame::{Format, Frame, Name, Shape, Size};

use crate::console::Console;
use crate::picture::Picture;
use crate::recv::args::{self, Args};
use crate::recv::sink::save;
use crate::recv::stage::{Cue, Stage};
use crate::recv::taken::Taken;
use crate::stop;
use crate::terminal::{Caption, Screen, Stream, Tty};
use crate::visible::Visible;
use crate::window::{self, Input, Window};

/// Where frames are shown.
pub(super) enum Place {
    Window(Window),
    /// In the terminal, above its status line.
    Terminal(Arc<Screen>),
    Nowhere,
}

/// Opens the place that `--view` names, and the terminal's screen if there is something to draw on
/// it: frames, or a status line.
pub(super) fn open(args: &Args) -> Result<(Place, Option<Arc<Screen>>)> {
    let text = if args.raw.is_some() {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    // With --json and --log lines scroll by: nothing can stay in place.
    let tty = || Tty::of(text).filter(|_| !args.json && !args.log);
    let status = || match tty() {
        Some(tty) if !args.quiet => Screen::status_line(tty).map(|screen| Some(Arc::new(screen))),
        _ => Ok(None),
    };
    let window = || {
        let title = format!("shm-recv {}", args.name);
        Window::open(&title)
            .context("--view window")
            .map(Place::Window)
    };
    let terminal = |tty| {
        let screen = Arc::new(Screen::with_pictures(tty)?);
        anyhow::Ok((Place::Terminal(Arc::clone(&screen)), Some(screen)))
    };
    match args.view {
        args::View::None => Ok((Place::Nowhere, status()?)),
        args::View::Window => Ok((window()?, status()?)),
        args::View::Terminal => match tty() {
            Some(tty) => terminal(tty),
            None => bail!(
                "--view terminal: stdout is no terminal that can be drawn on, or this process is \
                 in its background"
            ),
        },
        args::View::Auto => {
            // Held until the window has a connection of its own: see Window::open.
            if let Ok(_connection) = window::display() {
                return Ok((window()?, status()?));
            }
            match tty() {
                Some(tty) if text == Stream::Stdout => terminal(tty),
                _ => Ok((Place::Nowhere, status()?)),
            }
        }
    }
}

/// How long a note stays in a window's caption.
const NOTE: Duration = Duration::from_secs(3);
/// How often to look for a new frame and for keys: as often as most screens show a picture.
const PERIOD: Duration = Duration::from_millis(8);
/// The size of a window before the first frame.
const EMPTY: Size = Size {
    width: 640,
    height: 360,
};
/// How bright a picture is while no new one comes, in percent.
const DIMMED: u32 = 40;

/// Shows frames, and obeys keys.
pub(super) struct Viewer {
    name: Name,
    place: Place,
    console: Console,
    visible: Visible,
    /// The last frame that came.
    latest: Option<Arc<Taken>>,
    /// The frame that is shown: the latest, unless the picture is frozen.
    shown: Option<Arc<Taken>>,
    /// That frame as a person can see it.
    picture: Option<Arc<Picture>>,
    /// When the sender began that frame.
    begun: Instant,
    frozen: bool,
    /// The numbers are written on the window's picture.
    captioned: bool,
    numbers: String,
    /// Why nothing new is there to be seen.
    stale: Option<String>,
    note: Option<(String, Instant)>,
    /// What was drawn last: the caption, and whether the picture was dimmed.
    drawn: (String, bool),
}

impl Viewer {
    pub(super) fn new(name: Name, place: Place, console: Console) -> Self {
        Self {
            name,
            place,
            console,
            visible: Visible::default(),
            latest: None,
            shown: None,
            picture: None,
            begun: Instant::now(),
            frozen: false,
            captioned: true,
            numbers: String::new(),
            stale: None,
            note: None,
            drawn: (String::new(), false),
        }
    }

    pub(super) fn is_somewhere(&self) -> bool {
        !matches!(self.place, Place::Nowhere)
    }

    /// Shows what is on the stage, until that ends or the user wants to.
    pub(super) fn run(&mut self, stage: &Stage) -> Result<()> {
        loop {
            let begin = Instant::now();
            let Cue {
                taken,
                numbers,
                stale,
                ended,
            } = stage.cue();
            self.numbers = numbers;
            self.stale = stale;
            if let Some(taken) = taken {
                self.show(taken)?;
            }
            if ended || stop::requested() || !self.heed()? {
                return Ok(());
            }
            thread::sleep(PERIOD.saturating_sub(begin.elapsed()));
        }
    }

    fn show(&mut self, taken: Arc<Taken>) -> Result<()> {
        self.latest = Some(Arc::clone(&taken));
        if self.frozen {
            return self.redraw();
        }
        self.look_at(taken)?;
        self.draw()
    }

    /// Makes a frame the one that is shown.
    fn look_at(&mut self, taken: Arc<Taken>) -> Result<()> {
        let seen = self.visible.see(&taken.pixels, taken.frame.shape)?;
        let picture = match seen {
            Some((pixels, shape)) => Picture::new(Arc::new(pixels), shape),
            None => Picture::new(Arc::clone(&taken) as _, taken.frame.shape),
        };
        self.picture = Some(Arc::new(picture));
        self.begun = begun(&taken.frame);
        self.shown = Some(taken);
        Ok(())
    }

    /// Obeys the keys that were pressed. `false`: the user wants to end.
    fn heed(&mut self) -> Result<bool> {
        let keys = match &mut self.place {
            Place::Window(window) => match window.input()? {
                Some(Input::End) => return Ok(false),
                Some(Input::Key(key)) => vec![key],
                None => Vec::new(),
            },
            Place::Terminal(screen) => screen.keys(),
            Place::Nowhere => Vec::new(),
        };
        for key in keys {
            match key {
                'q' | '\x1b' => {
                    // A terminal that takes nothing must not hold up the summary for long.
                    stop::request();
                    return Ok(false);
                }
                'h' => self.captioned = !self.captioned,
                'c' => self.colour()?,
                ' ' => self.freeze()?,
                's' => self.save(),
                _ => {}
            }
        }
        self.redraw()?;
        Ok(true)
    }

    /// Colours a single channel by the next map.
    fn colour(&mut self) -> Result<()> {
        self.visible.next_map();
        if let Some(shown) = self.shown.clone() {
            self.look_at(shown)?;
            self.draw()?;
        }
        Ok(())
    }

    /// Freezes the picture, or shows the latest frame again.
    fn freeze(&mut self) -> Result<()> {
        self.frozen = !self.frozen;
        if !self.frozen
            && let Some(latest) = self.latest.clone()
        {
            self.look_at(latest)?;
            return self.draw();
        }
        Ok(())
    }

    /// Saves the frame that is shown in the working directory, as it came.
    fn save(&mut self) {
        let Some(shown) = &self.shown else {
            return;
        };
        let name = self.name.to_string();
        let stem = format!("{}-{:06}", &name[1..], shown.frame.number);
        let here = path::absolute(".").unwrap_or_default();
        let said = match save::write(&here, &stem, &shown.pixels, shown.frame.shape) {
            Ok(path) => format!("saved {}", path.display()),
            Err(error) => format!("{error:#}"),
        };
        self.console.say(&said);
        self.note = Some((said, Instant::now()));
    }

    /// The line on the window's picture. A stream that stands still is told, `h` or not.
    fn caption(&self) -> String {
        let note = self
            .note
            .as_ref()
            .filter(|(_, since)| since.elapsed() < NOTE);
        if let Some((note, _)) = note {
            return note.clone();
        }
        let mut words = Vec::new();
        if self.frozen {
            words.push("frozen".to_owned());
        }
        if let Some(stale) = &self.stale {
            words.push(stale.clone());
        } else if self.captioned {
            words.push(self.numbers.clone());
            words.extend(Some(self.visible.describe()).filter(|text| !text.is_empty()));
        } else {
            words.clear();
        }
        words.join("  ")
    }

    /// Draws again if the caption, the brightness or the window's size changed.
    fn redraw(&mut self) -> Result<()> {
        let changed = match &self.place {
            Place::Window(window) => self.drawn != self.look() || window.is_stale()?,
            // The terminal has its caption in the status line.
            Place::Terminal(screen) => {
                screen.caption(self.words());
                self.drawn.1 != self.is_dimmed()
            }
            Place::Nowhere => false,
        };
        if changed { self.draw() } else { Ok(()) }
    }

    /// What the terminal says besides the numbers.
    fn words(&self) -> Caption {
        let frozen = self.frozen.then(|| "frozen".to_owned());
        let described = Some(self.visible.describe()).filter(|text| !text.is_empty());
        Caption {
            words: frozen.into_iter().chain(described).collect(),
            hidden: !self.captioned,
        }
    }

    /// The caption, and whether the picture is dimmed.
    fn look(&self) -> (String, bool) {
        (self.caption(), self.is_dimmed())
    }

    /// Whether the picture is dark, since no new one comes. A frozen one is meant to be old.
    fn is_dimmed(&self) -> bool {
        self.stale.is_some() && !self.frozen
    }

    fn draw(&mut self) -> Result<()> {
        let (caption, dim) = self.look();
        let picture = match &self.picture {
            Some(picture) if dim => Some(Arc::new(dimmed(picture))),
            picture => picture.clone(),
        };
        match (&mut self.place, picture) {
            (Place::Window(window), Some(picture)) => {
                window.show(picture.pixels(), picture.shape, &caption)?;
            }
            (Place::Window(window), None) => {
                let shape = Shape::new(EMPTY, Format::GRAY8)?;
                window.show_empty(&vec![0; shape.bytes()], shape, &caption)?;
            }
            (Place::Terminal(screen), Some(picture)) => screen.picture(picture, self.begun),
            (Place::Terminal(_), None) | (Place::Nowhere, _) => {}
        }
        self.drawn = (caption, dim);
        Ok(())
    }
}

/// When the sender began a frame, which is in no future.
fn begun(frame: &Frame) -> Instant {
    let age = if frame.begun_ns == 0 {
        // No more is known than the wall clock's ms.
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        now.saturating_sub(Duration::from_millis(
            u64::try_from(frame.sent_ms).unwrap_or(0),
        ))
    } else {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::try_from(now).unwrap_or_default();
        now.saturating_sub(Duration::from_nanos(frame.begun_ns))
    };
    let now = Instant::now();
    now.checked_sub(age).unwrap_or(now)
}

/// A darker picture. Its alpha stays.
fn dimmed(picture: &Picture) -> Picture {
    let mut pixels = picture.pixels().to_vec();
    let pixel = picture.shape.format().pixel_bytes();
    let colours = pixel.min(3);
    for pixel in pixels.chunks_exact_mut(pixel) {
        for level in &mut pixel[..colours] {
            *level = u8::try_from(u32::from(*level) * DIMMED / 100).unwrap_or(u8::MAX);
        }
    }
    Picture::new(Arc::new(pixels), picture.shape)
}
