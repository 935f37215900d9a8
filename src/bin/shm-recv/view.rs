//! Where frames are shown, and what somebody who looks at them can do.

use std::path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shm_frame::{Frame, Name, Shape};

use crate::args::{self, Args};
use crate::cli::spread::ms;
use crate::cli::window::{self, Input, Window};
use crate::save;
use crate::tally::Tally;
use crate::terminal::{Screen, Stream, Tty};

/// A frame's pixels.
#[derive(Debug)]
pub(crate) struct Picture {
    pub pixels: Vec<u8>,
    pub shape: Shape,
    pub number: u64,
}

/// Where frames are shown.
pub(crate) enum Place {
    Window(Window),
    /// In the terminal that the screen is at the bottom of.
    Terminal,
    Nowhere,
}

/// Finds the place asked for, and the screen for the status line or pictures, if there is one.
pub(crate) fn open(args: &Args) -> Result<(Place, Option<Screen>)> {
    let text = if args.raw.is_some() {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    // A line for each frame goes on, and a screen stays.
    let tty = || Tty::of(text).filter(|_| !args.json && !args.log);
    let status = || match tty() {
        Some(tty) if !args.quiet => Screen::status_line(tty).map(Some),
        _ => Ok(None),
    };
    let window = || Window::open(&format!("shm-recv {}", args.name)).context("--view window");
    let terminal = |tty| anyhow::Ok((Place::Terminal, Some(Screen::with_pictures(tty)?)));
    match args.view {
        args::View::None => Ok((Place::Nowhere, status()?)),
        args::View::Window => Ok((Place::Window(window()?), status()?)),
        args::View::Terminal => match tty() {
            Some(tty) => terminal(tty),
            None => bail!(
                "--view terminal: stdout is no terminal that can be drawn on, or this process is in its background"
            ),
        },
        args::View::Auto => {
            // The window is opened while the answer's connection is there.
            if let Ok(_held) = window::display() {
                return Ok((Place::Window(window()?), status()?));
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

/// Shows frames, and does what keys say.
pub(crate) struct Viewer<'a> {
    name: &'a Name,
    place: Place,
    screen: Option<&'a Screen>,
    say: &'a dyn Fn(&str),
    /// The last frame that came.
    latest: Option<Arc<Picture>>,
    /// What is shown: that, or what was when the picture was frozen.
    shown: Option<Arc<Picture>>,
    frozen: bool,
    /// Numbers are written on the window's picture.
    captioned: bool,
    numbers: String,
    note: Option<(String, Instant)>,
    /// What the window's caption was last.
    drawn: String,
}

impl<'a> Viewer<'a> {
    pub(crate) fn new(
        name: &'a Name,
        place: Place,
        screen: Option<&'a Screen>,
        say: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            name,
            place,
            screen,
            say,
            latest: None,
            shown: None,
            frozen: false,
            captioned: true,
            numbers: String::new(),
            note: None,
            drawn: String::new(),
        }
    }

    pub(crate) fn is_somewhere(&self) -> bool {
        !matches!(self.place, Place::Nowhere)
    }

    /// Shows a frame. The pixels are taken, and those of an older frame may be given for them.
    pub(crate) fn show(&mut self, frame: Frame, pixels: &mut Vec<u8>, tally: &Tally) -> Result<()> {
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

    /// Does what somebody wants by now. `false`: to end.
    pub(crate) fn heed(&mut self) -> Result<bool> {
        let keys = match (&mut self.place, self.screen) {
            (Place::Window(window), _) => match window.input()? {
                Some(Input::End) => return Ok(false),
                Some(Input::Key(key)) => vec![key],
                None => Vec::new(),
            },
            (Place::Terminal, Some(screen)) => screen.keys(),
            _ => Vec::new(),
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

    /// Freezes the picture, or shows what came meanwhile.
    fn freeze(&mut self) -> Result<()> {
        self.frozen = !self.frozen;
        if self.frozen {
            return Ok(());
        }
        self.shown.clone_from(&self.latest);
        self.draw()
    }

    /// Saves what is shown where the user is.
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
        (self.say)(&said);
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

    /// Draws what is shown anew if it has to look different.
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
        match (&mut self.place, self.screen) {
            (Place::Window(window), _) => {
                window.show(&picture.pixels, picture.shape, &caption)?;
                self.drawn = caption;
            }
            (Place::Terminal, Some(screen)) => screen.picture(Arc::clone(picture)),
            _ => {}
        }
        Ok(())
    }
}
