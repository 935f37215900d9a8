//! Pictures from files.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use glob::MatchOptions;
use opencv::imgcodecs;
use shm_frame::Shape;

use super::decode::{self, Decoded, Wanted, decode};
use super::{Next, Source};
use crate::console::Console;
use crate::send::args::Args;
use crate::send::outlet::{Outlet, Written};
use crate::{input, picture, stop};

/// One picture, sent again and again.
pub(crate) struct Still {
    decoded: Decoded,
    period: Option<Duration>,
}

impl Still {
    pub(crate) fn open(
        path: &Path,
        args: &Args,
        console: &Console,
        period: Option<Duration>,
    ) -> Result<Self> {
        let decoded = read(path, wanted(args), || Ok(()))?;
        if !decoded.note.is_empty() {
            console.note(&format!("--image {}: {}", path.display(), decoded.note));
        }
        Ok(Self { decoded, period })
    }
}

impl Source for Still {
    fn shape(&self) -> Shape {
        self.decoded.shape
    }

    fn next(&mut self) -> Result<Next> {
        Ok(Next::Frame(self.period))
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let Decoded { pixels, shape, .. } = &self.decoded;
        outlet.publish(*shape, pixels).map(Some)
    }
}

/// Many pictures, one after the other.
pub(crate) struct Pictures {
    paths: Vec<PathBuf>,
    /// How many of them were gone through.
    passed: usize,
    /// The first one, before it was sent: a pipe can be read only once.
    first: Option<Decoded>,
    shape: Shape,
    wanted: Wanted,
    period: Option<Duration>,
    repeat: bool,
    console: Console,
    /// What was said last about a picture.
    said: String,
}

/// The form of pictures that the flags ask for.
fn wanted(args: &Args) -> Wanted {
    Wanted {
        channels: args.channels,
        eight_bit: args.depth.is_some(),
    }
}

impl Pictures {
    pub(crate) fn open(args: &Args, console: &Console, period: Option<Duration>) -> Result<Self> {
        let mut paths = Vec::new();
        for pattern in &args.images {
            let mut found = find(pattern, console).with_context(|| flag(pattern))?;
            // In the order in which they were given, and within a folder in the order of counting.
            found.sort_by(|a, b| natural(a.as_os_str().as_bytes(), b.as_os_str().as_bytes()));
            paths.extend(found);
        }
        if paths.iter().any(|path| extension(path) != "png") {
            // Now, and not when the first of them is due.
            picture::load_codecs()?;
        }
        let first = &paths[0];
        let wanted = wanted(args);
        let first = read(first, wanted, || Ok(())).with_context(|| flag(first))?;
        Ok(Self {
            shape: first.shape,
            first: Some(first),
            paths,
            passed: 0,
            wanted,
            period,
            repeat: args.repeat,
            console: console.clone(),
            said: String::new(),
        })
    }
}

impl Source for Pictures {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn frames(&self) -> Option<u64> {
        (!self.repeat).then_some(self.paths.len() as u64)
    }

    fn can_skip(&self) -> bool {
        // After the last one no other is due.
        self.repeat || self.passed < self.paths.len()
    }

    fn next(&mut self) -> Result<Next> {
        if self.passed == self.paths.len() {
            if !self.repeat {
                return Ok(Next::End(None));
            }
            self.passed = 0;
        }
        self.passed += 1;
        Ok(Next::Frame(self.period))
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let path = &self.paths[self.passed - 1];
        let read = match self.first.take() {
            Some(first) => Ok(first),
            None => read(path, self.wanted, || outlet.tend()),
        };
        if read.is_err() && stop::requested() {
            return Ok(None);
        }
        let Decoded {
            pixels,
            shape,
            note,
        } = read.with_context(|| flag(path))?;
        if !note.is_empty() && note != self.said {
            self.console.note(&format!("{}: {note}", flag(path)));
            self.said = note;
        }
        outlet.publish(shape, &pixels).map(Some)
    }
}

/// Reads and decodes a file. Calls `wait` now and then while a pipe gives nothing.
fn read(path: &Path, wanted: Wanted, mut wait: impl FnMut() -> Result<()>) -> Result<Decoded> {
    let file = input::open(path)?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        ensure!(!stop::requested(), "a signal ended the wait for it");
        match input::read(&file, &mut buffer)? {
            None => wait()?,
            Some(0) => return decode(&bytes, wanted),
            Some(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

/// The beginning of errors.
fn flag(path: &Path) -> String {
    format!("--images {}", path.display())
}

/// What OpenCV reads, by the file's extension: what is in a folder need not all be pictures.
const EXTENSIONS: [&str; 24] = [
    "avif", "bmp", "dib", "exr", "hdr", "jfif", "jp2", "jpe", "jpeg", "jpg", "pam", "pbm", "pfm",
    "pgm", "pic", "png", "pnm", "ppm", "pxm", "ras", "sr", "tif", "tiff", "webp",
];

/// The files that one word of `--images` means; there is at least one.
fn find(pattern: &Path, console: &Console) -> Result<Vec<PathBuf>> {
    if pattern.is_dir() {
        let mut paths = Vec::new();
        for entry in fs::read_dir(pattern)? {
            let path = entry?.path();
            // Hidden files are for programs: some put one beside each picture.
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_bytes().starts_with(b"."));
            let extension = path.extension().and_then(OsStr::to_str);
            let extension = extension.unwrap_or_default().to_ascii_lowercase();
            if hidden || !EXTENSIONS.contains(&extension.as_str()) || !path.is_file() {
                continue;
            }
            if extension == "avif" && !can_read(&path) {
                let text = format!("{}: passed over: this OpenCV cannot read AVIF", flag(&path));
                console.note(&text);
                continue;
            }
            paths.push(path);
        }
        if paths.is_empty() {
            bail!("no picture in this folder, by extension (png, jpg, ...)");
        }
        return Ok(paths);
    }
    // A file's name may look like a pattern.
    if pattern.exists() {
        return Ok(vec![pattern.to_owned()]);
    }
    let text = pattern.to_str().context("no such file")?;
    if !text.contains(['*', '?', '[']) {
        bail!("no such file or folder");
    }
    let options = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let mut paths = Vec::new();
    for path in glob::glob_with(&literal_folders(text), options)? {
        let path = path?;
        if path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("no file matches this pattern");
    }
    Ok(paths)
}

/// A pattern in which folders that exist by that name mean themselves, whatever letters they have.
fn literal_folders(pattern: &str) -> String {
    for (at, _) in pattern.rmatch_indices('/') {
        let (folder, rest) = pattern.split_at(at);
        if folder.contains(['*', '?', '[']) && Path::new(folder).is_dir() {
            return glob::Pattern::escape(folder) + rest;
        }
    }
    pattern.to_owned()
}

/// The ending of a file's name, in small letters.
fn extension(path: &Path) -> String {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.unwrap_or_default().to_ascii_lowercase()
}

/// Whether a file is a picture: by what is in it, or by its name if it is not there. A GIF is taken
/// for a film.
pub(crate) fn is_picture(path: &Path) -> bool {
    let extension = extension(path);
    match path.metadata() {
        Ok(metadata) => metadata.is_file() && extension != "gif" && can_read(path),
        Err(_) => EXTENSIONS.contains(&extension.as_str()),
    }
}

/// Whether this is a picture that can be decoded. PNG and the usual films are known without
/// OpenCV's decoders, which are slow to load.
fn can_read(path: &Path) -> bool {
    let mut head = Vec::new();
    // What cannot be read is told when it is opened.
    let _ = File::open(path).and_then(|file| file.take(12).read_to_end(&mut head));
    if head.starts_with(decode::PNG) {
        return true;
    }
    if is_film(&head) {
        return false;
    }
    if picture::load_codecs().is_err() {
        // To decode it will tell why.
        return true;
    }
    let path = path.to_str();
    path.is_some_and(|path| imgcodecs::have_image_reader(path).unwrap_or(false))
}

/// Whether a file that begins so is a film: Matroska, MCAP, AVI, or one of the family of MP4 but
/// its pictures, which are HEIF and AVIF.
fn is_film(head: &[u8]) -> bool {
    const PICTURES: [&[u8]; 7] = [
        b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1",
    ];
    let (kind, brand) = (head.get(4..8), head.get(8..12));
    head.starts_with(b"\x1a\x45\xdf\xa3")
        || head.starts_with(b"\x89MCAP")
        || head.starts_with(b"RIFF") && brand == Some(b"AVI ")
        || kind == Some(b"ftyp") && brand.is_some_and(|brand| !PICTURES.contains(&brand))
}

/// The order in which people count: runs of digits by their value, all else byte by byte.
fn natural(mut a: &[u8], mut b: &[u8]) -> Ordering {
    /// Cuts the digits off that a name begins with, and gives them without leading zeros.
    fn digits<'a>(name: &mut &'a [u8]) -> &'a [u8] {
        let end = name.iter().position(|byte| !byte.is_ascii_digit());
        let (digits, rest) = name.split_at(end.unwrap_or(name.len()));
        *name = rest;
        let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
        &digits[zeros..]
    }
    let whole = (a, b);
    loop {
        match (a, b) {
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (digits(&mut a), digits(&mut b));
                let order = x.len().cmp(&y.len()).then(x.cmp(y));
                if order.is_ne() {
                    return order;
                }
            }
            ([x, rest_a @ ..], [y, rest_b @ ..]) => {
                if x != y {
                    return x.cmp(y);
                }
                (a, b) = (rest_a, rest_b);
            }
            // Alike but for leading zeros, perhaps.
            _ => return a.len().cmp(&b.len()).then(whole.0.cmp(whole.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn films_are_known_by_how_they_begin_and_pictures_of_the_same_family_are_none() {
        for film in [
            &b"\0\0\0\x20ftypisom"[..],
            b"\0\0\0\x14ftypqt  ",
            b"\x1a\x45\xdf\xa3\xa3\x42",
            b"RIFF\0\0\0\0AVI ",
            b"\x89MCAP0\r\n",
        ] {
            assert!(is_film(film), "{film:?}");
        }
        for other in [
            &b""[..],
            b"\0\0\0\x20ftypavif",
            b"\0\0\0\x20ftypmif1",
            b"RIFF\0\0\0\0WEBP",
            b"\xff\xd8\xff\xe0",
            b"\0\0\0\x20ftyp",
        ] {
            assert!(!is_film(other), "{other:?}");
        }
    }

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let ordered = [
            "01",
            "1",
            "2",
            "10",
            "a",
            "a/9",
            "a/b1",
            "img1.png",
            "img02.png",
            "img2.png",
            "img10.png",
            "img10a.png",
            "img18446744073709551616.png",
            "img18446744073709551617.png",
            "imgs",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(natural(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a} {b}");
            }
        }
    }
}
