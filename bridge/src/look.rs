//! The first look at a segment: what its frames are, and what they need on the wire.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::{Error, Name, Receiver, Shape, Waited};

use crate::jpeg::Encoder;
use crate::rate::bits;
use crate::stop;

/// How long to look for more than one frame, which tells the rate.
const PATIENCE: Duration = Duration::from_millis(500);
/// So many frames after the first tell it well.
const ENOUGH: u32 = 5;

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub shape: Shape,
    /// Bytes of a frame on the wire.
    pub bytes: usize,
    /// The time between two frames. `None`: there was only one.
    pub period: Option<Duration>,
}

impl Look {
    /// Looks at the first frames of a segment. `None`: there is none yet, or no sender any more.
    pub(crate) fn at(
        name: &Name,
        mut jpeg: Option<&mut Encoder>,
        least_period: Option<Duration>,
    ) -> Result<Option<Self>> {
        let mut receiver = match Receiver::open(name) {
            Ok(receiver) => receiver,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (mut pixels, mut first, mut seen) = (Vec::new(), None, None);
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now())
            && !stop::requested()
        {
            if receiver.wait(left)? != Waited::Frame {
                break;
            }
            let Some(frame) = receiver.copy(&mut pixels)? else {
                continue;
            };
            let look = match &mut seen {
                Some(look) => look,
                none => none.insert(Self {
                    shape: frame.shape,
                    bytes: match &mut jpeg {
                        Some(jpeg) => jpeg.encode(frame.shape, &pixels).map_or(0, <[u8]>::len),
                        None => frame.shape.bytes(),
                    },
                    period: None,
                }),
            };
            if frame.found || frame.begun_ns == 0 {
                // It may have been there for long, or nobody knows since when.
                continue;
            }
            let (number, begun_ns) = *first.get_or_insert((frame.number, frame.begun_ns));
            let frames = u32::try_from(frame.number - number).unwrap_or(u32::MAX);
            if frames > 0 {
                let period = Duration::from_nanos(frame.begun_ns.saturating_sub(begun_ns)) / frames;
                look.period = Some(period.max(least_period.unwrap_or_default()));
            }
            if frames >= ENOUGH {
                break;
            }
        }
        Ok(seen)
    }

    /// What the stream needs, in bits/s, if its rate is known.
    pub(crate) fn needs(&self) -> Option<u64> {
        let period = self.period.filter(|_| self.bytes > 0)?;
        Some(bits(self.bytes as u64, period))
    }
}
