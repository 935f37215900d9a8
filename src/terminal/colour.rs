//! The colours of a terminal. Where there are few, neighbours are mixed to those between: ordered,
//! so that a picture that stays the same is drawn the same.

use std::collections::HashMap;
use std::env;

/// Red, green and blue.
pub(super) type Rgb = [u8; 3];

/// A colour as it is sent: `0xRRGGBB`, or a number.
pub(super) type Ink = u32;

/// What colours a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Colours {
    /// None, or the user wants none.
    None,
    /// Those of the VGA, of which the background takes the first 8.
    Sixteen,
    /// The 256 of xterm.
    Palette,
    /// 24 bits.
    True,
}

impl Colours {
    /// What variables other than the terminal's name say.
    pub(super) fn of_environment() -> Option<Self> {
        let variable = |name| env::var(name).unwrap_or_default();
        let term = variable("TERM");
        if !variable("NO_COLOR").is_empty()
            || term.starts_with("vt") && !term.starts_with("vte")
            || term.ends_with("-mono")
            || term.ends_with("-m")
        {
            Some(Self::None)
        } else if matches!(variable("COLORTERM").as_str(), "truecolor" | "24bit")
            || term.ends_with("-direct")
        {
            Some(Self::True)
        } else {
            None
        }
    }

    /// What a terminal of that name has at least.
    pub(super) fn of_term(term: &str) -> Self {
        match term {
            "linux" | "ansi" | "cygwin" | "pcansi" | "rxvt" => Self::Sixteen,
            _ => Self::Palette,
        }
    }

    pub(super) fn any(self) -> bool {
        self != Self::None
    }
}

/// The two places of a colour in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Fore,
    Back,
}

/// Makes colours those that a terminal has.
#[derive(Debug)]
pub(super) struct Inks {
    colours: Colours,
    fore: Mixer,
    back: Mixer,
}

impl Inks {
    pub(super) fn new(colours: Colours) -> Self {
        let palette = match colours {
            Colours::None | Colours::True => Vec::new(),
            Colours::Sixteen => numbered(0, &VGA),
            Colours::Palette => numbered(16, &xterm()),
        };
        let back = match colours {
            Colours::Sixteen => palette[..8].to_vec(),
            _ => palette.clone(),
        };
        Self {
            colours,
            fore: Mixer::new(palette),
            back: Mixer::new(back),
        }
    }

    pub(super) fn colours(&self) -> Colours {
        self.colours
    }

    /// The ink of a colour at a place of the picture.
    pub(super) fn ink(&mut self, colour: Rgb, ground: Ground, place: (usize, usize)) -> Ink {
        match (self.colours, ground) {
            (Colours::None, _) => 0,
            (Colours::True, _) => {
                let [r, g, b] = colour.map(u32::from);
                r << 16 | g << 8 | b
            }
            (_, Ground::Fore) => self.fore.mix(colour, place),
            (_, Ground::Back) => self.back.mix(colour, place),
        }
    }

    /// The parameters of the sequence that sets an ink.
    pub(super) fn parameters(&self, ink: Ink, ground: Ground) -> String {
        let base = if ground == Ground::Fore { 30 } else { 40 };
        match self.colours {
            Colours::None => String::new(),
            Colours::Sixteen if ink < 8 => (base + ink).to_string(),
            Colours::Sixteen => (base + 60 + ink - 8).to_string(),
            Colours::Palette => format!("{};5;{ink}", base + 8),
            Colours::True => {
                let [_, r, g, b] = ink.to_be_bytes();
                format!("{};2;{r};{g};{b}", base + 8)
            }
        }
    }
}

/// The colours of the linux console.
const VGA: [Rgb; 16] = [
    [0, 0, 0],
    [170, 0, 0],
    [0, 170, 0],
    [170, 85, 0],
    [0, 0, 170],
    [170, 0, 170],
    [0, 170, 170],
    [170, 170, 170],
    [85, 85, 85],
    [255, 85, 85],
    [85, 255, 85],
    [255, 255, 85],
    [85, 85, 255],
    [255, 85, 255],
    [85, 255, 255],
    [255, 255, 255],
];

/// xterm's cube of 6 levels of each colour, and its 24 grays. Users change the 16 before these.
fn xterm() -> Vec<Rgb> {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let cube = (0..216).map(|i| [i / 36, i / 6 % 6, i % 6].map(|level| LEVELS[level]));
    let grays = (0..24).map(|i| [8 + 10 * i; 3]);
    cube.chain(grays).collect()
}

fn numbered(first: Ink, colours: &[Rgb]) -> Vec<(Ink, Rgb)> {
    (first..).zip(colours.iter().copied()).collect()
}

/// How many inks are mixed, in a square of that many dots.
const MIXED: usize = 16;
/// The order in which the dots of a square get lighter.
const ORDER: [[usize; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

/// The order of a place in its square.
pub(super) fn order(place: (usize, usize)) -> usize {
    ORDER[place.1 % 4][place.0 % 4]
}

/// Mixes inks to the colours between them.
#[derive(Debug)]
struct Mixer {
    palette: Vec<(Ink, Rgb)>,
    /// The inks of colours that came before, from dark to light. Colours are told apart by 6 bits.
    mixed: HashMap<Rgb, [Ink; MIXED]>,
}

impl Mixer {
    fn new(palette: Vec<(Ink, Rgb)>) -> Self {
        Self {
            palette,
            mixed: HashMap::new(),
        }
    }

    fn mix(&mut self, colour: Rgb, place: (usize, usize)) -> Ink {
        let colour = colour.map(|level| level & 0xfc | level >> 6);
        let Self { palette, mixed } = self;
        mixed
            .entry(colour)
            .or_insert_with(|| mixture(palette, colour))[order(place)]
    }
}

/// Inks whose mean is near to a colour, from dark to light: each makes up for what those before it
/// missed, and is itself not far from the colour, since a few glaring dots are worse than a colour
/// that is a little off.
fn mixture(palette: &[(Ink, Rgb)], colour: Rgb) -> [Ink; MIXED] {
    let colour = colour.map(i32::from);
    let mut goal = colour;
    let mut inks = [(0, 0); MIXED];
    for ink in &mut inks {
        let distance = |rgb: &Rgb| distance(goal, *rgb) + distance(colour, *rgb);
        let nearest = palette.iter().min_by_key(|(_, rgb)| distance(rgb));
        let &(number, rgb) = nearest.expect("a palette has colours");
        goal = [0, 1, 2].map(|i| goal[i] + colour[i] - i32::from(rgb[i]));
        *ink = (light(rgb), number);
    }
    inks.sort_unstable();
    inks.map(|(_, number)| number)
}

/// How different two colours look.
fn distance(a: [i32; 3], b: Rgb) -> i32 {
    let [r, g, b] = [0, 1, 2].map(|i| (a[i] - i32::from(b[i])).pow(2));
    2 * r + 4 * g + b
}

/// How light a colour is, in thousandths of a level.
pub(super) fn light([r, g, b]: Rgb) -> u32 {
    u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_inks_are_in_the_mean_the_colour() {
        let palette = numbered(16, &xterm());
        let rgb: HashMap<_, _> = palette.iter().copied().collect();
        for colour in [[40, 90, 200], [128, 128, 128], [250, 180, 20], [12, 30, 7]] {
            let inks = mixture(&palette, colour);
            for i in 0..3 {
                let sum: u32 = inks.iter().map(|ink| u32::from(rgb[ink][i])).sum();
                assert!(
                    (sum / 16).abs_diff(colour[i].into()) <= 12,
                    "{colour:?} {sum}"
                );
            }
            let lights: Vec<_> = inks.iter().map(|ink| light(rgb[ink])).collect();
            assert!(lights.is_sorted());
        }
        // A colour that is there is not mixed.
        assert_eq!(mixture(&palette, [0, 95, 255]), [16 + 6 + 5; 16]);
    }

    #[test]
    fn inks_are_sent_as_the_terminal_takes_them() {
        let inks = |colours, ground| {
            let mut inks = Inks::new(colours);
            let ink = inks.ink([255, 255, 255], ground, (0, 0));
            inks.parameters(ink, ground)
        };
        assert_eq!(inks(Colours::True, Ground::Fore), "38;2;255;255;255");
        assert_eq!(inks(Colours::Palette, Ground::Back), "48;5;231");
        assert_eq!(inks(Colours::Sixteen, Ground::Fore), "97");
        assert_eq!(inks(Colours::Sixteen, Ground::Back), "47");
    }
}
