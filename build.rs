//! Tells the code which FFmpeg it is built against, and which libraries are loaded when they are
//! first called: see `src/late`.

use std::error::Error;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use object::elf::DT_SONAME;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

/// What is loaded when it is first called, by the names of the libraries and of their pkg-config
/// files. OpenCV's core and imgproc are linked: they are needed for every picture, and soon loaded.
const LATE: [(&str, &str); 6] = [
    ("opencv_imgcodecs", "opencv4"),
    ("opencv_videoio", "opencv4"),
    ("avutil", "libavutil"),
    ("avcodec", "libavcodec"),
    ("avformat", "libavformat"),
    ("swscale", "libswscale"),
];

/// Who says by one of these where a library is, or that it is a static one, gets it linked as usual.
const SAID: [&str; 6] = [
    "FFMPEG_DIR",
    "OPENCV_LINK_LIBS",
    "OPENCV_LINK_PATHS",
    "OPENCV_CMAKE_NAME",
    "OPENCV_PACKAGE_NAME",
    "SHM_FRAME_LINK",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    for version in ["ffmpeg_6_0", "ffmpeg_6_1", "ffmpeg_7_0"] {
        println!("cargo::rustc-check-cfg=cfg({version})");
        // The bindings say it by this.
        if env::var_os(format!("DEP_FFMPEG_{}", version.to_uppercase())).is_some() {
            println!("cargo::rustc-cfg={version}");
        }
    }

    println!("cargo::rustc-check-cfg=cfg(late)");
    for name in SAID {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let here = env::var("HOST")? == env::var("TARGET")?;
    let target = env::var("CARGO_CFG_TARGET_ARCH")? + "-" + &env::var("CARGO_CFG_TARGET_OS")?;
    let known = ["x86_64-linux", "aarch64-linux"].contains(&target.as_str());
    if here && known && SAID.iter().all(|name| env::var_os(name).is_none()) {
        match write_late(Path::new(&env::var("OUT_DIR")?)) {
            Ok(()) => println!("cargo::rustc-cfg=late"),
            // As with an OpenCV that has all of it in one library.
            Err(error) => {
                println!("cargo::warning=all libraries will be loaded at the start: {error}");
            }
        }
    }
    Ok(())
}

/// The shared library that the linker would take.
fn library(name: &str, package: &str) -> Result<PathBuf, Box<dyn Error>> {
    let folder = pkg_config::get_variable(package, "libdir")?;
    let path = Path::new(&folder).join(format!("lib{name}.so"));
    println!("cargo::rerun-if-changed={}", path.display());
    Ok(path)
}

/// Writes a line of assembler for each function and each table of virtual functions that the
/// libraries have, and the names by which the libraries are found.
fn write_late(to: &Path) -> Result<(), Box<dyn Error>> {
    let (mut functions, mut tables) = (String::new(), String::new());
    let mut names = Vec::new();
    for (number, (name, package)) in LATE.into_iter().enumerate() {
        let file = library(name, package)?;
        let at = |error: &dyn Display| format!("{}: {error}", file.display());
        let data = fs::read(&file).map_err(|error| at(&error))?;
        let elf = ElfFile64::<Endianness>::parse(&*data).map_err(|error| at(&error))?;
        let dynamic = elf.elf_dynamic_table()?;
        let soname = dynamic.iter().find(|entry| entry.tag == DT_SONAME);
        let soname = soname.ok_or_else(|| at(&"has no soname"))?;
        names.push(String::from_utf8(dynamic.string(soname)?.to_vec())?);
        for symbol in elf.dynamic_symbols().filter(ObjectSymbol::is_definition) {
            let (name, size) = (symbol.name()?, symbol.size());
            match symbol.kind() {
                // Weak ones are inline functions, which every object has for itself.
                SymbolKind::Text if !symbol.is_weak() => {
                    writeln!(functions, "late_function {name}, {number}")?;
                }
                SymbolKind::Data if name.starts_with("_ZTVN2cv") => {
                    writeln!(tables, "late_table {name}, {size}, {number}")?;
                }
                _ => {}
            }
        }
    }
    let count = tables.lines().count();
    fs::write(to.join("late.s"), functions + &tables)?;
    let names: Vec<_> = names.iter().map(|name| format!("c{name:?}")).collect();
    let rust = format!(
        "const NAMES: [&CStr; {}] = [{}];\nconst TABLES: usize = {count};\n",
        names.len(),
        names.join(", ")
    );
    fs::write(to.join("late.rs"), rust)?;
    Ok(())
}
