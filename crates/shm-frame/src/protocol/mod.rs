//! The protocol: what stands where in a segment, and who may touch it when. No operating system
//! here, so that the model checker can run all of it.

pub(crate) mod format;
pub(crate) mod header;
pub(crate) mod layout;
pub(crate) mod slots;
pub(crate) mod sync;
