//! Where frames go.

use std::time::{Duration, Instant};

use anyhow::Result;
use opencv::boxed_ref::BoxedRefMut;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual};
use shm_frame::{Sender, Sent, Shape};

use crate::cli::window::{Input, Window};
use crate::mat;

/// The segment, and the window that shows what is sent, if there is one.
pub(crate) struct Outlet {
    sender: Sender,
    window: Option<Window>,
    /// What the window is to show: a slot is nobody's once it is published.
    shown: Option<(Shape, Vec<u8>)>,
    /// The window did not show it yet.
    fresh: bool,
}

/// A frame that was sent.
pub(crate) struct Written {
    pub sent: Sent,
    pub shape: Shape,
    /// From the loan to the publication.
    pub time: Duration,
}

impl Outlet {
    pub(crate) fn new(sender: Sender, window: Option<Window>) -> Self {
        Self {
            sender,
            window,
            shown: None,
            fresh: false,
        }
    }

    /// Sends these pixels.
    pub(crate) fn publish(&mut self, shape: Shape, pixels: &[u8]) -> Result<Written> {
        let begin = Instant::now();
        let sent = self.sender.publish(shape, pixels)?;
        let time = begin.elapsed();
        if self.window.is_some() {
            self.shown = Some((shape, pixels.to_vec()));
            self.fresh = true;
        }
        Ok(Written { sent, shape, time })
    }

    /// Sends what `write` writes into a slot, if it does.
    pub(crate) fn fill(
        &mut self,
        shape: Shape,
        write: impl FnOnce(&mut [u8]) -> Result<bool>,
    ) -> Result<Option<Written>> {
        let begin = Instant::now();
        let mut loan = self.sender.loan(shape)?;
        if !write(loan.pixels())? {
            return Ok(None);
        }
        if self.window.is_some() {
            self.shown = Some((shape, loan.pixels().to_vec()));
            self.fresh = true;
        }
        let sent = loan.publish();
        let time = begin.elapsed();
        Ok(Some(Written { sent, shape, time }))
    }

    /// Sends the image that OpenCV gives, if it does. Of the shape that is expected it is written straight into a slot.
    pub(crate) fn decode(
        &mut self,
        expected: Shape,
        decode: impl FnOnce(&mut BoxedRefMut<'_, Mat>) -> Result<bool>,
    ) -> Result<Option<Written>> {
        let mut other = None;
        let written = self.fill(expected, |slot| {
            let address = slot.as_ptr();
            let mut image = mat::view_mut(slot, expected)?;
            if !decode(&mut image)? {
                return Ok(false);
            }
            // What does not fit, OpenCV puts into memory of its own.
            if image.data() != address {
                other = Some(image.clone_pointee());
            }
            Ok(other.is_none())
        })?;
        match other {
            None => Ok(written),
            Some(image) => self
                .publish(mat::shape(&image)?, image.data_bytes()?)
                .map(Some),
        }
    }

    /// Shows what was sent last. `false`: the window was closed.
    pub(crate) fn show(&mut self) -> Result<bool> {
        let Some(window) = &mut self.window else {
            return Ok(true);
        };
        if let Some((shape, pixels)) = &self.shown
            && (std::mem::take(&mut self.fresh) || window.is_stale()?)
        {
            window.show(pixels, *shape, "")?;
        }
        Ok(window.input()? != Some(Input::End))
    }

    /// Looks after the segment and the window while there is nothing to send. `false`: the window was closed.
    pub(crate) fn rest(&mut self) -> Result<bool> {
        self.sender.tend()?;
        self.show()
    }
}
