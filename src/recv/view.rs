//! Shows frames in a window or in the terminal, and obeys the keys pressed there.

use std::path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shm_frame::{Frame, Name};

use crate::console::Console;
use crate::picture::Picture;
use crate::recv::args::{self, Args};
use crate::recv::sink::save;
use crate::recv::tally::Tally;
use crate::terminal::{Screen, Stream, Tty};
use crate::units::ms;
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

/// Shows frames, and obeys keys.
pub(super) struct Viewer {
    name: Name,
    place: Place,
    console: Console,
    /// The last frame that came.
    latest: Option<Arc<Picture>>,
    /// The frame that is shown: the latest, unless the picture is frozen.
    shown: Option<Arc<Picture>>,
    frozen: bool,
    /// The numbers are written on the window's picture.
    captioned: bool,
    numbers: String,
    note: Option<(String, Instant)>,
    /// What the window's caption was last.
    drawn: String,
}

impl Viewer {
    pub(super) fn new(name: Name, place: Place, console: Console) -> Self {
        Self {
            name,
            place,
            console,
            latest: None,
            shown: None,
            frozen: false,
            captioned: true,
            numbers: String::new(),
            note: None,
            drawn: String::new(),
        }
    }

    pub(super) fn is_somewhere(&self) -> bool {
        !matches!(self.place, Place::Nowhere)
    }

    /// Shows a frame. Keeps the pixels, and may leave an older frame's buffer in their place.
    pub(super) fn show(&mut self, frame: Frame, pixels: &mut Vec<u8>, tally: &Tally) -> Result<()> {
        if !self.is_somewhere() {
            return Ok(());
        }
        self.numbers = format!(
            "{}  {:.1} frames/s  delay {:.3} ms  skipped {}",
            frame.shape,
            tally.pace.fps(),
            ms(frame.delay_ns),
            tally.skipped
        );
        let picture = Arc::new(Picture {
            pixels: std::mem::take(pixels),
            shape: frame.shape,
            number: frame.number,
        });
        if !self.frozen {
            self.shown = Some(Arc::clone(&picture));
        }
        let before = self.latest.replace(picture).and_then(Arc::into_inner);
        if let Some(before) = before {
            *pixels = before.pixels;
        }
        if self.frozen {
            self.redraw()
        } else {
            self.draw()
        }
    }

    /// Obeys the keys that were pressed. `false`: the user wants to end.
    pub(super) fn heed(&mut self) -> Result<bool> {
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
                'q' | '\x1b' => return Ok(false),
                'h' => self.captioned = !self.captioned,
                ' ' => self.freeze()?,
                's' => self.save(),
                _ => {}
            }
        }
        self.redraw()?;
        Ok(true)
    }

    /// Freezes the picture, or shows the latest frame again.
    fn freeze(&mut self) -> Result<()> {
        self.frozen = !self.frozen;
        if self.frozen {
            return Ok(());
        }
        self.shown.clone_from(&self.latest);
        self.draw()
    }

    /// Saves the picture that is shown in the working directory.
    fn save(&mut self) {
        let Some(picture) = &self.shown else {
            return;
        };
        let name = self.name.to_string();
        let stem = format!("{}-{:06}", &name[1..], picture.number);
        let here = path::absolute(".").unwrap_or_default();
        let said = match save::png(&here, &stem, &picture.pixels, picture.shape) {
            Ok(path) => format!("saved {}", path.display()),
            Err(error) => format!("{error:#}"),
        };
        self.console.say(&said);
        self.note = Some((said, Instant::now()));
    }

    fn caption(&self) -> String {
        let note = self
            .note
            .as_ref()
            .filter(|(_, since)| since.elapsed() < NOTE);
        match (note, self.captioned, self.frozen) {
            (Some((note, _)), ..) => note.clone(),
            (None, true, false) => self.numbers.clone(),
            (None, true, true) => format!("frozen  {}", self.numbers),
            (None, false, _) => String::new(),
        }
    }

    /// Draws the window's picture again if its caption or the window's size changed.
    fn redraw(&mut self) -> Result<()> {
        if let Place::Window(window) = &self.place
            && self.shown.is_some()
            && (self.drawn != self.caption() || window.is_stale()?)
        {
            return self.draw();
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<()> {
        let caption = self.caption();
        let Some(picture) = &self.shown else {
            return Ok(());
        };
        match &mut self.place {
            Place::Window(window) => {
                window.show(&picture.pixels, picture.shape, &caption)?;
                self.drawn = caption;
            }
            Place::Terminal(screen) => screen.picture(Arc::clone(picture)),
            Place::Nowhere => {}
        }
        Ok(())
    }
}
