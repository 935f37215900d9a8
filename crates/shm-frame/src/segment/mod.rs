//! A segment: a file in `/dev/shm`, open and mapped. The file system is here, and all that is
//! unsafe.
//!
//! | what | where |
//! |---|---|
//! | what stands behind a name | [`found`] |
//! | whose a name is: making, placing, removing | [`claim`] |
//! | locks on bytes of the file, and forks, which would share them | [`lock`], [`fork`] |
//! | the mapped memory | [`mapping`], [`guard`], [`copy`], [`way`] |

pub(crate) mod claim;
pub(crate) mod copy;
pub(crate) mod fork;
pub(crate) mod found;
pub(crate) mod guard;
pub(crate) mod lock;
pub(crate) mod mapping;
pub(crate) mod way;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use self::fork::OwnFile;
use self::found::{Contents, FileId, Found};
use self::mapping::{Access, Control, Slots};
pub(crate) use crate::protocol::layout::LOOK_NS;
use crate::protocol::layout::{Geometry, MAGIC, MINDS_LOCKS, OPEN, VERSION};
use crate::protocol::sync::{Ordering, fence};
use crate::{Error, Name};

/// A segment, open and mapped.
#[derive(Debug)]
pub(crate) struct Segment {
    /// In an `Arc` for views of a loan, which may outlive its segment's owner.
    pub(crate) slots: Arc<Slots>,
    /// `None`: the segment is a single frame of a sender that knows no more.
    pub(crate) control: Option<Control>,
    name: Name,
    file: OwnFile,
    id: FileId,
    len: u64,
    session: u64,
    pid: u32,
    features: u32,
}

impl Segment {
    /// Opens the segment that the name means, to receive from it; with the permission to write its
    /// control page if there is one and `access` asks for it.
    pub(crate) fn open(name: &Name, access: Access) -> Result<Self, Error> {
        let found = match access {
            Access::Read => Found::open_to_look(name),
            Access::Write => Found::open(name),
        };
        let found = found?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
        let (claims, geometry) = match found.contents()? {
            Contents::Native(claims) => (Some(claims), claims.geometry),
            Contents::Plain(_) | Contents::Blank(_) | Contents::Other(_) if found.alive()? => {
                return Err(found.not_a_segment(
                    "another process truncated or overwrote it, and its sender is about to make it anew",
                ));
            }
            Contents::Plain(len) | Contents::Blank(len) => (None, Geometry::plain(len)),
            Contents::Version(version) => return Err(found.version(version)),
            Contents::Other(what) => return Err(found.not_a_segment(what)),
        };
        let access = if found.writable() {
            Access::Write
        } else {
            Access::Read
        };
        let slots = Slots::map(&found.file, name, geometry, Access::Read)?;
        if claims.is_some() {
            // All of it was seen to be memory. Other files may have holes, which reading would
            // fill.
            slots.populate();
        }
        Ok(Self {
            slots: Arc::new(slots),
            control: claims
                .map(|claims| Control::map(&found.file, name, claims.geometry.slots_len(), access))
                .transpose()?,
            name: name.clone(),
            id: found.id(),
            len: found.metadata.len(),
            session: claims.map_or(0, |claims| claims.session),
            pid: claims.map_or(0, |claims| claims.pid),
            features: claims.map_or(0, |claims| claims.features),
            file: found.file,
        })
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Has the processor fetch the lease table, to be read.
    #[inline]
    pub(crate) fn fetch_leases(&self) {
        if let Some(control) = &self.control {
            (0..self.slots.geometry().leases()).for_each(|entry| control.fetch_lease(entry, false));
        }
    }

    /// Has the processor fetch the beginning of a slot and what the control page says of it: to be
    /// written, in a segment whose slots are mapped for that, else to be read.
    #[inline]
    pub(crate) fn fetch_slot(&self, slot: usize) {
        self.slots.fetch(slot);
        if let Some(control) = &self.control {
            control.fetch(slot, self.slots.writable());
        }
    }

    /// Has the processor fetch all that a publication writes but the pixels.
    #[inline]
    pub(crate) fn fetch_publication(&self, slot: usize) {
        self.fetch_slot(slot);
        if let Some(control) = &self.control {
            control.fetch_latest();
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether this process opened it, and not one that this was forked from: its locks and leases
    /// are that one's.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.file.is_ours()
    }

    /// Random, and the same in every segment that one sender makes; 0 without a control page.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// Whether the sender minds leases by locks.
    pub(crate) fn minds_locks(&self) -> bool {
        self.features & MINDS_LOCKS != 0
    }

    /// The sender's process, for messages.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether a sender is alive that holds this segment.
    pub(crate) fn alive(&self) -> Result<bool, Error> {
        lock::held(&self.file, lock::LIFE).map_err(self.name.errno("fcntl"))
    }

    /// Whether what is mapped is still the segment that was opened: not truncated, not overwritten,
    /// not even for a moment. Cheap: for every frame.
    #[inline]
    pub(crate) fn intact(&self) -> bool {
        // What was read before must not move below: it is asked about.
        fence(Ordering::Acquire);
        // Truncation to 0 and back raises no signal and leaves zeros, so the constants are looked
        // at first: if they are zeros because of a hole that was touched, the flag says so after.
        let same = self.control.as_ref().is_none_or(|control| {
            let page = control.page();
            page.magic.load(Ordering::Relaxed) == MAGIC
                && page.session.load(Ordering::Relaxed) == self.session
        });
        // The flags are looked at after. A fence and Relaxed loads, since the page may be mapped
        // for reading only.
        fence(Ordering::Acquire);
        same && !self.slots.truncated() && !self.control.as_ref().is_some_and(Control::truncated)
    }

    /// Whether all that the sender wrote in the control page and never changes is still there.
    pub(crate) fn constants_hold(&self) -> bool {
        let geometry = self.slots.geometry();
        self.control.as_ref().is_none_or(|control| {
            let page = control.page();
            page.version.load(Ordering::Relaxed) == VERSION
                && page.slots.load(Ordering::Relaxed) as usize == geometry.slots
                && page.stride.load(Ordering::Relaxed) == geometry.stride as u64
                && page.capacity.load(Ordering::Relaxed) == geometry.capacity as u64
                && page.state.load(Ordering::Relaxed) == OPEN
        })
    }

    /// Bytes at the file's beginning that are memory: to read a hole would reserve some (lseek(2),
    /// `SEEK_HOLE`).
    pub(crate) fn bytes_before_a_hole(&self) -> Result<usize, Error> {
        match lseek(&self.file, 0, Whence::SeekHole) {
            Ok(at) => Ok(usize::try_from(at).unwrap_or(0)),
            // It is empty by now.
            Err(Errno::ENXIO) => Ok(0),
            Err(errno) => Err(self.name.failed("lseek", errno)),
        }
    }

    /// What a look at the file says. For every [`LOOK`].
    pub(crate) fn look(&self) -> Result<Look, Error> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| self.name.failed("fstat", error))?;
        // Its sender reserved all of it: who comes later takes a file with holes for no segment.
        let holes = self.control.is_some() && metadata.blocks() * 512 < self.len;
        Ok(if metadata.len() != self.len || holes || !self.intact() {
            Look::Broken
        } else if metadata.nlink() == 0 {
            Look::Nameless
        } else {
            Look::Sound
        })
    }
}

/// How often to look whether a segment is what it was.
pub(crate) const LOOK: Duration = Duration::from_nanos(LOOK_NS);

/// When to look again, by the monotonic clock, after a look from `began_ns` until `ended_ns`.
/// Whoever may read a segment can make looks slow, with locks on the file: they take no more than a
/// tenth of the time.
pub(crate) fn next_look_ns(began_ns: u64, ended_ns: u64) -> u64 {
    let took = ended_ns.saturating_sub(began_ns);
    began_ns + LOOK_NS.max(10 * took)
}

/// What has become of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Sound,
    /// Replaced or removed: its name means something else now, or nothing.
    Nameless,
    /// Truncated or overwritten.
    Broken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_looks_are_rarer() {
        const MS: u64 = 1_000_000;
        assert_eq!(next_look_ns(7, 7), 7 + 100 * MS);
        assert_eq!(next_look_ns(7, 7 + 10 * MS), 7 + 100 * MS);
        assert_eq!(next_look_ns(7, 7 + 38 * MS), 7 + 380 * MS);
    }
}
