//! Keys of an X11 display, as characters.

use anyhow::Result;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt, KeyButMask, Keycode, Keysym};
use x11rb::rust_connection::RustConnection;

/// What the keys of a keyboard mean.
pub(super) struct Keyboard {
    first: Keycode,
    /// How many meanings each key has.
    columns: usize,
    keysyms: Vec<Keysym>,
}

impl Keyboard {
    pub(super) fn read(connection: &RustConnection) -> Result<Self> {
        let (first, last) = (
            connection.setup().min_keycode,
            connection.setup().max_keycode,
        );
        let mapping = connection.get_keyboard_mapping(first, last - first + 1)?;
        let mapping = mapping.reply()?;
        Ok(Self {
            first,
            columns: mapping.keysyms_per_keycode.into(),
            keysyms: mapping.keysyms,
        })
    }

    /// The character of a key that was pressed while others were held. `None`: it has none.
    pub(super) fn char(&self, key: Keycode, held: KeyButMask) -> Option<char> {
        let key = usize::from(key.checked_sub(self.first)?);
        let meanings = self.keysyms.chunks_exact(self.columns.max(1)).nth(key)?;
        // With and without Shift, in the first layout and then in the second: who writes Russian
        // has Latin letters there.
        let shift = usize::from(held.contains(KeyButMask::SHIFT));
        let columns = [shift, 0, 2 + shift, 2];
        let mut keysyms = columns.iter().filter_map(|&column| meanings.get(column));
        keysyms.find_map(|&keysym| char_of(keysym))
    }
}

/// The characters of keysyms that mean something to a view: see X11/keysymdef.h.
fn char_of(keysym: Keysym) -> Option<char> {
    Some(match keysym {
        // Latin letters, digits and signs are as in ASCII.
        0x20..=0x7e => char::from_u32(keysym)?.to_ascii_lowercase(),
        0xff1b => '\x1b',
        0xff51 => '←',
        0xff52 => '↑',
        0xff53 => '→',
        0xff54 => '↓',
        // The number pad, with NumLock and without.
        0xffab => '+',
        0xffad => '-',
        0xffb0 | 0xff9e => '0',
        0xffae | 0xff9f => '.',
        _ => return None,
    })
}
