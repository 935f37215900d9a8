use std::fmt;

/// How a segment ended. Every receiver has to do something about each, so a match may name all of
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its sender said so.
    Closed,
    /// Its sender died without a word.
    Dead,
    /// The name means another segment now, or none.
    Replaced,
    /// Somebody truncated or overwrote it.
    Broken,
}

/// `closed`, `dead`, `replaced` or `broken`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Dead => "dead",
            Self::Replaced => "replaced",
            Self::Broken => "broken",
        })
    }
}
