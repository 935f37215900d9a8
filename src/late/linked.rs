//! Every library is linked, and loaded at the program's start: there is nothing to do.

use anyhow::Result;

#[expect(
    clippy::unnecessary_wraps,
    reason = "where they are loaded late, they may be gone"
)]
pub(crate) fn load(_: &str) -> Result<()> {
    Ok(())
}
