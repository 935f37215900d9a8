//! The atomics of the protocol: the machine's, or the model checker's.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A byte that nobody uses, but others may change.
pub(crate) type Unused = std::sync::atomic::AtomicU8;
