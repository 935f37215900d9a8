//! The segment that frames are written into.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use opencv::boxed_ref::BoxedRefMut;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual};
use shm_frame::{Extras, Sender, Sent, Shape};

use crate::picture;
use crate::send::meta::Meta;
use crate::send::transform::Transform;

/// Publishes frames in one of three ways, and measures how long that takes.
pub(crate) struct Outlet {
    sender: Sender,
    /// When the next frame's picture was taken: Unix time in ns, 0 for not known.
    captured_ns: u64,
    /// The lines that go with the frames, if there are any.
    meta: Option<Meta>,
    /// The bytes that the source has for the next frame, should there be no lines.
    own: Vec<u8>,
    transform: Transform,
    /// A frame before the transform.
    before: Vec<u8>,
}

/// A frame that was published.
pub(crate) struct Written {
    pub sent: Sent,
    pub shape: Shape,
    /// From the loan of the slot to the publication.
    pub time: Duration,
}

impl Outlet {
    pub(crate) fn new(sender: Sender, meta: Option<Meta>, transform: Transform) -> Self {
        Self {
            sender,
            captured_ns: 0,
            meta,
            own: Vec::new(),
            transform,
            before: Vec::new(),
        }
    }

    /// Says when the picture of the next frame was taken: Unix time in ns.
    pub(crate) fn set_captured_ns(&mut self, captured_ns: u64) {
        self.captured_ns = captured_ns;
    }

    /// Sets the bytes that go with the next frame, unless `--meta` has others.
    pub(crate) fn set_meta(&mut self, meta: Vec<u8>) {
        self.own = meta;
    }

    /// The bytes that go with the next frame.
    fn next_meta(&mut self) -> Vec<u8> {
        let own = std::mem::take(&mut self.own);
        self.meta.as_mut().map_or(own, Meta::next)
    }

    /// Publishes a copy of these pixels.
    pub(crate) fn publish(&mut self, shape: Shape, pixels: &[u8]) -> Result<Written> {
        if !self.transform.is_nothing() {
            let transform = self.transform;
            let to = transform.shape(shape)?;
            let written = self.fill_slot(to, |slot| {
                transform.apply(pixels, shape, slot, to).map(|()| true)
            })?;
            return written.context("the frame was given up");
        }
        let meta = self.next_meta();
        let captured_ns = std::mem::take(&mut self.captured_ns);
        let extras = Extras::new().captured_ns(captured_ns).meta(&meta);
        let begin = Instant::now();
        let sent = self.sender.publish_with(shape, pixels, extras)?;
        let time = begin.elapsed();
        Ok(Written { sent, shape, time })
    }

    /// Lets `write` fill a slot, and publishes it. `None`: `write` returned false, for no frame.
    pub(crate) fn fill(
        &mut self,
        shape: Shape,
        write: impl FnOnce(&mut [u8]) -> Result<bool>,
    ) -> Result<Option<Written>> {
        if self.transform.is_nothing() {
            return self.fill_slot(shape, write);
        }
        let mut before = std::mem::take(&mut self.before);
        before.resize(shape.bytes(), 0);
        let written = match write(&mut before) {
            Ok(true) => self.publish(shape, &before).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        self.before = before;
        written
    }

    fn fill_slot(
        &mut self,
        shape: Shape,
        write: impl FnOnce(&mut [u8]) -> Result<bool>,
    ) -> Result<Option<Written>> {
        let begin = Instant::now();
        let room = self.meta.as_ref().map_or(self.own.len(), Meta::room);
        let mut loan = self.sender.loan_with_room(shape, room)?;
        if !write(loan.pixels())? {
            return Ok(None);
        }
        loan.set_captured_ns(std::mem::take(&mut self.captured_ns));
        let own = std::mem::take(&mut self.own);
        let meta = self.meta.as_mut().map_or(own, Meta::next);
        if !meta.is_empty() {
            loan.set_meta(&meta)?;
        }
        let sent = loan.publish()?;
        let time = begin.elapsed();
        Ok(Some(Written { sent, shape, time }))
    }

    /// Lets OpenCV decode into a slot, and publishes it. An image of another shape than expected is
    /// decoded elsewhere and copied. `None`: `decode` returned false, for no frame.
    pub(crate) fn decode(
        &mut self,
        expected: Shape,
        decode: impl FnOnce(&mut BoxedRefMut<'_, Mat>) -> Result<bool>,
    ) -> Result<Option<Written>> {
        let mut other = None;
        let written = self.fill(expected, |slot| {
            let address = slot.as_ptr();
            let mut image = picture::view_mut(slot, expected)?;
            if !decode(&mut image)? {
                return Ok(false);
            }
            // If the image does not fit, OpenCV has put it into memory of its own.
            if image.data() != address {
                other = Some(image.clone_pointee());
            }
            Ok(other.is_none())
        })?;
        match other {
            None => Ok(written),
            Some(image) => self
                .publish(picture::shape(&image)?, image.data_bytes()?)
                .map(Some),
        }
    }

    /// Looks after the segment while there is nothing to send.
    pub(crate) fn tend(&mut self) -> Result<()> {
        Ok(self.sender.tend()?)
    }
}
