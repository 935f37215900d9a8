//! What stands behind a name: opened, looked at, judged; nothing is changed.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Uid, User};

use super::fork::OwnFile;
use super::lock;
use crate::protocol::header::FrameHeader;
use crate::protocol::layout::{Claims, NoClaims, PAGE, PageBytes, VERSION};
use crate::{Error, Name};

/// How long a segment without a control page is watched before it is taken for abandoned.
const WATCH: Duration = Duration::from_millis(200);

/// Which file a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        Self::new(metadata.dev(), metadata.ino())
    }

    pub(crate) fn new(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    /// As /proc/locks has it (`lock_get_status` in Linux's fs/locks.c).
    pub(crate) fn in_proc(self) -> String {
        let (major, minor) = (libc::major(self.device), libc::minor(self.device));
        format!("{major:02x}:{minor:02x}:{}", self.inode)
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
    /// It ends in a control page of this other version.
    Version(u32),
    /// It begins with a header that makes sense, and has so many bytes.
    Plain(usize),
    /// It begins with 24 zeros, which are a header that was not written yet or anything else, and
    /// has so many bytes.
    Blank(usize),
    /// None of these, and what it is instead.
    Other(String),
}

/// A file of some name in `/dev/shm`, open.
pub(crate) struct Found {
    pub(crate) name: Name,
    pub(crate) file: OwnFile,
    pub(crate) metadata: fs::Metadata,
    /// `Err`: why it is open for reading only. `EBADF`: nobody asked for more.
    writable: Result<(), Errno>,
}

impl Found {
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
            let mut options = fs::OpenOptions::new();
            options.read(true).write(write);
            // NONBLOCK: a FIFO would block. NOFOLLOW: a link may point anywhere.
            options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC);
            OwnFile::open(|| options.open(&path)).map_err(|error| errno_of(&error))
        };
        let not = |what| Error::NotAFile {
            name: name.clone(),
            what,
        };
        let opened = match open(write) {
            Err(errno @ (Errno::EACCES | Errno::EROFS | Errno::EPERM)) if write => {
                open(false).map(|file| (file, Err(errno)))
            }
            result => result.map(|file| (file, if write { Ok(()) } else { Err(Errno::EBADF) })),
        };
        let (file, writable) = match opened {
            Ok(opened) => opened,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(not("a symbolic link, which is never followed")),
            Err(Errno::EISDIR) => return Err(not("a directory")),
            Err(Errno::ENXIO) => return Err(not("a socket or a device")),
            Err(Errno::EACCES | Errno::EPERM) => return Err(denied(name)),
            // Another process has a lease on the file (F_SETLEASE), which opening it for writing
            // would break.
            Err(Errno::EAGAIN) => {
                return Err(Error::Busy {
                    name: name.clone(),
                    tries: 1,
                });
            }
            Err(errno) => return Err(name.failed("open", errno)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| name.failed("fstat", error))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(not("a directory"));
        } else if kind.is_fifo() {
            return Err(not("a FIFO"));
        } else if !kind.is_file() {
            return Err(not("a device"));
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

    /// Whether it is open for writing.
    pub(crate) fn writable(&self) -> bool {
        self.writable.is_ok()
    }

    /// Fails with the reason if it is not open for writing.
    pub(crate) fn must_be_writable(&self) -> Result<(), Error> {
        self.writable.map_err(|errno| refused(&self.name, errno))
    }

    pub(crate) fn len(&self) -> Option<usize> {
        usize::try_from(self.metadata.len()).ok()
    }

    pub(crate) fn header(&self, at: usize) -> Result<FrameHeader, Error> {
        let mut bytes = [0; FrameHeader::LEN];
        self.read(&mut bytes, at)?;
        Ok(FrameHeader::decode(&bytes))
    }

    /// The control page that ends at `end`, or whatever stands there.
    pub(crate) fn page(&self, end: usize) -> Result<PageBytes, Error> {
        let mut page = Box::new([0; PAGE]);
        self.read(page.as_mut_slice(), end - PAGE)?;
        Ok(PageBytes::new(page))
    }

    fn read(&self, bytes: &mut [u8], at: usize) -> Result<(), Error> {
        self.file
            .read_exact_at(bytes, at as u64)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    self.not_a_segment("it was truncated while it was looked at")
                }
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
            let page = self.page(len)?;
            if page.has_magic() {
                return Ok(self.judge(&page, len));
            }
        }
        let header = self.header(0)?;
        Ok(if header == FrameHeader::default() {
            Contents::Blank(len)
        } else {
            match header.shape(len - FrameHeader::LEN) {
                Ok(_) => Contents::Plain(len),
                Err(error) => Contents::Other(format!(
                    "it has no control page, and as a header its first bytes do not make sense: {error}"
                )),
            }
        })
    }

    fn judge(&self, page: &PageBytes, len: usize) -> Contents {
        // Senders reserve all their memory. To read a hole would reserve it, at the reader's cost.
        let reserved = self.metadata.blocks().saturating_mul(512);
        if reserved < self.metadata.len() {
            return Contents::Other(format!(
                "it has a control page, but only {reserved} of its {len} bytes are memory"
            ));
        }
        match page.claims(len) {
            Ok(claims) => Contents::Native(claims),
            Err(NoClaims::Version(version)) => Contents::Version(version),
            Err(NoClaims::Nonsense(what)) => Contents::Other(what),
        }
    }

    pub(crate) fn alive(&self) -> Result<bool, Error> {
        lock::held(&self.file, lock::LIFE).map_err(self.name.errno("fcntl"))
    }

    /// Whether it has a control page whose sender is dead.
    pub(crate) fn abandoned(&self) -> Result<bool, Error> {
        Ok(matches!(self.contents()?, Contents::Native(_)) && !self.alive()?)
    }

    pub(crate) fn not_a_segment(&self, what: impl Into<String>) -> Error {
        Error::NotASegment {
            name: self.name.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn version(&self, found: u32) -> Error {
        Error::Version {
            name: self.name.clone(),
            found,
            known: VERSION,
        }
    }

    /// Whether a sender without a control page is at work here.
    pub(crate) fn moves(&self) -> Result<bool, Error> {
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
}

/// The number of an error that the system gave.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Why a name, or its file, may not be changed.
pub(crate) fn refused(name: &Name, errno: Errno) -> Error {
    match errno {
        Errno::EROFS => Error::ReadOnly { name: name.clone() },
        _ => denied(name),
    }
}

/// Says whose a name is.
fn denied(name: &Name) -> Error {
    match fs::symlink_metadata(name.path()) {
        Ok(metadata) => Error::Denied {
            name: name.clone(),
            owner: user(metadata.uid()),
            mode: metadata.permissions().mode() & 0o7777,
        },
        // It went in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Error::NotFound { name: name.clone() }
        }
        Err(error) => name.failed("stat", error),
    }
}

fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}
