//! Follows a name through the segments that it means, one after the other.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use shm_frame::{End, Error, Name, Receiver, WaitMode, Waited};

use crate::console::Output;

/// How often to look whether the name means something: 1 us each.
const LOOK: Duration = Duration::from_millis(2);
/// How long a name may mean something that is no segment: senders are not made in one step.
const GRACE: Duration = Duration::from_secs(1);

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Waiting {
        name: String,
        why: &'a str,
    },
    Attached {
        name: String,
        pid: Option<u32>,
        slots: Option<usize>,
    },
    Closed {
        name: String,
        pid: Option<u32>,
    },
    Lost {
        name: String,
        pid: Option<u32>,
        why: &'static str,
    },
}

/// What a step found.
pub(crate) enum Step<'a> {
    /// A new frame, to be taken.
    Frame(&'a mut Receiver),
    /// None in time.
    Nothing,
}

/// A receiver that attaches to whatever the name means.
pub(crate) struct Follow<'a> {
    name: Name,
    wait_mode: WaitMode,
    output: Output<'a>,
    receiver: Option<Receiver>,
    /// The receiver's segment has not ended.
    attached: bool,
    /// What was last said to be missing.
    missing: String,
    /// Since when the name means something that is no segment.
    refused: Option<Instant>,
}

impl<'a> Follow<'a> {
    pub(crate) fn new(name: Name, wait_mode: WaitMode, output: Output<'a>) -> Self {
        Self {
            name,
            wait_mode,
            output,
            receiver: None,
            attached: false,
            missing: String::new(),
            refused: None,
        }
    }

    /// Whether there is a segment that has not ended.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached
    }

    /// What has to happen for a frame to come.
    pub(crate) fn waits_for(&self) -> String {
        if self.attached {
            format!("the sender of {} publishes nothing", self.name)
        } else {
            self.missing.clone()
        }
    }

    /// Waits for a frame, for so long at most.
    pub(crate) fn step(&mut self, time: Duration) -> Result<Step<'_>> {
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
                self.ended(end, pid)?;
                if end == End::Dead {
                    self.wait_for(left_behind(&self.name, pid))?;
                }
                Ok(Step::Nothing)
            }
            // Borrowed anew: the other arms need all of self.
            Waited::Frame => Ok(Step::Frame(
                self.receiver.as_mut().expect("it found a frame"),
            )),
        }
    }

    /// Attaches to what the name means by now, if that is a segment with a sender.
    fn attach(&mut self) -> Result<bool> {
        let found = match &mut self.receiver {
            Some(receiver) => receiver.reopen(),
            None => match Receiver::open(&self.name) {
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
                let name = self.name.to_string();
                let text = match (pid, slots) {
                    (Some(pid), Some(slots)) => {
                        format!("attached to {name}, sender pid {pid}, {slots} slots")
                    }
                    _ => format!(
                        "attached to {name}, which has no control page: torn frames cannot be ruled out"
                    ),
                };
                self.output
                    .event(&Event::Attached { name, pid, slots }, &text)?;
                Ok(true)
            }
            (Ok(_), _) => {
                self.refused = None;
                // If the name's segment was left by a dead sender, that was said.
                if self.missing.is_empty() {
                    self.wait_for(format!("there is no segment {}", self.name))?;
                }
                Ok(false)
            }
            (Err(error), _) => {
                // What was a segment may be one again; what never was is a mistake.
                if self.receiver.is_some() {
                    self.wait_for(error.to_string())?;
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

    fn wait_for(&mut self, missing: String) -> Result<()> {
        if self.missing != missing {
            let text = format!("{missing}: waiting for a sender");
            let event = Event::Waiting {
                name: self.name.to_string(),
                why: &missing,
            };
            self.output.event(&event, &text)?;
            self.missing = missing;
        }
        Ok(())
    }

    fn ended(&self, end: End, pid: Option<u32>) -> Result<()> {
        let name = self.name.to_string();
        let by = pid.map_or(String::new(), |pid| format!(", pid {pid}"));
        let lost = |why, text: &str| {
            let name = name.clone();
            self.output.event(&Event::Lost { name, pid, why }, text)
        };
        match end {
            End::Closed => {
                let text = format!("the sender of {name}{by} ended");
                self.output.event(&Event::Closed { name, pid }, &text)
            }
            End::Dead => lost("died", &format!("the sender of {name}{by} died")),
            End::Replaced => lost(
                "replaced",
                &format!("segment {name} was replaced or removed"),
            ),
            End::Broken => lost(
                "broken",
                &format!("segment {name} was truncated or overwritten by another process"),
            ),
        }
    }
}

fn left_behind(name: &Name, pid: Option<u32>) -> String {
    let pid = pid.map_or(String::new(), |pid| format!(", pid {pid}"));
    format!("the segment {name} was left by a sender that is gone{pid}")
}
