//! What `shm-send`, `shm-recv` and `shm-bridge` share: the end by a signal, and numbers as people
//! read them. For these programs alone: its interface changes with them.

pub mod stop;
pub mod units;
