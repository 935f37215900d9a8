//! `--meta`: lines of JSON that go with the frames.

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::console::Console;

/// The longest line of stdin, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Gives a line for each frame.
pub(super) enum Meta {
    /// The lines of a file, one after the other; the last one stays.
    Lines { lines: Vec<Vec<u8>>, passed: usize },
    /// The newest line of stdin.
    Newest(Arc<Mutex<Vec<u8>>>),
}

impl Meta {
    /// Opens what `--meta` names: a file, or `-` for stdin.
    pub(super) fn open(path: &Path, console: &Console) -> Result<Self> {
        if path == Path::new("-") {
            return Self::stdin(console);
        }
        let failed = || format!("--meta {}", path.display());
        let text = fs::read_to_string(path).with_context(failed)?;
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            if let Err(error) = serde_json::from_str::<Value>(line) {
                bail!("{}: line {} is not JSON: {error}", failed(), i + 1);
            }
            lines.push(line.as_bytes().to_vec());
        }
        ensure!(!lines.is_empty(), "{}: has no lines", failed());
        Ok(Self::Lines { lines, passed: 0 })
    }

    fn stdin(console: &Console) -> Result<Self> {
        let stdin = io::stdin();
        ensure!(
            !stdin.is_terminal(),
            "--meta -: stdin is a terminal: pipe lines of JSON into it"
        );
        let newest = Arc::new(Mutex::new(Vec::new()));
        let (written, console) = (Arc::clone(&newest), console.clone());
        // Ends with the process: a read of stdin cannot be interrupted.
        thread::spawn(move || {
            for line in stdin.lock().lines().map_while(Result::ok) {
                let line = line.trim();
                if line.is_empty() {
                    continue;
                }
                if line.len() > MAX_LINE {
                    console.note(&format!("--meta -: a line is longer than {MAX_LINE} bytes"));
                    continue;
                }
                if let Err(error) = serde_json::from_str::<Value>(line) {
                    console.note(&format!("--meta -: a line is not JSON: {error}"));
                    continue;
                }
                if let Ok(mut newest) = written.lock() {
                    line.as_bytes().clone_into(&mut newest);
                }
            }
        });
        Ok(Self::Newest(newest))
    }

    /// Bytes that the line for the next frame may have.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Lines { lines, passed } => lines[(*passed).min(lines.len() - 1)].len(),
            // Another line may come in the meantime.
            Self::Newest(_) => MAX_LINE,
        }
    }

    /// The line for the next frame. Empty: there is none yet.
    pub(super) fn next(&mut self) -> Vec<u8> {
        match self {
            Self::Lines { lines, passed } => {
                let line = lines[(*passed).min(lines.len() - 1)].clone();
                *passed += 1;
                line
            }
            Self::Newest(newest) => newest
                .lock()
                .map_or_else(|_| Vec::new(), |line| line.clone()),
        }
    }
}
