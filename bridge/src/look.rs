//! The first look at a segment: what its frames are, and what they need on the wire.

use std::time::{Duration, Instant};

use anyhow::Result;
use shm_frame::{Error, Name, Receiver, Shape, Waited};

use crate::jpeg::Encoder;
use crate::stop;
use crate::tally::bits;

/// How long to look for a second frame, which tells the rate.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub shape: Shape,
    /// Bytes of a frame on the wire.
    pub bytes: usize,
    /// The time between two frames. `None`: there was one frame only.
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
            // By its size alone: the pixels are not needed but for a JPEG.
            let Some(frame) = receiver.copy(&mut pixels)? else {
                continue;
            };
            let Some((number, begun_ns)) = first.filter(|_| frame.begun_ns != 0) else {
                let bytes = match &mut jpeg {
                    Some(jpeg) => jpeg.encode(frame.shape, &pixels)?.map_or(0, <[u8]>::len),
                    None => frame.shape.bytes(),
                };
                seen = Some(Self {
                    shape: frame.shape,
                    bytes,
                    period: None,
                });
                // A frame that was there may have been there for long.
                first = (!frame.found).then_some((frame.number, frame.begun_ns));
                continue;
            };
            let time = Duration::from_nanos(frame.begun_ns.saturating_sub(begun_ns));
            let frames = u32::try_from(frame.number.saturating_sub(number).max(1));
            let period = time / frames.unwrap_or(u32::MAX);
            let period = period.max(least_period.unwrap_or_default());
            return Ok(seen.map(|seen| Self {
                period: Some(period),
                ..seen
            }));
        }
        Ok(seen)
    }

    /// What the stream needs, in bits/s, if its rate is known.
    pub(crate) fn needs(&self) -> Option<u64> {
        self.period.map(|period| bits(self.bytes as u64, period))
    }
}
