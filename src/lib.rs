//! The commands `shm-send` and `shm-recv`: what is in which file.
//!
//! | job | file |
//! |---|---|
//! | sending | `send` |
//! | receiving | `recv` |
//! | words for the user: results, events, messages | `console`, over `stdio` |
//! | every line of `--json` | `event` |
//! | what to do about an error of the library | `remedy` |
//! | exit codes | `exit` |
//! | files and pipes, read so that a signal can end it | `input` |
//! | values of flags that both commands have | `parse` |
//! | what TAB completes | `complete` |
//! | libraries that are loaded when they are first called | `late` |
//! | frames as OpenCV's images | `picture` |
//! | signals; numbers with units, and how times spread | `crates/programs` |
//! | a window | `window` |
//! | the bottom of a terminal: a picture, a status line, keys | `terminal` |

mod av;
mod complete;
mod console;
mod event;
mod exit;
mod input;
#[cfg_attr(not(late), path = "late/linked.rs")]
mod late;
mod parse;
mod picture;
mod raw_image;
pub mod recv;
mod remedy;
pub mod send;
mod stdio;
mod terminal;
mod visible;
mod window;

use shm_frame_programs::{stop, units};
