//! The commands `shm-send` and `shm-recv`.

mod av;
mod console;
mod exit;
mod parse;
mod picture;
pub mod recv;
pub mod send;
mod stop;
mod terminal;
mod units;
mod window;
