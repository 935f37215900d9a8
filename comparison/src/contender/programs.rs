//! Pairs of programs that are not in Rust, in `peers/`. They are told what to do in words, see
//! `peers/measure.py`.

use super::{COPIED_IN, Contender, Ends, Group, Part};

pub const CONTENDERS: [Contender; 2] = [
    Contender {
        name: "Python shared_memory",
        group: Group::Peer,
        parts: COPIED_IN,
        ends: Ends::Programs {
            sender: "shared_memory_sender.py",
            receiver: "shared_memory_receiver.py",
        },
    },
    Contender {
        name: "C++ to Python",
        group: Group::Peer,
        // It polls, every 2 ms.
        parts: &[Part::Asleep],
        ends: Ends::Programs {
            sender: "header_sender",
            receiver: "header_reader.py",
        },
    },
];
