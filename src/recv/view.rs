//! Shows frames in a window or in the terminal, and obeys the keys pressed there.

use std::panic;
use std::path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use opencv::core::{MatTraitConstManual, Size};
use opencv::imgproc;
use rustix::time::{ClockId, clock_gettime};
use shm_frame::{Format, Frame};

use crate::console::Console;
use crate::picture::{self, Picture};
use crate::recv::args::{self, Args};
use crate::recv::choice::Choice;
use crate::recv::sink::save;
use crate::recv::stage::{Cue, Stage, Stages};
use crate::recv::taken::Taken;
use crate::stop;
use crate::terminal::{Caption, Screen, Stream, Tty};
use crate::visible::{self, Visible};
use crate::window::{self, Input, Tile, Window};

/// Where frames are shown.
pub(super) enum Place {
    Window(Box<Window>),
    /// In the terminal, above its status line.
    Terminal(Arc<Screen>),
}

/// The place to show frames, if there is one; the terminal's screen, if there is something to draw
/// on it: frames, or a status line; and why it is not the place that people would expect.
type Opened = (Option<Place>, Option<Arc<Screen>>, Option<String>);

/// Opens the place that `--view` names for some streams.
pub(super) fn open(args: &Args, streams: &str) -> Result<Opened> {
    let text = if args.raw.is_some() {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    // With --json, --log and --interval lines scroll by: nothing can stay in place.
    let scrolls = args.json || args.log || args.interval.is_some();
    let tty = || Tty::of(text).filter(|_| !scrolls);
    let status = || match tty() {
        Some(tty) if !args.quiet => Screen::status_line(tty).map(|screen| Some(Arc::new(screen))),
        _ => Ok(None),
    };
    let title = format!("shm-recv {streams}");
    let terminal = |tty, why| {
        let screen = Arc::new(Screen::with_pictures(tty)?);
        let place = Place::Terminal(Arc::clone(&screen));
        anyhow::Ok((Some(place), Some(screen), why))
    };
    match args.view {
        args::View::None => Ok((None, status()?, None)),
        args::View::Window => {
            let window = Window::open(&title).context("--view window")?;
            Ok((Some(Place::Window(Box::new(window))), status()?, None))
        }
        args::View::Terminal => match tty() {
            Some(tty) => terminal(tty, None),
            None => bail!(
                "--view terminal: stdout is no terminal that can be drawn on, or this process is \
                 in its background"
            ),
        },
        args::View::Auto => {
            let display = window::display();
            let window = display.and_then(|display| {
                Window::on(display, &title).map_err(|error| format!("no window: {error:#}"))
            });
            match (window, tty()) {
                (Ok(window), _) => Ok((Some(Place::Window(Box::new(window))), status()?, None)),
                (Err(why), Some(tty)) if text == Stream::Stdout => {
                    terminal(tty, Some(format!("shown in the terminal: {why}")))
                }
                // Nobody expects a window of a script.
                (Err(why), _) => {
                    let why = window::is_named().then(|| format!("shown nowhere: {why}"));
                    Ok((None, status()?, why))
                }
            }
        }
    }
}

/// A thread that shows the frames of all streams of a run.
pub(super) struct Showing {
    stages: Arc<Stages>,
    thread: JoinHandle<()>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
}

impl Showing {
    /// Begins to show. Sets `closing` if the user wants to end, and ends if somebody else does.
    pub(super) fn start(
        place: Place,
        choice: &Choice,
        console: Console,
        closing: Arc<AtomicBool>,
    ) -> Self {
        let stages = Arc::<Stages>::default();
        let waits = choice.waits();
        let (ends, ended) = mpsc::channel();
        let shown = Arc::clone(&stages);
        let thread = thread::spawn(move || {
            let _ends: mpsc::Sender<()> = ends;
            Viewer::new(place, waits, console).run(&shown, &closing);
        });
        Self {
            stages,
            thread,
            ended,
        }
    }

    pub(super) fn stages(&self) -> Arc<Stages> {
        Arc::clone(&self.stages)
    }

    /// Lets the thread end, but does not wait for long: it may hang in a display.
    pub(super) fn end(self, patience: Duration) {
        let _ = self.ended.recv_timeout(patience);
        if self.thread.is_finished()
            && let Err(panic) = self.thread.join()
        {
            panic::resume_unwind(panic);
        }
    }
}

/// How long a note stays in a window's caption.
const NOTE: Duration = Duration::from_secs(3);
/// How often to look for a new frame and for keys: as often as most screens show a picture.
const PERIOD: Duration = Duration::from_millis(8);
/// How bright a picture is while no new one comes, in percent.
const DIMMED: u32 = 40;
/// The most that several pictures take together, before a terminal makes them smaller.
const MOSAIC: Size = Size {
    width: 1920,
    height: 1080,
};

/// What the keys do, a line each.
pub const KEYS: [&str; 4] = [
    "q or Esc end, space freezes, . shows the next frame while frozen",
    "s saves what is shown, h hides the numbers, c colours a single channel",
    window::KEYS,
    "? these keys",
];

/// Shows frames, and obeys keys.
#[expect(clippy::struct_excessive_bools, reason = "each is a key's")]
struct Viewer {
    place: Place,
    /// What is said as long as there is no stream.
    waits: String,
    console: Console,
    streams: Vec<Scene>,
    frozen: bool,
    /// The numbers are written on the window's picture.
    captioned: bool,
    /// The keys are told on the window's picture.
    helps: bool,
    note: Option<(String, Instant)>,
    /// Something new is to be drawn.
    fresh: bool,
}

/// A stream that is shown.
struct Scene {
    stage: Arc<Stage>,
    visible: Visible,
    /// The last frame that came.
    latest: Option<Arc<Taken>>,
    /// The frame that is shown: the latest, unless the picture is frozen.
    shown: Option<Arc<Taken>>,
    /// That frame as a person can see it.
    picture: Option<Arc<Picture>>,
    /// When the sender began that frame.
    begun: Instant,
    numbers: String,
    /// Why nothing new is there to be seen.
    stale: Option<String>,
    /// What was drawn last: the caption, and whether the picture was dimmed.
    drawn: (String, bool),
}

impl Scene {
    fn new(stage: Arc<Stage>) -> Self {
        Self {
            stage,
            visible: Visible::default(),
            latest: None,
            shown: None,
            picture: None,
            begun: Instant::now(),
            numbers: String::new(),
            stale: None,
            drawn: (String::new(), false),
        }
    }

    /// Makes the latest frame the one that is shown.
    fn catch_up(&mut self) -> Result<()> {
        let Some(taken) = self.latest.clone() else {
            return Ok(());
        };
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
}

impl Viewer {
    fn new(place: Place, waits: String, console: Console) -> Self {
        Self {
            place,
            waits,
            console,
            streams: Vec::new(),
            frozen: false,
            captioned: true,
            helps: false,
            note: None,
            fresh: true,
        }
    }

    /// Shows what is on the stages, until the run ends or the user wants to.
    fn run(&mut self, stages: &Stages, closing: &AtomicBool) {
        let is_over = || stop::requested() || closing.load(Ordering::Relaxed);
        loop {
            let begin = Instant::now();
            // What came before the end is shown.
            let over = is_over();
            let streams = stages.after(self.streams.len());
            self.streams.extend(streams.into_iter().map(Scene::new));
            match self.step() {
                Ok(true) => {}
                Ok(false) => closing.store(true, Ordering::Relaxed),
                // A display that dies ends no recording.
                Err(error) => {
                    let text = format!("nothing is shown any more: {error:#}; receiving goes on");
                    self.console.say(&text);
                    return;
                }
            }
            if over {
                return;
            }
            thread::sleep(PERIOD.saturating_sub(begin.elapsed()));
        }
    }

    /// Shows what is new, and obeys keys. `false`: the user wants to end.
    fn step(&mut self) -> Result<bool> {
        for stream in &mut self.streams {
            let Cue {
                taken,
                numbers,
                stale,
            } = stream.stage.cue();
            stream.numbers = numbers;
            stream.stale = stale;
            if let Some(taken) = taken {
                stream.latest = Some(taken);
                if !self.frozen {
                    stream.catch_up()?;
                    self.fresh = true;
                }
            }
        }
        let keys = match &mut self.place {
            Place::Window(window) => {
                let inputs = window.input()?;
                if inputs.contains(&Input::End) {
                    return Ok(false);
                }
                let keys = inputs.into_iter().filter_map(|input| match input {
                    Input::Key(key) => Some(key),
                    Input::End => None,
                });
                keys.collect()
            }
            Place::Terminal(screen) => screen.keys(),
        };
        for key in keys {
            if !self.obey(key)? {
                return Ok(false);
            }
        }
        self.draw()?;
        Ok(true)
    }

    /// Obeys a key. `false`: the user wants to end.
    fn obey(&mut self, key: char) -> Result<bool> {
        match key {
            'q' | '\x1b' => {
                // A terminal that takes nothing must not hold up the summary for long.
                stop::request();
                return Ok(false);
            }
            'h' => self.captioned = !self.captioned,
            '?' => self.help(),
            'c' => {
                for stream in &mut self.streams {
                    stream.visible.next_map();
                    if let Some(shown) = stream.shown.clone() {
                        let latest = stream.latest.replace(shown);
                        stream.catch_up()?;
                        stream.latest = latest;
                    }
                }
            }
            ' ' => {
                self.frozen = !self.frozen;
                if !self.frozen {
                    self.catch_up()?;
                }
            }
            '.' if self.frozen => self.catch_up()?,
            's' => self.save(),
            _ => return Ok(true),
        }
        self.fresh = true;
        Ok(true)
    }

    fn catch_up(&mut self) -> Result<()> {
        self.streams.iter_mut().try_for_each(Scene::catch_up)
    }

    /// Tells the keys, or no longer.
    fn help(&mut self) {
        match &self.place {
            Place::Window(_) => self.helps = !self.helps,
            Place::Terminal(_) => {
                let keys = KEYS.iter().filter(|&&line| line != window::KEYS);
                keys.for_each(|line| self.console.say(line));
            }
        }
    }

    /// Saves the frames that are shown in the working directory, as they came.
    fn save(&mut self) {
        for stream in &self.streams {
            let Some(shown) = &stream.shown else {
                continue;
            };
            let name = stream.stage.name.to_string();
            let stem = format!("{}-{:06}", &name[1..], shown.frame.number);
            let here = path::absolute(".").unwrap_or_default();
            let said = match save::write(&here, &stem, &shown.pixels, shown.frame.shape) {
                Ok(path) => format!("saved {}", path.display()),
                Err(error) => format!("{error:#}"),
            };
            self.console.say(&said);
            self.note = Some((said, Instant::now()));
        }
    }

    /// The words on a stream's picture. A stream that stands still is told, `h` or not.
    fn caption(&self, number: usize) -> String {
        let stream = &self.streams[number];
        let mut words = Vec::new();
        if self.streams.len() > 1 {
            words.push(stream.stage.name.to_string());
        }
        if self.frozen && (self.captioned || stream.stale.is_some()) {
            words.push("frozen".to_owned());
        }
        if let Some(stale) = &stream.stale {
            words.push(stale.clone());
        } else if self.captioned {
            words.push(stream.numbers.clone());
            words.extend(Some(stream.visible.describe()).filter(|text| !text.is_empty()));
        }
        words.extend(self.pointed(number));
        let mut lines = vec![words.join("  ")];
        if number == 0 {
            let note = self.note.as_ref();
            let note = note.filter(|(_, since)| since.elapsed() < NOTE);
            if let Some((note, _)) = note {
                lines = vec![note.clone()];
            }
            if self.helps {
                lines.extend(KEYS.map(ToOwned::to_owned));
            }
        }
        lines.join("\n")
    }

    /// What the terminal says besides the numbers.
    fn words(&self) -> Caption {
        let frozen = self.frozen.then(|| "frozen".to_owned());
        let seen = self.streams.iter().map(|stream| stream.visible.describe());
        let mut seen: Vec<_> = seen.filter(|text| !text.is_empty()).collect();
        seen.dedup();
        Caption {
            words: frozen.into_iter().chain(seen).collect(),
            hidden: !self.captioned,
        }
    }

    /// The place and the value of the pixel under the cursor, if it is in a stream's picture.
    fn pointed(&self, number: usize) -> Option<String> {
        let Place::Window(window) = &self.place else {
            return None;
        };
        let (tile, pixel) = window.pointed()?;
        let shown = self.streams[number].shown.as_ref();
        let shown = shown.filter(|_| tile == number)?;
        let (x, y) = (
            usize::try_from(pixel.x).ok()?,
            usize::try_from(pixel.y).ok()?,
        );
        let values = visible::pixel(&shown.pixels, shown.frame.shape, x, y)?;
        Some(format!("x {x} y {y}: {values}"))
    }

    /// Draws if something changed, and what was drawn before is on the glass.
    fn draw(&mut self) -> Result<()> {
        let looks = (0..self.streams.len()).map(|number| {
            let stream = &self.streams[number];
            // A frozen picture is meant to be old.
            (self.caption(number), stream.stale.is_some() && !self.frozen)
        });
        let looks: Vec<_> = looks.collect();
        let is_same = |(stream, look): (&Scene, &(String, bool))| match self.place {
            Place::Window(_) => stream.drawn == *look,
            // The terminal has its caption in the status line.
            Place::Terminal(_) => stream.drawn.1 == look.1,
        };
        let changed = self.fresh || !self.streams.iter().zip(&looks).all(is_same);
        let ready = match &self.place {
            Place::Window(window) => window.is_ready() && (changed || window.is_stale()),
            Place::Terminal(screen) => {
                screen.caption(self.words());
                changed
            }
        };
        if !ready {
            return Ok(());
        }
        for (stream, look) in self.streams.iter_mut().zip(looks) {
            stream.drawn = look;
        }
        let pictures: Vec<_> = self.streams.iter().map(brightness).collect();
        let tiles = self.streams.iter().zip(&pictures);
        let mut tiles: Vec<_> = tiles
            .map(|(stream, picture)| Tile {
                picture: picture.as_deref(),
                caption: &stream.drawn.0,
            })
            .collect();
        if tiles.is_empty() {
            tiles.push(Tile {
                picture: None,
                caption: &self.waits,
            });
        }
        match &mut self.place {
            Place::Window(window) => window.show(&tiles)?,
            Place::Terminal(screen) => match pictures.as_slice() {
                [Some(only)] => screen.picture(Arc::clone(only), self.streams[0].begun),
                _ if pictures.iter().all(Option::is_none) => {}
                _ => {
                    let shown = self
                        .streams
                        .iter()
                        .filter(|stream| stream.picture.is_some());
                    let oldest = shown.map(|stream| stream.begun).min();
                    let begun = oldest.unwrap_or_else(Instant::now);
                    screen.picture(Arc::new(side_by_side(&pictures)?), begun);
                }
            },
        }
        self.fresh = false;
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

/// A stream's picture, darker if no new one comes.
fn brightness(stream: &Scene) -> Option<Arc<Picture>> {
    let picture = stream.picture.as_ref()?;
    Some(if stream.drawn.1 {
        Arc::new(dimmed(picture))
    } else {
        Arc::clone(picture)
    })
}

/// Several pictures as one.
fn side_by_side(pictures: &[Option<Arc<Picture>>]) -> Result<Picture> {
    let tiles = pictures.iter().map(|picture| Tile {
        picture: picture.as_deref(),
        caption: "",
    });
    let tiles: Vec<_> = tiles.collect();
    let mosaic = window::mosaic(&tiles, MOSAIC)?;
    let mosaic = visible::converted(&mosaic, imgproc::COLOR_BGRA2BGR)?;
    let shape = picture::shape(&mosaic)?;
    debug_assert_eq!(shape.format(), Format::BGR8);
    Ok(Picture::new(Arc::new(mosaic.data_bytes()?.to_vec()), shape))
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
