//! Frames as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use opencv::core::Vector;
use opencv::imgcodecs;
use shm_frame::Shape;

use crate::picture as image;

/// Writes frames into a directory.
#[derive(Debug)]
pub(crate) struct Saver {
    directory: PathBuf,
}

impl Saver {
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("--save {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Writes a frame as a PNG named by its number. A sender that was restarted counts from 1 again: what is there already
    /// stays.
    pub(crate) fn save(&self, number: u64, pixels: &[u8], shape: Shape) -> Result<()> {
        png(&self.directory, &format!("{number:06}"), pixels, shape)
            .map(drop)
            .with_context(|| format!("--save {}", self.directory.display()))
    }
}

/// Writes a PNG of that name, or of one like it if there is such a file, and says which.
pub(crate) fn png(directory: &Path, stem: &str, pixels: &[u8], shape: Shape) -> Result<PathBuf> {
    let path = free(directory, stem, "png");
    let failed = || format!("cannot write {}", path.display());
    let mut png = Vector::<u8>::new();
    let encoded = imgcodecs::imencode_def(".png", &image::view(pixels, shape)?, &mut png)
        .with_context(failed)?;
    ensure!(encoded, "{}: OpenCV cannot encode it", failed());
    fs::write(&path, png.as_slice())
        .inspect_err(|_| {
            // A part of a picture is none.
            let _ = fs::remove_file(&path);
        })
        .with_context(failed)?;
    Ok(path)
}

/// A path that nothing has.
pub(crate) fn free(directory: &Path, stem: &str, ending: &str) -> PathBuf {
    let mut path = directory.join(format!("{stem}.{ending}"));
    let mut again = 1_u64;
    while path.exists() {
        again += 1;
        path = directory.join(format!("{stem}-{again}.{ending}"));
    }
    path
}
