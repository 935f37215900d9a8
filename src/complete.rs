//! What TAB completes after a flag, beyond what the definitions of the flags say.

use std::ffi::OsStr;

use clap_complete::engine::CompletionCandidate;

/// The names of segments, without their slash unless one was typed.
pub(crate) fn streams(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let listing = shm_frame::list().map(|listing| listing.segments);
    let names = listing.unwrap_or_default().into_iter().map(|listed| {
        let name = listed.name.to_string();
        let shown = if typed.starts_with('/') {
            &name[..]
        } else {
            &name[1..]
        };
        (shown.to_owned(), listed)
    });
    let matching = names.filter(|(name, _)| name.starts_with(&*typed));
    matching
        .map(|(name, listed)| {
            let what = listed.shape.map(|shape| shape.to_string().into());
            CompletionCandidate::new(name).help(what)
        })
        .collect()
}
