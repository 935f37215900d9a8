//! The window of `--show`, beside the sending.
//!
//! The window must not slow down what it shows. So it takes frames as any other process does, by a
//! receiver of the segment, and has a thread of its own.

use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use shm_frame::{Name, Receiver, Waited};

use crate::console::Console;
use crate::picture::Picture;
use crate::stop;
use crate::visible::Visible;
use crate::window::{Input, Tile, Window};

/// How often to look for a new frame: as often as most screens show one. The receiver never sleeps
/// in the segment, because the sender would have to wake it at each frame.
const PERIOD: Duration = Duration::from_millis(16);

/// The display's nice value: see `nice(2)`.
const NICE: i32 = 10;

/// Opens a window for the frames of a segment that is about to be made, and shows them from then on
/// in a thread of its own. If the user closes the window, the command is asked to end.
pub(super) fn open(name: &Name, console: &Console) -> Result<()> {
    let window = Window::open(&format!("shm-send {name}")).context("--show")?;
    let mut display = Display::new(name.clone(), window);
    let console = console.clone();
    thread::spawn(move || {
        // On a busy machine the sending goes first. This is for the calling thread, and for those
        // that OpenCV starts from it. If it fails, the window works as well.
        let _ = rustix::process::nice(NICE);
        match display.run() {
            Ok(()) => stop::request(),
            // A display that dies does not end the sending.
            Err(error) => {
                console.say(&format!(
                    "nothing is shown any more: {error:#}; sending goes on"
                ));
            }
        }
    });
    Ok(())
}

/// The window and the receiver that feeds it.
struct Display {
    name: Name,
    window: Window,
    receiver: Option<Receiver>,
    visible: Visible,
    shown: Option<Picture>,
}

impl Display {
    fn new(name: Name, window: Window) -> Self {
        Self {
            name,
            window,
            receiver: None,
            visible: Visible::default(),
            shown: None,
        }
    }

    /// Shows frames until the user closes the window.
    fn run(&mut self) -> Result<()> {
        loop {
            let begin = Instant::now();
            for input in self.window.input()? {
                if matches!(input, Input::End | Input::Key('q' | '\x1b')) {
                    return Ok(());
                }
            }
            if self.window.is_ready() {
                let fresh = self.take()?;
                if fresh || self.window.is_stale() {
                    let picture = self.shown.as_ref();
                    self.window.show(&[Tile {
                        picture,
                        caption: "",
                    }])?;
                }
            }
            thread::sleep(PERIOD.saturating_sub(begin.elapsed()));
        }
    }

    /// Takes the newest frame. `false`: there is no new one, or it could not be copied whole.
    fn take(&mut self) -> Result<bool> {
        let Some(receiver) = &mut self.receiver else {
            self.receiver = self.attach();
            return Ok(false);
        };
        match receiver.wait(Duration::ZERO) {
            Ok(Waited::Frame) => {}
            Ok(Waited::Timeout | Waited::Cancelled) => return Ok(false),
            // The sender made its segment anew, or another sender has the name.
            Ok(Waited::Ended(_)) | Err(_) => {
                self.receiver = None;
                return Ok(false);
            }
        }
        let mut pixels = Vec::new();
        let Some(frame) = receiver.copy(&mut pixels).ok().flatten() else {
            return Ok(false);
        };
        let (pixels, shape) = match self.visible.see(&pixels, frame.shape)? {
            Some(seen) => seen,
            None => (pixels, frame.shape),
        };
        self.shown = Some(Picture::new(Arc::new(pixels), shape));
        Ok(true)
    }

    /// A receiver of this process's own segment, if it exists yet.
    fn attach(&self) -> Option<Receiver> {
        let receiver = Receiver::open(&self.name).ok()?;
        (receiver.sender_pid() == Some(process::id())).then_some(receiver)
    }
}
