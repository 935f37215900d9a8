//! How the shared library is linked.

fn main() {
    let version = |part| std::env::var(part).expect("cargo sets it");
    let (major, minor) = (
        version("CARGO_PKG_VERSION_MAJOR"),
        version("CARGO_PKG_VERSION_MINOR"),
    );
    // Before 1.0 every minor version may break programs that were linked with another one.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libshm_frame.so.{major}.{minor}");
    // The library installs a handler for SIGBUS, and one for forks: its code must stay after
    // dlclose.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rerun-if-changed=build.rs");
}
