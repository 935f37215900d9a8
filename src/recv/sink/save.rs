//! `--save`: frames as PNG files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use opencv::core::Vector;
use opencv::imgcodecs;
use shm_frame::{Frame, Shape};

use super::Sink;
use crate::console::Console;
use crate::picture;
use crate::recv::args::Args;

/// Writes each frame into a directory, named by its number.
#[derive(Debug)]
struct Saver {
    directory: PathBuf,
}

pub(super) fn open(args: &Args) -> Result<Option<Box<dyn Sink>>> {
    let Some(directory) = &args.save else {
        return Ok(None);
    };
    fs::create_dir_all(directory).with_context(|| format!("--save {}", directory.display()))?;
    Ok(Some(Box::new(Saver {
        directory: directory.clone(),
    })))
}

impl Sink for Saver {
    // A sender that was restarted counts from 1 again: `png` then takes another name.
    fn take(&mut self, frame: Frame, pixels: &[u8], _console: &Console) -> Result<()> {
        let stem = format!("{:06}", frame.number);
        png(&self.directory, &stem, pixels, frame.shape)
            .map(drop)
            .with_context(|| format!("--save {}", self.directory.display()))
    }
}

/// Writes `STEM.png`, or `STEM-2.png` and so on if that exists, and returns its path.
pub(in crate::recv) fn png(
    directory: &Path,
    stem: &str,
    pixels: &[u8],
    shape: Shape,
) -> Result<PathBuf> {
    let path = free(directory, stem, "png");
    let failed = || format!("cannot write {}", path.display());
    let mut png = Vector::<u8>::new();
    let encoded = imgcodecs::imencode_def(".png", &picture::view(pixels, shape)?, &mut png)
        .with_context(failed)?;
    ensure!(encoded, "{}: OpenCV cannot encode it", failed());
    fs::write(&path, png.as_slice())
        .inspect_err(|_| {
            // Leave no half picture.
            let _ = fs::remove_file(&path);
        })
        .with_context(failed)?;
    Ok(path)
}

/// A path that does not exist: `STEM.ENDING`, or `STEM-2.ENDING` and so on.
pub(super) fn free(directory: &Path, stem: &str, ending: &str) -> PathBuf {
    let mut path = directory.join(format!("{stem}.{ending}"));
    let mut again = 1_u64;
    while path.exists() {
        again += 1;
        path = directory.join(format!("{stem}-{again}.{ending}"));
    }
    path
}
