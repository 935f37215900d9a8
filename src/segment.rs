//! The named shared-memory object: opening, making, mapping, locking, removing.
//!
//! A name is a file in `/dev/shm`. Two locks say whose it is ([`lock`]): [`lock::LIFE`] is held by the sender on the
//! file it made, from before that has a name; [`lock::NAME`] is the right to change what the name means. To replace or
//! remove a segment: open it, take `NAME` on it, and check that the name still means this file; else begin again. To probe
//! first and rename then would give a name two owners.

pub(crate) mod copy;
pub(crate) mod guard;
pub(crate) mod lock;
pub(crate) mod memory;

use std::fs::{self, File, Permissions};
use std::io;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, posix_fallocate};
use nix::libc;
use nix::sys::statvfs::statvfs;
use nix::unistd::{Uid, User, linkat};

use self::memory::{Access, Control, Slots};
use crate::layout::{ControlPage, Geometry, MAGIC, OPEN, PAGE, VERSION};
use crate::name::DIRECTORY;
use crate::sync::{Ordering, fence};
use crate::{Error, FrameHeader, Name};

/// How often to begin again when others keep changing the name.
const TRIES: u32 = 100;
/// How long, in ms, a new sender waits for another process to be done with [`lock::NAME`]: it watches a segment for
/// [`WATCH`] at most.
const NAME_LOCK_TRIES: u32 = 2000;
/// The same for a sender at work, which has frames to publish and can try again.
const NAME_LOCK_TRIES_AT_WORK: u32 = 20;
/// How long a segment without a control page is watched before it is taken for abandoned.
const WATCH: Duration = Duration::from_millis(200);

/// How the name begins that a segment has for a moment before it takes another's place. The inode of that other one follows.
pub(crate) const TEMPORARY: &str = ".shm-frame-";

/// Which file a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// What stands behind a name now.
pub(crate) fn named(name: &Name) -> Result<Option<FileId>, Error> {
    match fs::symlink_metadata(name.path()) {
        Ok(metadata) => Ok(Some(FileId::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(name.failed("stat", error)),
    }
}

/// What a file turns out to be.
pub(crate) enum Contents {
    /// It ends in a control page that makes sense.
    Native(Claims),
    /// It begins with a header that makes sense, or with 24 zeros, which are one that was not written yet.
    Plain,
    /// Neither, and what it is instead.
    Other(String),
}

/// The constants of a control page, read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    pub(crate) geometry: Geometry,
    session: u64,
    pub(crate) pid: u32,
}

/// A file of some name in `/dev/shm`, open.
pub(crate) struct Existing {
    pub(crate) name: Name,
    pub(crate) file: File,
    pub(crate) metadata: fs::Metadata,
    writable: bool,
}

impl Existing {
    /// Opens what the name means, for writing if that is permitted. `Ok(None)`: it means nothing.
    pub(crate) fn open(name: &Name) -> Result<Option<Self>, Error> {
        Self::open_with(name, true)
    }

    /// The same, to look only.
    pub(crate) fn open_to_look(name: &Name) -> Result<Option<Self>, Error> {
        Self::open_with(name, false)
    }

    fn open_with(name: &Name, write: bool) -> Result<Option<Self>, Error> {
        let path = name.path();
        let open = |write| {
            fs::OpenOptions::new()
                .read(true)
                .write(write)
                // NONBLOCK: a FIFO would block. NOFOLLOW: a link may point anywhere.
                .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(&path)
        };
        let not = |what: &str| Error::NotASegment {
            name: name.clone(),
            what: what.to_owned(),
        };
        let errno = |error: &io::Error| {
            error
                .raw_os_error()
                .map_or(Errno::UnknownErrno, Errno::from_raw)
        };
        let opened = match open(write) {
            Err(error)
                if write
                    && matches!(errno(&error), Errno::EACCES | Errno::EROFS | Errno::EPERM) =>
            {
                open(false).map(|file| (file, false))
            }
            result => result.map(|file| (file, write)),
        };
        let (file, writable) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return match errno(&error) {
                    Errno::ENOENT => Ok(None),
                    Errno::ELOOP => Err(not("it is a symbolic link, which is never followed")),
                    Errno::EISDIR => Err(not("it is a directory")),
                    Errno::ENXIO => Err(not("it is a socket or a device")),
                    Errno::EACCES | Errno::EPERM => Err(denied(
                        name,
                        "run as that user, or start its sender with --mode 0644",
                    )),
                    _ => Err(name.failed("open", error)),
                };
            }
        };
        let metadata = file
            .metadata()
            .map_err(|error| name.failed("fstat", error))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(not("it is a directory"));
        } else if kind.is_fifo() {
            return Err(not("it is a FIFO"));
        } else if !kind.is_file() {
            return Err(not("it is a device"));
        }
        Ok(Some(Self {
            name: name.clone(),
            file,
            metadata,
            writable,
        }))
    }

    pub(crate) fn id(&self) -> FileId {
        FileId::of(&self.metadata)
    }

    pub(crate) fn len(&self) -> Option<usize> {
        usize::try_from(self.metadata.len()).ok()
    }

    pub(crate) fn header(&self, at: usize) -> Result<FrameHeader, Error> {
        let mut bytes = [0; FrameHeader::LEN];
        self.read(&mut bytes, at)?;
        Ok(FrameHeader::decode(&bytes))
    }

    pub(crate) fn read(&self, bytes: &mut [u8], at: usize) -> Result<(), Error> {
        self.file
            .read_exact_at(bytes, at as u64)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::NotASegment {
                    name: self.name.clone(),
                    what: "it was truncated while it was looked at".to_owned(),
                },
                _ => self.name.failed("pread", error),
            })
    }

    pub(crate) fn contents(&self) -> Result<Contents, Error> {
        let Some(len) = self.len() else {
            return Ok(Contents::Other(
                "it is larger than the address space".to_owned(),
            ));
        };
        if len == 0 {
            return Ok(Contents::Other("it is empty".to_owned()));
        }
        if len < FrameHeader::LEN {
            return Ok(Contents::Other(format!(
                "it has {len} bytes, a header alone has {}",
                FrameHeader::LEN
            )));
        }
        if len.is_multiple_of(PAGE) {
            let mut page = vec![0; PAGE];
            self.read(&mut page, len - PAGE)?;
            if u64_at(&page, offset_of!(ControlPage, magic)) == MAGIC {
                return Ok(claims(&page, len).map_or_else(Contents::Other, Contents::Native));
            }
        }
        let header = self.header(0)?;
        Ok(if header == FrameHeader::default() {
            Contents::Plain
        } else {
            match header.shape(len - FrameHeader::LEN) {
                Ok(_) => Contents::Plain,
                Err(error) => Contents::Other(format!(
                    "it has no control page, and as a header its first bytes do not make sense: {error}"
                )),
            }
        })
    }

    /// Takes [`lock::NAME`] if the name still means this file. It is given back with the file.
    pub(crate) fn own_name(&self) -> Result<bool, Error> {
        if !self.writable {
            return Err(denied(&self.name, "use another --name"));
        }
        lock_name(&self.file, &self.name, NAME_LOCK_TRIES)?;
        Ok(named(&self.name)? == Some(self.id()))
    }

    pub(crate) fn alive(&self) -> Result<bool, Error> {
        lock::held(&self.file, lock::LIFE).map_err(self.name.errno("fcntl"))
    }

    /// Whether it has a control page whose sender is dead.
    pub(crate) fn abandoned(&self) -> Result<bool, Error> {
        Ok(matches!(self.contents()?, Contents::Native(_)) && !self.alive()?)
    }

    /// Removes the name, which the caller [owns](Self::own_name), and what was to take its place.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        fs::remove_file(self.name.path()).map_err(|error| {
            match error.raw_os_error().map(Errno::from_raw) {
                // /dev/shm is sticky.
                Some(Errno::EPERM | Errno::EACCES) => denied(&self.name, "use another --name"),
                _ => self.name.failed("unlink", error),
            }
        })?;
        remove_successor(self.id());
        Ok(())
    }

    /// Whether a sender without a control page is at work here.
    fn moves(&self) -> Result<bool, Error> {
        let before = self.header(0)?;
        let end = Instant::now() + WATCH;
        while Instant::now() < end {
            thread::sleep(WATCH / 40);
            if self.header(0)? != before {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a new sender may have this name.
    fn may_be_replaced(&self) -> Result<(), Error> {
        let name = self.name.clone();
        let contents = self.contents()?;
        if self.alive()? {
            // Whatever stands in it, or does not any more: its sender is about to make it anew.
            let pid = match contents {
                Contents::Native(claims) => Some(claims.pid),
                Contents::Plain | Contents::Other(_) => None,
            };
            return Err(Error::Live { name, pid });
        }
        match contents {
            Contents::Plain if self.moves()? => Err(Error::PlainLive { name }),
            Contents::Native(_) | Contents::Plain => Ok(()),
            Contents::Other(what) => Err(Error::NotASegment {
                name,
                what: what + "; remove it, use another --name, or replace it with --replace",
            }),
        }
    }
}

fn claims(page: &[u8], len: usize) -> Result<Claims, String> {
    let version = u32_at(page, offset_of!(ControlPage, version));
    if version != VERSION {
        return Err(format!(
            "its control page has version {version}, this program knows {VERSION}: use the same version at both ends"
        ));
    }
    let slots = u32_at(page, offset_of!(ControlPage, slots));
    let stride = u64_at(page, offset_of!(ControlPage, stride));
    let capacity = u64_at(page, offset_of!(ControlPage, capacity));
    let session = u64_at(page, offset_of!(ControlPage, session));
    let geometry = || {
        let (slots, stride, capacity) = (
            slots.try_into().ok()?,
            stride.try_into().ok()?,
            capacity.try_into().ok()?,
        );
        Geometry::checked(slots, stride, capacity, len)
    };
    match geometry() {
        Some(geometry) if session != 0 => Ok(Claims {
            geometry,
            session,
            pid: u32_at(page, offset_of!(ControlPage, pid)),
        }),
        _ => Err(format!(
            "its control page claims {slots} slots {stride} bytes apart with room for {capacity}, session {session:x}, in {len} bytes"
        )),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("offsets lie in the page"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("offsets lie in the page"))
}

/// Says whose a name is.
fn denied(name: &Name, remedy: &'static str) -> Error {
    match fs::symlink_metadata(name.path()) {
        Ok(metadata) => Error::Denied {
            name: name.clone(),
            owner: user(metadata.uid()),
            mode: metadata.permissions().mode() & 0o7777,
            remedy,
        },
        Err(error) => name.failed("stat", error),
    }
}

fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}

/// Waits, within bounds, for the right to change what the name means.
fn lock_name(file: &File, name: &Name, tries: u32) -> Result<(), Error> {
    for _ in 0..tries {
        if lock::take(file, lock::NAME).map_err(name.errno("fcntl"))? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
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

/// A segment, open and mapped.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) slots: Slots,
    /// `None`: the segment is a single frame of a sender that knows no more.
    pub(crate) control: Option<Control>,
    name: Name,
    file: File,
    id: FileId,
    len: u64,
    session: u64,
    pid: u32,
}

impl Segment {
    /// Opens the segment that the name means, to receive from it.
    pub(crate) fn open(name: &Name) -> Result<Self, Error> {
        let existing =
            Existing::open(name)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
        let (claims, len) = match (existing.contents()?, existing.len()) {
            (Contents::Native(claims), Some(len)) => (Some(claims), len),
            (Contents::Plain | Contents::Other(_), _) if existing.alive()? => {
                return Err(Error::NotASegment {
                    name: name.clone(),
                    what: "somebody truncated or overwrote it, and its sender is about to make it anew"
                        .to_owned(),
                });
            }
            (Contents::Plain, Some(len)) => (None, len),
            (Contents::Other(what), _) => {
                return Err(Error::NotASegment {
                    name: name.clone(),
                    what,
                });
            }
            (_, None) => unreachable!("contents() judges the length first"),
        };
        let geometry = claims.map_or(Geometry::plain(len), |claims| claims.geometry);
        let access = if existing.writable {
            Access::Write
        } else {
            Access::Read
        };
        Ok(Self {
            slots: Slots::map(&existing.file, name, geometry, Access::Read)?,
            control: claims
                .map(|claims| {
                    Control::map(&existing.file, name, claims.geometry.slots_len(), access)
                })
                .transpose()?,
            name: name.clone(),
            id: existing.id(),
            len: existing.metadata.len(),
            session: claims.map_or(0, |claims| claims.session),
            pid: claims.map_or(0, |claims| claims.pid),
            file: existing.file,
        })
    }

    /// Makes a segment under a name that is nobody's, or a dead sender's, or with `replace` anybody's.
    pub(crate) fn create(name: &Name, plan: Plan, replace: bool) -> Result<Self, Error> {
        let segment = match Self::unnamed(name, plan) {
            Err(error @ Error::NoRoom { .. }) => {
                make_room(name, plan.geometry, replace, error)?;
                Self::unnamed_after_making_room(name, plan)?
            }
            result => result?,
        };
        for _ in 0..TRIES {
            let Some(existing) = Existing::open(name)? else {
                if segment.link(&name.path())? {
                    return Ok(segment);
                }
                continue;
            };
            if !existing.own_name()? {
                continue;
            }
            if !replace {
                existing.may_be_replaced()?;
            }
            segment.rename_over(existing.id())?;
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
    /// [`Error::TakenOver`] when the name is somebody else's by now.
    pub(crate) fn create_next(&self, plan: Plan) -> Result<Self, Error> {
        let next = Self::unnamed(&self.name, plan)?;
        lock_name(&self.file, &self.name, NAME_LOCK_TRIES_AT_WORK)?;
        let placed = self.place(&next);
        lock::give(&self.file, lock::NAME);
        placed.map(|()| next)
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

    /// Gives the memory back, of a segment that is worth nothing any more. Receivers see that it is truncated.
    pub(crate) fn give_up(&self) -> Result<(), Error> {
        self.file
            .set_len(0)
            .map_err(|error| self.name.failed("ftruncate", error))
    }

    /// Says who has the name now.
    pub(crate) fn taken_over(&self) -> Error {
        let contents = Existing::open(&self.name)
            .ok()
            .flatten()
            .and_then(|existing| existing.contents().ok());
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

    /// A segment with everything in place but a name.
    fn unnamed(name: &Name, plan: Plan) -> Result<Self, Error> {
        let geometry = plan.geometry;
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .mode(plan.mode)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .open(DIRECTORY)
            .map_err(|error| name.failed("open(O_TMPFILE)", error))?;
        // The mode above is less the umask.
        file.set_permissions(Permissions::from_mode(plan.mode))
            .map_err(|error| name.failed("fchmod", error))?;
        reserve(&file, name, geometry)?;
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
        page.stride.store(geometry.stride as u64, Ordering::Relaxed);
        page.capacity
            .store(geometry.capacity as u64, Ordering::Relaxed);
        // Release: whoever finds the magic finds the rest.
        page.magic.store(MAGIC, Ordering::Release);

        let metadata = file
            .metadata()
            .map_err(|error| name.failed("fstat", error))?;
        Ok(Self {
            slots: Slots::map(&file, name, geometry, Access::Write)?,
            control: Some(control),
            name: name.clone(),
            id: FileId::of(&metadata),
            len: metadata.len(),
            session: plan.session,
            pid,
            file,
        })
    }

    /// The same, when a dead sender's memory was just given up: its receivers let go of it within their next look.
    fn unnamed_after_making_room(name: &Name, plan: Plan) -> Result<Self, Error> {
        for _ in 0..20 {
            match Self::unnamed(name, plan) {
                Err(Error::NoRoom { .. }) => thread::sleep(LOOK),
                result => return result,
            }
        }
        Self::unnamed(name, plan)
    }

    /// Gives the file a name. `false`: the name is taken.
    fn link(&self, path: &Path) -> Result<bool, Error> {
        // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH; see open(2), O_TMPFILE.
        let file = format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&self.file)
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
        let mut temporary = successor(last);
        if !self.link(&temporary)? {
            // Another user's, who wants to be in the way. This name nobody knows before.
            temporary
                .as_mut_os_string()
                .push(format!("-{:x}", self.session));
            if !self.link(&temporary)? {
                return Err(self.name.failed("linkat", Errno::EEXIST));
            }
        }
        fs::rename(&temporary, self.name.path()).map_err(|error| {
            // Nothing more can be done about a name that can't be removed.
            let _ = fs::remove_file(&temporary);
            match error.raw_os_error().map(Errno::from_raw) {
                // /dev/shm is sticky: only its owner may replace a segment.
                Some(Errno::EPERM | Errno::EACCES) => denied(&self.name, "use another --name"),
                _ => self.name.failed("rename", error),
            }
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

    /// Has the processor fetch the beginning of a slot and what the control page says of it: to be written, in a segment
    /// whose slots are mapped for that, else to be read.
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

    /// Random, and the same in every segment that one sender makes; 0 without a control page.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// The sender's process, for messages.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether a sender is alive that holds this segment.
    pub(crate) fn alive(&self) -> Result<bool, Error> {
        lock::held(&self.file, lock::LIFE).map_err(self.name.errno("fcntl"))
    }

    /// Whether what is mapped is still the segment that was opened: not truncated, not overwritten, not even for a moment.
    /// Cheap: for every frame.
    #[inline]
    pub(crate) fn intact(&self) -> bool {
        // What was read before must not move below: it is asked about.
        fence(Ordering::Acquire);
        // Truncation to 0 and back raises no signal and leaves zeros, so the constants are looked at first: if they are
        // zeros because of a hole that was touched, the flag says so after.
        let same = self.control.as_ref().is_none_or(|control| {
            let page = control.page();
            page.magic.load(Ordering::Acquire) == MAGIC
                && page.session.load(Ordering::Relaxed) == self.session
        });
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

    /// Bytes of memory that the file has: a sparse one has less than its length, and reading it would reserve more.
    pub(crate) fn reserved(&self) -> Result<usize, Error> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|error| self.name.failed("fstat", error))?;
        Ok(usize::try_from(metadata.blocks() * 512).unwrap_or(usize::MAX))
    }

    /// What a look at the file says. For every [`LOOK`].
    pub(crate) fn look(&self) -> Result<Look, Error> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| self.name.failed("fstat", error))?;
        Ok(if metadata.len() != self.len || !self.intact() {
            Look::Broken
        } else if metadata.nlink() == 0 {
            Look::Nameless
        } else {
            Look::Sound
        })
    }
}

/// Where a segment stands for a moment before it takes the place of `last`: named for the file whose [`lock::NAME`] makes
/// it ours to touch, and not a name that receivers look at.
fn successor(last: FileId) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{TEMPORARY}{}", last.inode))
}

/// Removes what somebody left who was killed while he put a segment in the place of `last`, whose [`lock::NAME`] the caller
/// holds.
fn remove_successor(last: FileId) {
    // There is none, but for once in a blue moon; and another user's can't be removed.
    let _ = fs::remove_file(successor(last));
}

/// How often to look whether a segment is what it was.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// What has become of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Sound,
    /// Replaced or removed: its name means something else now, or nothing.
    Nameless,
    /// Truncated or overwritten.
    Broken,
}

/// Reserves the memory, so that a full `/dev/shm` is an error here, not a SIGBUS at the first write.
fn reserve(file: &File, name: &Name, geometry: Geometry) -> Result<(), Error> {
    let len = i64::try_from(geometry.len()).expect("a geometry's length fits in an isize");
    // A signal may interrupt it; bounded, since a timer may send them faster than pages are reserved.
    for _ in 0..TRIES {
        match posix_fallocate(file, 0, len) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC) => {
                return Err(Error::NoRoom {
                    name: name.clone(),
                    needed: geometry.len() as u64,
                    available: available(name)?,
                });
            }
            Err(errno) => return Err(name.failed("posix_fallocate", errno)),
        }
    }
    Err(name.failed("posix_fallocate", Errno::EINTR))
}

fn available(name: &Name) -> Result<u64, Error> {
    let fs = statvfs(DIRECTORY).map_err(name.errno("statvfs"))?;
    Ok(fs.blocks_available() * fs.fragment_size())
}

/// Removes a dead sender's segment, if a new one does not fit beside it but fits in its place; else fails with `error`.
fn make_room(name: &Name, geometry: Geometry, replace: bool, error: Error) -> Result<(), Error> {
    let Some(existing) = Existing::open(name)? else {
        return Err(error);
    };
    if !existing.own_name()? {
        return Err(error);
    }
    if !replace {
        // That somebody is there matters more than that there is no room beside him.
        existing.may_be_replaced()?;
    }
    if !existing.abandoned()? {
        return Err(error);
    }
    let held = existing.metadata.blocks() * 512;
    if available(name)? + held < geometry.len() as u64 {
        return Err(error);
    }
    existing.remove()
}
