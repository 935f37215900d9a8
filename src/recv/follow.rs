//! Follows a name through the segments that have it, one after the other.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::{End, Error, Name, Receiver, ReceiverOptions, WaitMode, Waited};

use crate::console::Console;
use crate::event::RecvLine;
use crate::remedy;
use crate::units::counted;

/// How often to look for a segment. A look takes about 1 us.
const LOOK: Duration = Duration::from_millis(2);
/// How long something else may have the name: some senders make their segment in several steps.
const GRACE: Duration = Duration::from_secs(1);

/// What a step found.
pub(super) enum Step<'a> {
    /// A new frame, which can be taken from this receiver.
    Frame(&'a mut Receiver),
    /// No frame in time.
    Nothing,
}

/// A receiver that attaches to each segment of a name in turn.
pub(super) struct Follow {
    name: Name,
    options: ReceiverOptions,
    wait_mode: WaitMode,
    console: Console,
    receiver: Option<Receiver>,
    /// The receiver's segment has not ended.
    attached: bool,
    /// The reason for waiting that was told last.
    missing: String,
    /// Since when something else than a segment has the name.
    refused: Option<Instant>,
}

impl Follow {
    pub(super) fn new(
        name: Name,
        options: ReceiverOptions,
        wait_mode: WaitMode,
        console: Console,
    ) -> Self {
        Self {
            name,
            options,
            wait_mode,
            console,
            receiver: None,
            attached: false,
            missing: String::new(),
            refused: None,
        }
    }

    /// Whether there is a segment that has not ended.
    pub(super) fn is_attached(&self) -> bool {
        self.attached
    }

    /// The reason why no frame comes.
    pub(super) fn waits_for(&self) -> String {
        if self.attached {
            format!("the sender of {} publishes nothing", self.name)
        } else {
            self.missing.clone()
        }
    }

    /// Waits for a frame, at most this long.
    pub(super) fn step(&mut self, time: Duration) -> Result<Step<'_>> {
        if !self.attached && !self.attach()? {
            thread::sleep(time.min(LOOK));
            return Ok(Step::Nothing);
        }
        let Some(receiver) = &mut self.receiver else {
            unreachable!("attached without a receiver")
        };
        match receiver.wait(time)? {
            Waited::Timeout | Waited::Cancelled => Ok(Step::Nothing),
            Waited::Ended(end) => {
                self.attached = false;
                self.missing.clear();
                let pid = receiver.sender_pid();
                self.tell_end(end, pid)?;
                if end == End::Dead {
                    self.wait_for(left_behind(&self.name, pid))?;
                }
                Ok(Step::Nothing)
            }
            // Borrowed again: the other arms need all of self.
            Waited::Frame => Ok(Step::Frame(
                self.receiver.as_mut().expect("it found a frame"),
            )),
        }
    }

    /// Attaches to the segment of this name, if there is one whose sender has not ended.
    fn attach(&mut self) -> Result<bool> {
        let found = match &mut self.receiver {
            Some(receiver) => receiver.reopen(),
            None => match Receiver::open_with(&self.name, &self.options) {
                Ok(mut receiver) => {
                    receiver.set_wait_mode(self.wait_mode);
                    self.receiver = Some(receiver);
                    Ok(true)
                }
                Err(Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            },
        };
        match (found, &mut self.receiver) {
            (Ok(true), Some(receiver)) => {
                self.refused = None;
                let (pid, slots) = (receiver.sender_pid(), receiver.slots());
                if let Waited::Ended(_) = receiver.wait(Duration::ZERO)? {
                    self.wait_for(left_behind(&self.name, pid))?;
                    return Ok(false);
                }
                self.attached = true;
                self.tell_attached(pid, slots)?;
                Ok(true)
            }
            (Ok(_), _) => {
                self.refused = None;
                // If a dead sender left its segment under this name, that was told.
                if self.missing.is_empty() {
                    self.wait_for(format!("there is no segment {}", self.name))?;
                }
                Ok(false)
            }
            (Err(error), _) => {
                // A name that had a segment may get one again. A name that never had one is
                // probably a mistake.
                if self.receiver.is_some() {
                    self.wait_for(remedy::RECV.explain_error(&error))?;
                    return Ok(false);
                }
                let since = *self.refused.get_or_insert_with(Instant::now);
                if since.elapsed() < GRACE {
                    Ok(false)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    fn tell_attached(&self, pid: Option<u32>, slots: Option<usize>) -> Result<()> {
        let name = self.name.to_string();
        let text = match (pid, slots) {
            (Some(pid), Some(slots)) => {
                let slots = counted(slots as u64, "slot");
                format!("attached to {name}, sender pid {pid}, {slots}")
            }
            _ => format!(
                "attached to {name}, which has no control page: torn frames cannot be ruled out"
            ),
        };
        let event = RecvLine::Attached { name, pid, slots };
        self.console.event(&event, &text)
    }

    /// Tells the reason for waiting, once per reason.
    fn wait_for(&mut self, missing: String) -> Result<()> {
        if self.missing != missing {
            let text = format!("{missing}: waiting for a sender");
            let event = RecvLine::Waiting {
                name: self.name.to_string(),
                why: &missing,
            };
            self.console.event(&event, &text)?;
            self.missing = missing;
        }
        Ok(())
    }

    fn tell_end(&self, end: End, pid: Option<u32>) -> Result<()> {
        let name = self.name.to_string();
        let sender = format!("the sender of {name}{}", with_pid(pid));
        let (why, text) = match end {
            End::Closed => {
                let event = RecvLine::Closed { name, pid };
                return self.console.event(&event, &format!("{sender} ended"));
            }
            End::Dead => ("died", format!("{sender} died")),
            End::Replaced => (
                "replaced",
                format!("segment {name} was replaced or removed"),
            ),
            End::Broken => (
                "broken",
                format!("another process truncated or overwrote segment {name}"),
            ),
        };
        self.console
            .event(&RecvLine::Lost { name, pid, why }, &text)
    }
}

fn left_behind(name: &Name, pid: Option<u32>) -> String {
    let pid = with_pid(pid);
    format!("the segment {name} was left by a sender that is gone{pid}")
}

fn with_pid(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(", pid {pid}"))
}
