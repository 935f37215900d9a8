//! The window of `--show`, beside the sending.
//!
//! The window must not slow down what it shows. So it takes frames as any other process does, by a
//! receiver of the segment, and has a thread of its own. That is the main thread, because Qt, which
//! draws OpenCV's windows, wants it. The sending runs in another thread.

use std::mem;
use std::panic;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use shm_frame::{Name, Receiver, Shape, Waited};

use crate::stop;
use crate::visible::Visible;
use crate::window::{Input, Window};

/// How often to look for a new frame: as often as most screens show one. The receiver never sleeps
/// in the segment, because the sender would have to wake it at each frame.
const PERIOD: Duration = Duration::from_millis(16);

/// The display's nice value: see `nice(2)`.
const NICE: i32 = 10;

/// Asks the main thread for the window.
pub(super) struct WindowRequest {
    wanted: mpsc::Sender<()>,
    opened: mpsc::Receiver<Result<()>>,
}

impl WindowRequest {
    /// Waits until the window is open. An error says why there is none.
    pub(super) fn open(&self) -> Result<()> {
        // If the main thread is gone, there is nobody to show anything to.
        let _ = self.wanted.send(());
        self.opened.recv().unwrap_or(Ok(()))
    }
}

/// Runs `send` in another thread, and shows the frames of the segment in a window as soon as `send`
/// asks for it. If the user closes the window, the command is asked to end.
pub(super) fn beside(
    name: &Name,
    send: impl FnOnce(&WindowRequest) -> Result<()> + Send,
) -> Result<()> {
    let (wanted, is_wanted) = mpsc::channel();
    let (opened, is_opened) = mpsc::channel();
    let request = WindowRequest {
        wanted,
        opened: is_opened,
    };
    thread::scope(|scope| {
        // The thread owns the request, so the channel closes if it ends without asking.
        let sending = scope.spawn(move || send(&request));
        // On a busy machine the sending goes first. This is for the calling thread, and for the
        // threads that Qt and OpenCV start from it. If it fails, the window works as well.
        let _ = rustix::process::nice(NICE);
        let mut shown = Ok(());
        if is_wanted.recv().is_ok() {
            match Window::open(&format!("shm-send {name}")).context("--show") {
                Ok(window) => {
                    let _ = opened.send(Ok(()));
                    let ended = || sending.is_finished();
                    shown = Display::new(name, window).run(ended).context("--show");
                    // Without a window there is nothing left to do for the sending either.
                    stop::request();
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        }
        let result = sending.join();
        result
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
            .and(shown)
    })
}

/// The window and the receiver that feeds it.
struct Display<'a> {
    name: &'a Name,
    window: Window,
    receiver: Option<Receiver>,
    visible: Visible,
    /// The shape of the frame that is shown.
    shown: Option<Shape>,
    pixels: Vec<u8>,
    /// Room for the next frame: a copy may fail half way.
    next: Vec<u8>,
}

impl<'a> Display<'a> {
    fn new(name: &'a Name, window: Window) -> Self {
        Self {
            name,
            window,
            receiver: None,
            visible: Visible::default(),
            shown: None,
            pixels: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Shows frames until the sending ended or the user closes the window.
    fn run(&mut self, ended: impl Fn() -> bool) -> Result<()> {
        while !ended() {
            let begin = Instant::now();
            let fresh = self.take();
            self.draw(fresh)?;
            if self.window.input()? == Some(Input::End) {
                break;
            }
            thread::sleep(PERIOD.saturating_sub(begin.elapsed()));
        }
        Ok(())
    }

    /// Takes the newest frame. `None`: there is no new one, or it could not be copied whole.
    fn take(&mut self) -> Option<Shape> {
        let Some(receiver) = &mut self.receiver else {
            self.receiver = self.attach();
            return None;
        };
        match receiver.wait(Duration::ZERO) {
            Ok(Waited::Frame) => {}
            Ok(Waited::Timeout | Waited::Cancelled) => return None,
            // The sender made its segment anew, or another sender has the name.
            Ok(Waited::Ended(_)) | Err(_) => {
                self.receiver = None;
                return None;
            }
        }
        let frame = receiver.copy(&mut self.next).ok().flatten()?;
        mem::swap(&mut self.pixels, &mut self.next);
        Some(frame.shape)
    }

    /// Draws a new frame, or the last one again if the window's size changed.
    fn draw(&mut self, fresh: Option<Shape>) -> Result<()> {
        let again = self
            .shown
            .filter(|_| self.window.is_stale().unwrap_or(false));
        if let Some(shape) = fresh.or(again) {
            match self.visible.see(&self.pixels, shape)? {
                Some((pixels, shape)) => self.window.show(&pixels, shape, "")?,
                None => self.window.show(&self.pixels, shape, "")?,
            }
            self.shown = Some(shape);
        }
        Ok(())
    }

    /// A receiver of this process's own segment, if it exists yet.
    fn attach(&self) -> Option<Receiver> {
        let receiver = Receiver::open(self.name).ok()?;
        (receiver.sender_pid() == Some(process::id())).then_some(receiver)
    }
}
