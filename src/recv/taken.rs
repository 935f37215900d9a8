//! A frame that was taken out of the segment, and what a person can see of it.

use std::sync::Arc;

use serde_json::Value;
use shm_frame::Frame;

/// A frame, copied for the views and sinks, which take too long to hold a lease meanwhile.
#[derive(Debug)]
pub(super) struct Taken {
    pub frame: Frame,
    pub pixels: Vec<u8>,
    /// The bytes that the sender added.
    pub meta: Vec<u8>,
}

impl AsRef<[u8]> for Taken {
    fn as_ref(&self) -> &[u8] {
        &self.pixels
    }
}

/// The sender's bytes as JSON: the value if they are JSON, else a string. `None`: there are none.
pub(super) fn json_of(meta: &[u8]) -> Option<Value> {
    if meta.is_empty() {
        return None;
    }
    let value = serde_json::from_slice(meta);
    Some(value.unwrap_or_else(|_| Value::String(String::from_utf8_lossy(meta).into_owned())))
}

/// Memory of frames that nobody uses any more: to touch fresh memory takes as long as a copy.
#[derive(Debug, Default)]
pub(super) struct Pool(Vec<Arc<Taken>>);

/// As many frames as views and sinks hold at a time, mostly.
const POOLED: usize = 6;

impl Pool {
    /// Memory for pixels and for the sender's bytes, with anything in it.
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<u8>) {
        let free = self
            .0
            .iter_mut()
            .position(|taken| Arc::get_mut(taken).is_some());
        let taken = free.and_then(|free| Arc::into_inner(self.0.swap_remove(free)));
        taken.map_or_else(Default::default, |taken| (taken.pixels, taken.meta))
    }

    /// Takes note of a frame whose memory is to be used again.
    pub(super) fn lend(&mut self, taken: &Arc<Taken>) {
        if self.0.len() == POOLED {
            self.0.swap_remove(0);
        }
        self.0.push(Arc::clone(taken));
    }
}
