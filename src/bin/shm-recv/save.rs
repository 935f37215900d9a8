//! Frames as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use opencv::core::Vector;
use opencv::imgcodecs;
use shm_frame::Shape;

use crate::cli::image;

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
        let failed = || format!("--save {}: frame {number}", self.directory.display());
        let mut png = Vector::<u8>::new();
        let encoded = imgcodecs::imencode_def(".png", &image::view(pixels, shape)?, &mut png)
            .with_context(failed)?;
        ensure!(encoded, "{}: OpenCV cannot encode it", failed());
        let path = self.free(number);
        fs::write(&path, png.as_slice()).with_context(failed)
    }

    fn free(&self, number: u64) -> PathBuf {
        let mut path = self.directory.join(format!("{number:06}.png"));
        let mut again = 1_u64;
        while path.exists() {
            again += 1;
            path = self.directory.join(format!("{number:06}-{again}.png"));
        }
        path
    }
}
