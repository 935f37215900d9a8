use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use nix::errno::Errno;

use crate::Error;

/// Where Linux keeps POSIX shared memory; see `shm_overview(7)`.
pub(crate) const DIRECTORY: &str = "/dev/shm";

/// The name of a segment: `/NAME`, as `shm_open(3)` takes it, and the file `/dev/shm/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Reads a name; the leading slash may be left out.
    ///
    /// ```
    /// # use shm_frame::Name;
    /// # fn main() -> Result<(), shm_frame::Error> {
    /// assert_eq!(Name::new("/cam")?, Name::new("cam")?);
    /// assert_eq!(Name::new("/cam")?.path(), std::path::Path::new("/dev/shm/cam"));
    /// assert!(Name::new("/not/a/name").is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Name`] for what `shm_open(3)` would refuse, with the reason.
    pub fn new(name: &str) -> Result<Self, Error> {
        let file = name.strip_prefix('/').unwrap_or(name);
        let why = match file {
            "" => "is empty",
            "." | ".." => "is a directory",
            _ if file.contains('/') => "has a slash inside",
            _ if file.contains('\0') => "has a NUL byte",
            // NAME_MAX, limits.h
            _ if file.len() > 255 => "is longer than 255 bytes",
            _ => return Ok(Self(file.to_owned())),
        };
        Err(Error::Name {
            name: name.to_owned(),
            why,
        })
    }

    /// The file that the segment is.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(OsStr::from_bytes(self.0.as_bytes()))
    }

    pub(crate) fn failed(&self, call: &'static str, source: impl Into<io::Error>) -> Error {
        Error::System {
            call,
            name: self.clone(),
            source: source.into(),
        }
    }

    pub(crate) fn errno(&self, call: &'static str) -> impl Fn(Errno) -> Error {
        move |errno| self.failed(call, errno)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_with_and_without_its_slash() {
        assert_eq!(Name::new("/cam").unwrap(), Name::new("cam").unwrap());
        assert_eq!(Name::new("cam").unwrap().to_string(), "/cam");
        assert_eq!(
            Name::new("cam").unwrap().path(),
            PathBuf::from("/dev/shm/cam")
        );
        assert!(Name::new(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn names_that_shm_open_would_refuse_are_refused_with_the_reason() {
        let long = "x".repeat(256);
        for (name, why) in [
            ("", "empty"),
            ("/", "empty"),
            (".", "directory"),
            ("/..", "directory"),
            ("a/b", "slash"),
            ("//a", "slash"),
            ("a\0b", "NUL"),
            (&long, "255"),
        ] {
            let error = Name::new(name).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
