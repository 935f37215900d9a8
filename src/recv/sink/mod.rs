//! What is done with frames besides showing and counting them.

pub(crate) mod plot;
pub(crate) mod raw;
pub(crate) mod record;
pub(crate) mod save;
