//! The library's examples, as programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// An example of the library. `cargo test` has built it with the tests; `cargo test --test` has
/// not, and what it built last may be old: then it is built now.
pub fn example(name: &str) -> PathBuf {
    // target/debug/deps/TEST
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join(name);
    let library = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shm-frame"));
    let changed = ["src", "examples"].map(|directory| newest(&library.join(directory)));
    let changed = changed.into_iter().max().unwrap();
    if built(&example).is_none_or(|built| built <= changed) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--manifest-path"]);
        cargo.arg(library.join("Cargo.toml"));
        // Beside what the test was built to.
        cargo.arg("--target-dir");
        cargo.arg(test.ancestors().nth(3).unwrap());
        let output = cargo.args(["--example", name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    example
}

fn built(program: &Path) -> Option<SystemTime> {
    Some(fs::metadata(program).ok()?.modified().unwrap())
}

/// When the youngest file in a directory was changed.
fn newest(directory: &Path) -> SystemTime {
    let entries = fs::read_dir(directory).unwrap();
    let times = entries.map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            newest(&entry.path())
        } else {
            metadata.modified().unwrap()
        }
    });
    times.max().unwrap()
}
