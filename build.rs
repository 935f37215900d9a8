//! Tells the code which FFmpeg it is built against, and which libraries are loaded when they are
//! first called: see `src/late`.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use object::elf::DT_SONAME;
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol, SymbolKind};

/// Where the libraries of OpenCV are said to be: the names that the crate `opencv` asks pkg-config
/// for.
const OPENCV: &[&str] = &["opencv5", "opencv4", "opencv"];

/// What is loaded when it is first called: the names of the libraries, and of their pkg-config
/// files. Of OpenCV's, core comes first: `src/late` counts on it.
const LATE: [(&str, &[&str]); 8] = [
    ("opencv_core", OPENCV),
    ("opencv_imgproc", OPENCV),
    ("opencv_imgcodecs", OPENCV),
    ("opencv_videoio", OPENCV),
    ("avutil", &["libavutil"]),
    ("swscale", &["libswscale"]),
    ("avcodec", &["libavcodec"]),
    ("avformat", &["libavformat"]),
];

/// How the functions of those libraries begin. What else they export is not theirs: copies of other
/// libraries, or of inline functions.
const THEIRS: [&str; 4] = ["_ZN2cv", "_ZNK2cv", "av", "sws"];

/// How the tables of virtual functions of OpenCV's classes begin, and what is known of the types of
/// these two: the bindings catch the one, and have classes that are derived from the other.
const TABLES: [&str; 3] = ["_ZTVN2cv", "_ZTIN2cv9ExceptionE", "_ZTIN2cv9AlgorithmE"];

/// With one of these set, the crates `opencv` and `ffmpeg-sys-the-third` may find other libraries,
/// or static ones: then all is linked. So it is for who wants that, by the first.
const OTHERS: [&str; 24] = [
    "SHM_FRAME_LINK",
    "OPENCV_PACKAGE_NAME",
    "OPENCV_PKGCONFIG_NAME",
    "OPENCV_CMAKE_NAME",
    "OPENCV_CMAKE_BIN",
    "OPENCV_CMAKE_ARGS",
    "OPENCV_CMAKE_TOOLCHAIN_FILE",
    "OPENCV_VCPKG_NAME",
    "OPENCV_LINK_LIBS",
    "OPENCV_LINK_PATHS",
    "OPENCV_DISABLE_PROBES",
    "OpenCV_DIR",
    "CMAKE_PREFIX_PATH",
    "VCPKG_ROOT",
    "FFMPEG_DIR",
    "PKG_CONFIG_SYSROOT_DIR",
    "PKG_CONFIG_ALL_STATIC",
    "OPENCV5_STATIC",
    "OPENCV4_STATIC",
    "OPENCV_STATIC",
    "LIBAVUTIL_STATIC",
    "LIBSWSCALE_STATIC",
    "LIBAVCODEC_STATIC",
    "LIBAVFORMAT_STATIC",
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
    for name in OTHERS
        .iter()
        .chain(&["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"])
    {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let here = env::var("HOST")? == env::var("TARGET")?;
    let target = env::var("CARGO_CFG_TARGET_ARCH")? + "-" + &env::var("CARGO_CFG_TARGET_OS")?;
    let known = ["x86_64-linux", "aarch64-linux"].contains(&target.as_str());
    if here && known && OTHERS.iter().all(|name| env::var_os(name).is_none()) {
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
fn library(name: &str, packages: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    let folder = |package| pkg_config::get_variable(package, "libdir").ok();
    let folder = packages.iter().copied().find_map(folder);
    let folder = folder.ok_or_else(|| format!("pkg-config knows no {}", packages.join(" or ")))?;
    let link = Path::new(&folder).join(format!("lib{name}.so"));
    let file = fs::canonicalize(&link).map_err(|error| format!("{}: {error}", link.display()))?;
    // Another version has another file, which may be older.
    println!("cargo::rerun-if-changed={}", file.display());
    Ok(file)
}

/// Writes a line of assembler for each function and each table (of [`TABLES`]) that the
/// libraries have, and the names by which the libraries are found.
fn write_late(to: &Path) -> Result<(), Box<dyn Error>> {
    let (mut functions, mut tables) = (String::new(), String::new());
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for (number, (name, packages)) in LATE.into_iter().enumerate() {
        let file = library(name, packages)?;
        let at = |error: &dyn Display| format!("{}: {error}", file.display());
        let data = fs::read(&file).map_err(|error| at(&error))?;
        let elf = ElfFile64::<Endianness>::parse(&*data).map_err(|error| at(&error))?;
        let dynamic = elf.elf_dynamic_table()?;
        let soname = dynamic.iter().find(|entry| entry.tag == DT_SONAME);
        let soname = soname.ok_or_else(|| at(&"has no soname"))?;
        let soname = String::from_utf8(dynamic.string(soname)?.to_vec())?;
        names.push(format!("(c{soname:?}, {name:?})"));
        for symbol in elf.dynamic_symbols().filter(ObjectSymbol::is_definition) {
            let (name, size) = (symbol.name()?.to_owned(), symbol.size());
            // A name has several versions if it changed: the newest one is what is linked.
            if !seen.insert(name.clone()) {
                continue;
            }
            match symbol.kind() {
                SymbolKind::Text
                    if !symbol.is_weak() && THEIRS.iter().any(|begin| name.starts_with(begin)) =>
                {
                    writeln!(functions, "late_function {name}, {number}")?;
                }
                SymbolKind::Data
                    if TABLES.iter().any(|begin| name.starts_with(begin)) && size > 0 =>
                {
                    writeln!(tables, "late_table {name}, {size}, {number}")?;
                }
                _ => {}
            }
        }
    }
    let count = tables.lines().count();
    fs::write(to.join("late.s"), functions + &tables)?;
    let rust = format!(
        "const NAMES: [(&CStr, &str); {}] = [{}];\nconst TABLES: usize = {count};\n",
        names.len(),
        names.join(", ")
    );
    fs::write(to.join("late.rs"), rust)?;
    Ok(())
}
