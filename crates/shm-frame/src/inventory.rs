//! What segments there are, and the removal of those that dead senders left.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use crate::clock::{monotonic_ns, unix_ns};
use crate::name::DIRECTORY;
use crate::protocol::layout::{Geometry, PAGE, PageBytes};
use crate::segment::claim::TEMPORARY;
use crate::segment::found::{Contents, FileId, Found};
use crate::segment::lock;
use crate::{Error, FrameHeader, Name, Shape};

/// The time between two looks at segments that do not tell their rate in one.
const PAUSE: Duration = Duration::from_millis(150);

/// What [`list`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The segments, in the order of their names.
    pub segments: Vec<Listed>,
    /// Files that this user may not read, or that could not be: segments or not.
    pub unreadable: usize,
}

/// One segment, as it was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// Bytes of the file.
    pub bytes: u64,
    /// Of the newest frame, if there is one.
    pub shape: Option<Shape>,
    /// Since the newest frame was begun.
    pub age: Option<Duration>,
    /// What its control page says; `None` for a plain one, which is a header and pixels.
    pub control: Option<ListedControl>,
}

/// What a control page and the locks say of a segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedControl {
    /// Frames that it has room for.
    pub slots: usize,
    /// Frames that were published in a second, lately. `None`: there was none to compare the newest
    /// with, as after the first one.
    pub fps: Option<f64>,
    /// The sender's process, in its own pid namespace.
    pub pid: u32,
    /// The command of that process, if it can be the sender: it has the segment open or, where that
    /// cannot be seen, its owner.
    pub command: Option<String>,
    /// Whether the sender lives.
    pub alive: bool,
    /// Receivers that lease or may sleep: one that only copies and never sleeps is not seen.
    pub receivers: usize,
}

/// Looks at every file in `/dev/shm`, and tells which are segments. Live ones that hold a single
/// frame, which is not their sender's first, are looked at twice, for their rate; then it takes
/// 0.15 s. Only reads: it takes no lock, follows no link and waits for nobody.
///
/// A file without a control page counts if it has just the size that its header says, or the next
/// multiple of 4096.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let listing = shm_frame::list()?;
/// for segment in listing.segments {
///     let shape = segment.shape.map_or("no frame yet".to_owned(), |shape| shape.to_string());
///     println!("{}: {shape}, {} bytes", segment.name, segment.bytes);
/// }
/// println!("{} files cannot be read", listing.unreadable);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the directory cannot be read.
pub fn list() -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut watched = Vec::new();
    let locks = lock::All::default();
    for (name, _) in files()? {
        if is_temporary(&name) {
            continue;
        }
        match look(&name, &locks) {
            Ok(Some((listed, again))) => {
                let at = listing.segments.len();
                watched.extend(again.map(|again| (at, again)));
                listing.segments.push(listed);
            }
            // Something else, or it went or changed in the meantime.
            Ok(None)
            | Err(Error::NotASegment { .. } | Error::NotAFile { .. } | Error::NotFound { .. }) => {}
            // One file does not spoil the list.
            Err(_) => listing.unreadable += 1,
        }
    }
    if !watched.is_empty() {
        thread::sleep(PAUSE);
    }
    for (at, (found, geometry, before)) in watched {
        if let Ok(after) = Beat::read(&found, geometry) {
            let listed = &mut listing.segments[at];
            listed.shape = after.shape(&found, geometry);
            listed.age = after.age();
            if let Some(control) = &mut listed.control {
                control.fps = after.fps(&before, monotonic_ns());
            }
        }
    }
    Ok(listing)
}

/// What [`clean`] removed, or could not.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cleaned {
    /// The segment.
    pub name: Name,
    /// Bytes of its file.
    pub bytes: u64,
    /// Why it is still there.
    pub result: Result<(), Error>,
}

/// Removes the segments with a control page whose sender is dead, and what such a sender left half
/// done. Plain segments stay: nobody can tell whether they are in use.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// for removed in shm_frame::clean()? {
///     match removed.result {
///         Ok(()) => println!("{}: {} bytes", removed.name, removed.bytes),
///         Err(error) => eprintln!("{}: {error}", removed.name),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the directory cannot be read.
pub fn clean() -> io::Result<Vec<Cleaned>> {
    let mut cleaned = Vec::new();
    let files = files()?;
    for (name, _) in &files {
        // What cannot be opened or read is none of ours.
        let Ok(Some(found)) = Found::open_to_look(name) else {
            continue;
        };
        if !matches!(found.abandoned(), Ok(true)) {
            continue;
        }
        let result = if is_temporary(name) {
            let inode = name.to_string()[1 + TEMPORARY.len()..].to_owned();
            let inode = inode.split('-').next().unwrap_or_default().parse();
            let replaced = files.iter().find(|(_, id)| Ok(id.inode) == inode);
            remove_temporary(name, replaced)
        } else {
            remove_abandoned(name)
        };
        let result = match result {
            // Somebody else did, or has it by now.
            Ok(false) => continue,
            result => result.map(drop),
        };
        cleaned.push(Cleaned {
            name: name.clone(),
            bytes: found.metadata.len(),
            result,
        });
    }
    Ok(cleaned)
}

fn remove_abandoned(name: &Name) -> Result<bool, Error> {
    let Some(found) = Found::open(name)? else {
        return Ok(false);
    };
    // Under the lock again: a new sender may have come.
    let ours = found.own_name()? && found.abandoned()?;
    if ours {
        found.remove()?;
    }
    Ok(ours)
}

/// Removes the temporary name of a segment that was to take another's place, which only the owner
/// of that other's name may.
fn remove_temporary(name: &Name, replaced: Option<&(Name, FileId)>) -> Result<bool, Error> {
    let _owned = match replaced {
        None => None,
        Some((replaced, id)) => match Found::open(replaced)? {
            Some(found) if found.id() == *id && found.own_name()? => Some(found),
            _ => return Ok(false),
        },
    };
    remove_abandoned(name)
}

fn is_temporary(name: &Name) -> bool {
    name.to_string()[1..].starts_with(TEMPORARY)
}

/// The regular files in `/dev/shm` that can be segments, in the order of their names.
fn files() -> io::Result<Vec<(Name, FileId)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(DIRECTORY)? {
        let entry = entry?;
        // Of the entry itself: no link is followed. It may have gone meanwhile.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let name = entry.file_name();
        if let Some(Ok(name)) = name.to_str().map(Name::new)
            && metadata.is_file()
        {
            files.push((name, FileId::of(&metadata)));
        }
    }
    files.sort_by_key(|(name, _)| name.to_string());
    Ok(files)
}

/// What it takes to look again.
type Again = (Found, Geometry, Beat);

fn look(name: &Name, locks: &lock::All) -> Result<Option<(Listed, Option<Again>)>, Error> {
    let Some(found) = Found::open_to_look(name)? else {
        return Ok(None);
    };
    let mut listed = Listed {
        name: name.clone(),
        bytes: found.metadata.len(),
        shape: None,
        age: None,
        control: None,
    };
    let claims = match found.contents()? {
        Contents::Other(_) | Contents::Version(_) | Contents::Blank(_) => return Ok(None),
        Contents::Plain(_) => {
            let header = found.header(0)?;
            let Some(shape) = plain_shape(header, found.len()) else {
                return Ok(None);
            };
            listed.shape = Some(shape);
            let age = unix_ns().saturating_sub(header.timestamp_ms.saturating_mul(1_000_000));
            listed.age = u64::try_from(age).ok().map(Duration::from_nanos);
            return Ok(Some((listed, None)));
        }
        Contents::Native(claims) => claims,
    };
    let geometry = claims.geometry;
    let beat = Beat::read(&found, geometry)?;
    listed.shape = beat.shape(&found, geometry);
    listed.age = beat.age();
    let alive = found.alive()?;
    // Most have their last two frames.
    let fps = alive.then(|| beat.fps(&beat, monotonic_ns())).flatten();
    listed.control = Some(ListedControl {
        slots: geometry.slots,
        fps,
        pid: claims.pid,
        command: alive.then(|| command(claims.pid, &found)).flatten(),
        alive,
        receivers: lock::receivers(&found.file, found.id(), geometry.leases(), locks),
    });
    let again = alive && fps.is_none() && beat.may_tell_later();
    Ok(Some((listed, again.then_some((found, geometry, beat)))))
}

/// The shape of a segment without a control page, if the file is as long as that makes it.
fn plain_shape(header: FrameHeader, len: Option<usize>) -> Option<Shape> {
    let len = len?;
    let shape = header.shape(len.checked_sub(FrameHeader::LEN)?).ok()?;
    let exact = FrameHeader::LEN + shape.bytes();
    (len == exact || Some(len) == exact.checked_next_multiple_of(PAGE)).then_some(shape)
}

/// The command of a process, if that is the one that made a segment: a pid may be that of another
/// pid namespace.
fn command(pid: u32, found: &Found) -> Option<String> {
    let process = format!("/proc/{pid}");
    let is_sender = match fs::read_dir(format!("{process}/fd")) {
        // A sender keeps its segment open.
        Ok(files) => files
            .flatten()
            .filter_map(|file| fs::metadata(file.path()).ok())
            .any(|metadata| FileId::of(&metadata) == found.id()),
        // Another user's.
        Err(_) => fs::metadata(&process).is_ok_and(|owner| owner.uid() == found.metadata.uid()),
    };
    let command = fs::read(format!("{process}/comm"))
        .ok()
        .filter(|_| is_sender)?;
    Some(String::from_utf8_lossy(command.trim_ascii_end()).into_owned())
}

/// A frame that a control page tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    frame: u64,
    slot: usize,
    begin_ns: u64,
}

/// What one look at a control page says of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Beat {
    newest: Option<Begun>,
    /// The newest of those before it that are still there.
    before: Option<Begun>,
}

impl Beat {
    fn read(found: &Found, geometry: Geometry) -> Result<Self, Error> {
        Ok(Self::of(&found.page(geometry.len())?, geometry.slots))
    }

    /// The page is no snapshot: a slot counts that holds its frame whole, and whose times are then
    /// those of that frame or, at worst, of the next.
    fn of(page: &PageBytes, slots: usize) -> Self {
        let begun = |slot| {
            let bytes = page.slot(slot);
            let whole = bytes.sequence != 0 && bytes.sequence.is_multiple_of(2);
            whole.then_some(Begun {
                frame: bytes.sequence / 2,
                slot,
                begin_ns: bytes.begin_ns,
            })
        };
        let begun = || (0..slots).filter_map(begun);
        let newest = begun().max_by_key(|begun| begun.frame);
        let earlier = |begun: &Begun| newest.is_some_and(|newest| begun.begin_ns < newest.begin_ns);
        Self {
            newest,
            before: begun().filter(earlier).max_by_key(|begun| begun.frame),
        }
    }

    fn shape(&self, found: &Found, geometry: Geometry) -> Option<Shape> {
        let at = self.newest?.slot * geometry.stride;
        found.header(at).ok()?.shape(geometry.room()).ok()
    }

    fn age(&self) -> Option<Duration> {
        let age = monotonic_ns().checked_sub(self.newest?.begin_ns)?;
        Some(Duration::from_nanos(age))
    }

    /// Whether another look soon is worth its time: not after the first frame, whose next one may
    /// be far.
    fn may_tell_later(&self) -> bool {
        self.newest.is_some_and(|newest| newest.frame > 1)
    }

    /// Frames in a second: from the newest of the last look, or if that is still the newest from
    /// the one before it, until the newest. A sender that pauses for longer than that took is
    /// slower by now.
    #[expect(clippy::cast_precision_loss, reason = "a rate, to be rounded")]
    fn fps(&self, last: &Self, now_ns: u64) -> Option<f64> {
        let newest = self.newest?;
        let earlier = last.newest.filter(|last| last.frame < newest.frame);
        let earlier = earlier.or(self.before)?;
        let frames = newest.frame.checked_sub(earlier.frame)?;
        let between = newest.begin_ns.checked_sub(earlier.begin_ns)?;
        let since = now_ns.saturating_sub(newest.begin_ns);
        let seconds = (between as f64).max(since as f64) / 1e9;
        (seconds > 0.0).then(|| frames as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Size};
    use proptest::prelude::*;

    fn begun(frame: u64, begin_ns: u64) -> Begun {
        Begun {
            frame,
            slot: 0,
            begin_ns,
        }
    }

    #[test]
    fn a_rate_is_that_between_two_looks_or_of_the_last_two_frames_and_falls_in_a_pause() {
        const S: u64 = 1_000_000_000;
        let first = Beat {
            newest: Some(begun(10, 10 * S)),
            before: Some(begun(9, 8 * S)),
        };
        let second = Beat {
            newest: Some(begun(40, 11 * S)),
            before: Some(begun(39, 11 * S - 1)),
        };
        assert_eq!(second.fps(&first, 11 * S), Some(30.0));
        assert_eq!(first.fps(&first, 11 * S), Some(0.5));
        assert_eq!(first.fps(&first, 14 * S), Some(0.25));
        let only = Beat {
            newest: Some(begun(1, S)),
            before: None,
        };
        assert_eq!(only.fps(&only, S), None);
        assert!(!only.may_tell_later() && !Beat::default().may_tell_later());
        assert!(first.may_tell_later());
    }

    #[test]
    fn a_plain_segment_has_just_the_size_that_its_header_says_or_whole_pages() {
        let header = Shape::new(
            Size {
                width: 64,
                height: 48,
            },
            Format::BGR8,
        )
        .unwrap()
        .header(1);
        for (len, plain) in [
            (24 + 64 * 48 * 3, true),
            (12_288, true),
            (24 + 64 * 48 * 3 + 1, false),
            (24 + 64 * 48 * 3 - 1, false),
            (16_384, false),
            (10, false),
        ] {
            assert_eq!(plain_shape(header, Some(len)).is_some(), plain, "{len}");
        }
        assert_eq!(plain_shape(FrameHeader::default(), Some(4096)), None);
    }

    proptest! {
        #[test]
        fn any_control_page_is_judged(words in prop::collection::vec(0..9_u64, PAGE / 8), big: u64, slots in 1..=16_usize, now: u64) {
            let bytes = |word: u64| if word == 8 { big } else { word }.to_le_bytes();
            let page: Vec<u8> = words.into_iter().flat_map(bytes).collect();
            let page = PageBytes::new(page.into_boxed_slice().try_into().unwrap());
            let beat = Beat::of(&page, slots);
            for fps in [beat.fps(&beat, now), beat.fps(&Beat::default(), now), Beat::default().fps(&beat, now)].into_iter().flatten() {
                prop_assert!(fps.is_finite() && fps >= 0.0);
            }
            let _ = beat.age();
        }
    }
}
