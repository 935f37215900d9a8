//! Whose a name is: making a segment, giving it a name, replacing and removing it.
//!
//! Two locks say whose a name is ([`lock`]): the sender holds [`lock::LIFE`] on the file it made,
//! from before that has a name; [`lock::NAME`] is the right to change what the name means. To
//! replace or remove a segment: open it, take `NAME` on it, and check that the name still means
//! this file; else begin again. To probe first and rename then would give a name two owners.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, posix_fallocate};
use nix::libc;
use nix::sys::stat::{major, minor};
use nix::sys::statvfs::statvfs;
use nix::unistd::linkat;

use super::fork::OwnFile;
use super::found::{Contents, FileId, Found, errno_of, named, refused};
use super::mapping::{Access, Control, Slots};
use super::{LOOK, Segment, lock};
use crate::name::DIRECTORY;
use crate::protocol::layout::{Geometry, MAGIC, MINDS_LOCKS, VERSION};
use crate::protocol::sync::Ordering;
use crate::sender::random;
use crate::{Error, Holder, Name};

/// How often to begin again when other processes keep changing the name.
const TRIES: u32 = 100;
/// How long, in ms, a new sender waits for another process to let go of [`lock::NAME`]: that
/// watches a segment for 200 ms at most.
const NAME_LOCK_TRIES: u32 = 2000;
/// The same for a sender at work, which has frames to publish and can try again.
const NAME_LOCK_TRIES_AT_WORK: u32 = 20;

/// Prefix of the temporary name used while a segment is replaced. The inode of the replaced one
/// follows.
pub(crate) const TEMPORARY: &str = ".shm-frame-";

impl Found {
    /// Takes [`lock::NAME`] if the name still means this file. It is given back with the file.
    pub(crate) fn own_name(&self) -> Result<bool, Error> {
        self.must_be_writable()?;
        lock_name(&self.file, &self.name, NAME_LOCK_TRIES)?;
        Ok(named(&self.name)? == Some(self.id()))
    }

    /// Removes the name, which the caller [owns](Self::own_name), and a temporary one that belongs
    /// to it.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        fs::remove_file(self.name.path())
            .map_err(|error| unchanged(&self.name, "unlink", error))?;
        remove_successor(self.id());
        Ok(())
    }

    /// Whether a new sender may have this name.
    fn may_be_replaced(&self) -> Result<(), Error> {
        let name = self.name.clone();
        let contents = self.contents()?;
        if self.alive()? {
            // Whatever stands in it now: its sender is about to make it anew.
            let pid = match contents {
                Contents::Native(claims) => Some(claims.pid),
                Contents::Version(_)
                | Contents::Plain(_)
                | Contents::Blank(_)
                | Contents::Other(_) => None,
            };
            return Err(Error::Live { name, pid });
        }
        match contents {
            Contents::Plain(_) if self.moves()? => Err(Error::PlainLive { name }),
            Contents::Native(_) | Contents::Plain(_) => Ok(()),
            Contents::Blank(len) => Err(self.not_a_segment(format!(
                "its {len} bytes begin with 24 zeros, as memory of any other program may"
            ))),
            Contents::Version(version) => Err(self.version(version)),
            Contents::Other(what) => Err(self.not_a_segment(what)),
        }
    }
}

/// Why a name in `/dev/shm`, which is sticky, is as it was.
fn unchanged(name: &Name, call: &'static str, error: io::Error) -> Error {
    match errno_of(&error) {
        errno @ (Errno::EPERM | Errno::EACCES | Errno::EROFS) => refused(name, errno),
        _ => name.failed(call, error),
    }
}

/// Waits, within bounds, for the right to change what the name means.
fn lock_name(file: &File, name: &Name, tries: u32) -> Result<(), Error> {
    for left in (0..tries).rev() {
        if lock::take(file, lock::NAME).map_err(name.errno("fcntl"))? {
            return Ok(());
        }
        if left > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Err(Error::Busy {
        name: name.clone(),
        tries,
    })
}

/// What a sender needs to know to make a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) geometry: Geometry,
    pub(crate) mode: u32,
    pub(crate) session: u64,
}

impl Segment {
    /// Makes a segment under a name that is nobody's, or a dead sender's, or with `replace`
    /// anybody's.
    pub(crate) fn create(name: &Name, plan: Plan, replace: bool) -> Result<Self, Error> {
        let segment = match Self::unnamed(name, plan) {
            Err(error @ Error::NoRoom { .. }) => {
                let removed = make_room(name, plan.geometry, replace, error)?;
                Self::unnamed_after_making_room(name, plan, &removed)?
            }
            result => result?,
        };
        for _ in 0..TRIES {
            let Some(found) = Found::open(name)? else {
                if segment.link(&name.path())? {
                    return Ok(segment);
                }
                continue;
            };
            if !found.own_name()? {
                continue;
            }
            if !replace {
                found.may_be_replaced()?;
            }
            segment.rename_over(found.id())?;
            return Ok(segment);
        }
        Err(Error::Busy {
            name: name.clone(),
            tries: TRIES,
        })
    }

    /// Makes the segment that follows this one under the same name.
    ///
    /// # Errors
    ///
    /// [`Error::TakenOver`] when the name is another sender's by now. [`Error::Busy`] when another
    /// process does not let go of [`lock::NAME`]: after some time if this one is `patient`, else at
    /// once.
    pub(crate) fn create_next(&self, plan: Plan, patient: bool) -> Result<Self, Error> {
        let tries = if patient { NAME_LOCK_TRIES_AT_WORK } else { 1 };
        // First: to reserve the memory in vain takes longer than anything else.
        lock_name(&self.file, &self.name, tries)?;
        let placed =
            Self::unnamed(&self.name, plan).and_then(|next| self.place(&next).map(|()| next));
        lock::give(&self.file, lock::NAME);
        placed
    }

    /// Gives this segment's name to the next one. The caller holds [`lock::NAME`].
    fn place(&self, next: &Self) -> Result<(), Error> {
        for _ in 0..TRIES {
            match named(&self.name)? {
                None if next.link(&self.name.path())? => {
                    remove_successor(self.id);
                    return Ok(());
                }
                None => {}
                Some(id) if id == self.id => return next.rename_over(self.id),
                Some(_) => return Err(self.taken_over()),
            }
        }
        Err(Error::Busy {
            name: self.name.clone(),
            tries: TRIES,
        })
    }

    /// Says who has the name now.
    pub(crate) fn taken_over(&self) -> Error {
        let contents = Found::open(&self.name)
            .ok()
            .flatten()
            .and_then(|found| found.contents().ok());
        Error::TakenOver {
            name: self.name.clone(),
            pid: match contents {
                Some(Contents::Native(claims)) => Some(claims.pid),
                _ => None,
            },
        }
    }

    /// Removes the name if it still means this segment.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        lock_name(&self.file, &self.name, NAME_LOCK_TRIES_AT_WORK)?;
        remove_successor(self.id);
        if named(&self.name)? == Some(self.id) {
            fs::remove_file(self.name.path()).map_err(|error| self.name.failed("unlink", error))?;
        }
        lock::give(&self.file, lock::NAME);
        Ok(())
    }

    /// The same, when the segment of a dead sender was just removed: its receivers let go of its
    /// memory within their next look.
    fn unnamed_after_making_room(name: &Name, plan: Plan, removed: &Found) -> Result<Self, Error> {
        for looks in 0..20 {
            match Self::unnamed(name, plan) {
                Err(Error::NoRoom { .. }) => thread::sleep(LOOK),
                result => return result,
            }
            if looks == 10 {
                // A receiver that is stopped still has it. The owner is dead, and receivers are
                // guarded against truncation.
                removed
                    .file
                    .set_len(0)
                    .map_err(|error| name.failed("ftruncate", error))?;
            }
        }
        Self::unnamed(name, plan)
    }

    /// Gives the file a name. `false`: the name is taken.
    fn link(&self, path: &Path) -> Result<bool, Error> {
        // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH; see open(2), O_TMPFILE.
        let file = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&*self.file)
        );
        match linkat(
            AT_FDCWD,
            file.as_str(),
            AT_FDCWD,
            path,
            AtFlags::AT_SYMLINK_FOLLOW,
        ) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(self.name.failed("linkat", errno)),
        }
    }

    /// Puts this segment in the place of `last`, whose [`lock::NAME`] the caller holds.
    fn rename_over(&self, last: FileId) -> Result<(), Error> {
        remove_successor(last);
        // The first of these names may be taken by another user, who means to be in the way. The
        // others nobody knows before.
        let names = (0..8).map(|i| {
            let mut temporary = successor(last);
            if i > 0 {
                temporary
                    .as_mut_os_string()
                    .push(format!("-{:x}", random()));
            }
            temporary
        });
        let mut placed = None;
        for temporary in names {
            if self.link(&temporary)? {
                placed = Some(temporary);
                break;
            }
        }
        let temporary = placed.ok_or_else(|| self.name.failed("linkat", Errno::EEXIST))?;
        fs::rename(&temporary, self.name.path()).map_err(|error| {
            // Nothing more can be done about a name that can't be removed.
            let _ = fs::remove_file(&temporary);
            unchanged(&self.name, "rename", error)
        })
    }

    /// Gives the memory back, of a segment that is worth nothing any more. Receivers see that it is
    /// truncated.
    pub(crate) fn give_up(&self) -> Result<(), Error> {
        self.file
            .set_len(0)
            .map_err(|error| self.name.failed("ftruncate", error))
    }

    /// A segment with everything in place but a name.
    fn unnamed(name: &Name, plan: Plan) -> Result<Self, Error> {
        let geometry = plan.geometry;
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).mode(plan.mode);
        options.custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC);
        let file =
            OwnFile::open(|| options.open(DIRECTORY)).map_err(|error| match errno_of(&error) {
                Errno::EROFS => refused(name, Errno::EROFS),
                _ => name.failed("open(O_TMPFILE)", error),
            })?;
        // The mode above is less the umask.
        file.set_permissions(Permissions::from_mode(plan.mode))
            .map_err(|error| name.failed("fchmod", error))?;
        let slots = reserve(&file, name, geometry)?;
        if !lock::take(&file, lock::LIFE).map_err(name.errno("fcntl"))? {
            return Err(name.failed("fcntl", Errno::EAGAIN));
        }

        let control = Control::map(&file, name, geometry.slots_len(), Access::Write)?;
        let page = control.page();
        let pid = std::process::id();
        page.version.store(VERSION, Ordering::Relaxed);
        page.pid.store(pid, Ordering::Relaxed);
        page.session.store(plan.session, Ordering::Relaxed);
        page.slots.store(
            u32::try_from(geometry.slots).expect("at most 16"),
            Ordering::Relaxed,
        );
        page.features.store(MINDS_LOCKS, Ordering::Relaxed);
        page.stride.store(geometry.stride as u64, Ordering::Relaxed);
        page.capacity
            .store(geometry.capacity as u64, Ordering::Relaxed);
        // Release: whoever finds the magic finds the rest.
        page.magic.store(MAGIC, Ordering::Release);

        let metadata = file
            .metadata()
            .map_err(|error| name.failed("fstat", error))?;
        Ok(Self {
            slots: Arc::new(slots),
            control: Some(control),
            name: name.clone(),
            id: FileId::of(&metadata),
            len: metadata.len(),
            session: plan.session,
            pid,
            features: MINDS_LOCKS,
            file,
        })
    }
}

/// The temporary path of a segment before it takes the place of `last`. It has the inode of the
/// file whose [`lock::NAME`] gives the right to touch it, and receivers do not look at it.
fn successor(last: FileId) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{TEMPORARY}{}", last.inode))
}

/// Removes the temporary name that a sender leaves when it is killed between link and rename. The
/// caller holds the [`lock::NAME`] of `last`.
fn remove_successor(last: FileId) {
    // There hardly ever is one, and another user's cannot be removed.
    let _ = fs::remove_file(successor(last));
}

/// Reserves the memory, so that a full `/dev/shm` is an error here, not a SIGBUS at the first
/// write, and brings it in.
fn reserve(file: &File, name: &Name, geometry: Geometry) -> Result<Slots, Error> {
    let len = i64::try_from(geometry.len()).expect("a geometry's length fits in an isize");
    let no_room = |available| Error::NoRoom {
        name: name.clone(),
        needed: geometry.len() as u64,
        available,
        holders: holders(),
    };
    // Before any is taken from others.
    let needed = geometry.len() as u64;
    if let Some(free) = available(name)?.filter(|&free| free < needed) {
        return Err(no_room(free));
    }
    // Large pages are given to mappings that ask for them, and not where there are small ones.
    file.set_len(geometry.len() as u64)
        .map_err(|error| name.failed("ftruncate", error))?;
    let slots = Slots::map(file, name, geometry, Access::Write)?;
    slots.populate();
    // A signal may interrupt it; bounded, since a timer may send them faster than pages are
    // reserved.
    for _ in 0..TRIES {
        match posix_fallocate(file, 0, len) {
            Ok(()) => return Ok(slots),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC) => {
                // What there was, this file has by now.
                drop(slots);
                file.set_len(0)
                    .map_err(|error| name.failed("ftruncate", error))?;
                return Err(no_room(available(name)?.unwrap_or(0)));
            }
            Err(errno) => return Err(name.failed("posix_fallocate", errno)),
        }
    }
    Err(name.failed("posix_fallocate", Errno::EINTR))
}

/// The bytes that are free. `None`: there is no limit, and so there are no blocks.
fn available(name: &Name) -> Result<Option<u64>, Error> {
    let fs = statvfs(DIRECTORY).map_err(name.errno("statvfs"))?;
    let is_limited = fs.blocks() > 0;
    Ok(is_limited.then(|| fs.blocks_available() * fs.fragment_size()))
}

/// Processes of this user that map segments without a name: what they hold, no list of files shows.
fn holders() -> Vec<Holder> {
    let files = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let named = files.filter_map(|file| Some(file.metadata().ok()?.ino()));
    let named: HashSet<_> = named.collect();
    let mut holders = Vec::new();
    // The processes of containers may be seen here, and their `/dev/shm` is another.
    let Ok(directory) = fs::metadata(DIRECTORY) else {
        return holders;
    };
    let device = format!(
        "{:02x}:{:02x}",
        major(directory.dev()),
        minor(directory.dev())
    );
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|pid| pid.parse().ok());
        // Another user's maps cannot be read.
        let (Some(pid), Ok(maps)) = (pid, fs::read_to_string(process.path().join("maps"))) else {
            continue;
        };
        let bytes = held_without_a_name(&maps, &device, &named);
        if bytes > 0 {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holders.push(Holder::new(pid, command.trim_end().to_owned(), bytes));
        }
    }
    holders
}

/// Bytes that the lines of a `/proc/PID/maps` have of files in the `/dev/shm` of that device of
/// which none is `named`; see `proc_pid_maps(5)`. By their inodes: a file that was made without a
/// name is "(deleted)" there for good.
fn held_without_a_name(maps: &str, device: &str, named: &HashSet<u64>) -> u64 {
    let bytes = |line: &str| {
        if !line.ends_with(" (deleted)") || !line.contains(&format!(" {DIRECTORY}/")) {
            return None;
        }
        // Address, permissions, offset, device, inode.
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        if words.nth(2)? != device {
            return None;
        }
        let inode = words.next()?.parse().ok()?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let bytes = address(to)?.checked_sub(address(from)?)?;
        (!named.contains(&inode)).then_some(bytes)
    };
    maps.lines().filter_map(bytes).sum()
}

/// Removes a dead sender's segment, if a new one does not fit beside it but fits in its place; else
/// fails with `error`.
fn make_room(name: &Name, geometry: Geometry, replace: bool, error: Error) -> Result<Found, Error> {
    let Some(found) = Found::open(name)? else {
        return Err(error);
    };
    if !found.own_name()? {
        return Err(error);
    }
    if !replace {
        // That there is a living sender matters more than that there is no room beside it.
        found.may_be_replaced()?;
    }
    if !found.abandoned()? {
        return Err(error);
    }
    let held = found.metadata.blocks() * 512;
    if available(name)?.is_some_and(|free| free + held < geometry.len() as u64) {
        return Err(error);
    }
    found.remove()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_segments_that_a_process_maps_are_counted() {
        let maps = "\
7f0000000000-7f0000300000 r--s 00000000 00:1a 12                 /dev/shm/cam (deleted)
7f0000300000-7f0000301000 rw-s 00300000 00:1a 12                 /dev/shm/#12 (deleted)
7f0000400000-7f0000700000 r--s 00000000 00:1a 13                 /dev/shm/alive
7f0000500000-7f0000600000 rw-s 00000000 00:1a 15                 /dev/shm/#15 (deleted)
7f0000800000-7f0000900000 r--s 00000000 00:1b 14                 /tmp/other (deleted)
7f0000a00000-7f0000b00000 rw-s 00000000 00:1c 16                 /dev/shm/container (deleted)
";
        let held = held_without_a_name(maps, "00:1a", &[13, 15].into());
        assert_eq!(held, 0x30_1000);
    }
}
