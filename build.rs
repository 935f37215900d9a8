//! Tells the code which FFmpeg it is built against.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for version in ["ffmpeg_6_0", "ffmpeg_6_1", "ffmpeg_7_0"] {
        println!("cargo::rustc-check-cfg=cfg({version})");
        // The bindings say it by this.
        if std::env::var_os(format!("DEP_FFMPEG_{}", version.to_uppercase())).is_some() {
            println!("cargo::rustc-cfg={version}");
        }
    }
}
