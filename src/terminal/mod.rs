//! The bottom of a terminal: a picture, if frames are shown there, and status lines. They stay in
//! place while messages scroll by above. A thread draws them as fast as the terminal takes them, so
//! that nothing else waits for a slow terminal.
//!
//! | job | file |
//! |---|---|
//! | the thread: reads, writes, and draws all anew where it must | `drawer` |
//! | the terminal's device | `tty` |
//! | keys and answers, told apart | `input` |
//! | when to send, and how much | `link` |
//! | what the terminal can | `ability` |
//! | a picture in its place | `picture` |
//! | as an image, or of signs in colour | `image`, `mosaic`, `colour` |
//! | a line of values | `line` |

mod ability;
mod colour;
mod drawer;
mod image;
mod input;
mod line;
mod link;
mod mosaic;
mod picture;
mod tty;

use std::io::{self, PipeReader, PipeWriter, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Result;

use self::drawer::Drawer;
pub(crate) use self::line::{Item, Line};
pub(crate) use self::tty::{Stream, Tty};
use crate::picture::Picture;
use crate::stdio;

/// The bottom of a terminal while it is drawn on.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    wanted: Mutex<Wanted>,
    /// Wakes the thread.
    wake: PipeWriter,
}

/// What the thread is to draw next, and what was typed.
#[derive(Default)]
struct Wanted {
    scene: Scene,
    messages: Vec<String>,
    keys: Vec<char>,
    /// Something is new.
    fresh: bool,
    /// The thread is to end.
    closing: bool,
    /// The thread draws no more.
    closed: bool,
}

/// What stays in place.
#[derive(Clone, Default)]
struct Scene {
    status: Vec<Line>,
    /// With the time when it began.
    picture: Option<(Arc<Picture>, Instant)>,
    caption: Caption,
}

/// What a viewer says besides the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caption {
    /// Before the numbers.
    pub words: Vec<String>,
    /// The words and the numbers are hidden. Warnings are not.
    pub hidden: bool,
}

impl Shared {
    fn new() -> io::Result<(Self, PipeReader)> {
        let (woken, wake) = io::pipe()?;
        let wanted = Mutex::default();
        Ok((Self { wanted, wake }, woken))
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().expect("nobody panics while holding it")
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = self.lock();
        change(&mut wanted);
        // A byte at a time is in the pipe: it never blocks.
        if !std::mem::replace(&mut wanted.fresh, true) {
            self.wake();
        }
    }

    fn wake(&self) {
        // Fails if the thread has ended.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Screen {
    /// Begins to draw status lines.
    pub(crate) fn status_line(tty: Tty) -> Result<Self> {
        Self::start(tty, false)
    }

    /// Begins to draw pictures and status lines, and to read keys.
    pub(crate) fn with_pictures(tty: Tty) -> Result<Self> {
        Self::start(tty, true)
    }

    fn start(tty: Tty, pictures: bool) -> Result<Self> {
        let (shared, woken) = Shared::new()?;
        let shared = Arc::new(shared);
        let mut drawer = Drawer::new(Arc::clone(&shared), woken, tty, pictures)?;
        Ok(Self {
            shared,
            drawer: Mutex::new(Some(thread::spawn(move || drawer.run()))),
        })
    }

    /// Changes the status lines: the most important one first.
    pub(crate) fn status(&self, lines: Vec<Line>) {
        self.shared.change(|wanted| wanted.scene.status = lines);
    }

    /// Changes the picture. `begun`: when its frame began, from which on its age is counted.
    pub(crate) fn picture(&self, picture: Arc<Picture>, begun: Instant) {
        self.shared
            .change(|wanted| wanted.scene.picture = Some((picture, begun)));
    }

    /// Changes what is said besides the numbers.
    pub(crate) fn caption(&self, caption: Caption) {
        if self.shared.lock().scene.caption != caption {
            self.shared.change(|wanted| wanted.scene.caption = caption);
        }
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
        std::mem::take(&mut self.shared.lock().keys)
    }

    /// Gives the terminal back as it was. Later messages go to stderr.
    pub(crate) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake();
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

/// A text without control characters: names and messages may come from other users, and a terminal
/// would obey them.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
