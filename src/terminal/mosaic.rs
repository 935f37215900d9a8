//! A picture of signs, each of two colours that share a cell: what every terminal can draw. Only
//! the cells that changed are drawn again. If the link is too slow for all of them, those rows that
//! move are coarse, and those at rest become fine again.

use super::colour::{self, Colours, Ground, Ink, Inks, Rgb};

/// The signs that cells are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbols {
    /// Without colours, dark to light.
    Letters,
    /// One colour to a cell: without UTF-8.
    Spaces,
    /// Upper and lower half.
    Halves,
    /// 2x2 dots.
    Quadrants,
    /// 2x3 dots.
    Sextants,
}

const DARK_TO_LIGHT: &[u8] = b" .:-=+*#%@";
/// By the dots that are drawn: 1 upper left, 2 upper right, 4 lower left, 8 lower right.
const QUADRANTS: [char; 16] = [
    ' ', '▘', '▝', '▀', '▖', '▌', '▞', '▛', '▗', '▚', '▐', '▜', '▄', '▙', '▟', '█',
];

impl Symbols {
    /// The dots of a cell, across and down.
    pub(super) fn dots(self) -> (usize, usize) {
        match self {
            Self::Letters | Self::Spaces => (1, 1),
            Self::Halves => (1, 2),
            Self::Quadrants => (2, 2),
            Self::Sextants => (2, 3),
        }
    }

    /// The sign whose dots in these bits, row by row, have the foreground's colour.
    fn sign(self, bits: u8) -> char {
        let bits = usize::from(bits);
        match self {
            Self::Letters => DARK_TO_LIGHT[bits].into(),
            Self::Spaces => ' ',
            Self::Halves => [' ', '▀', '▄', '█'][bits],
            Self::Quadrants => QUADRANTS[bits],
            Self::Sextants => match bits {
                0 => ' ',
                0b01_01_01 => '▌',
                0b10_10_10 => '▐',
                0b11_11_11 => '█',
                // The two above are left out of the row of them.
                _ => {
                    let left_out = usize::from(bits > 0b01_01_01) + usize::from(bits > 0b10_10_10);
                    let code = u32::try_from(0x1_fb00 + bits - 1 - left_out);
                    code.ok().and_then(char::from_u32).unwrap_or(' ')
                }
            },
        }
    }

    /// Dots that are set apart before others if all are much alike: for mixed colours.
    fn usual(self) -> u8 {
        match self {
            Self::Letters | Self::Spaces => 0,
            Self::Halves => 0b01,
            Self::Quadrants => 0b00_11,
            Self::Sextants => 0b01_01_01,
        }
    }
}

/// A picture's dots, row by row.
#[derive(Debug)]
pub(super) struct Dots {
    pub width: usize,
    pub colours: Vec<Rgb>,
}

/// What is drawn in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u8,
    fore: Ink,
    back: Ink,
}

/// How coarse a row is: 0 for all dots, else so many cells across and down have one colour.
const COARSE: [(usize, usize); 6] = [(1, 1), (2, 1), (4, 2), (6, 3), (8, 4), (12, 6)];

/// Levels of 24 bits that nobody sees, and that noise of a camera moves within. Side by side, fewer
/// are seen.
const UNSEEN: u8 = 3;
const UNSEEN_BESIDE: u8 = 1;

/// Draws pictures of signs, and knows what is on the glass.
#[derive(Debug)]
pub(super) struct Mosaic {
    symbols: Symbols,
    inks: Inks,
    columns: usize,
    /// What is on the glass. `None`: unknown.
    glass: Vec<Option<Cell>>,
    /// How coarse each row is there.
    coarse: Vec<usize>,
    /// How coarse rows that move are, lately.
    moving: usize,
    /// Some rows are coarse, and became finer in the last drawing.
    unfinished: bool,
}

/// A row to be drawn.
#[derive(Clone)]
struct Row {
    cells: Vec<Cell>,
    bytes: Vec<u8>,
    coarse: usize,
}

impl Mosaic {
    pub(super) fn new(symbols: Symbols, colours: Colours) -> Self {
        Self {
            symbols,
            inks: Inks::new(colours),
            columns: 0,
            glass: Vec::new(),
            coarse: Vec::new(),
            moving: 0,
            unfinished: false,
        }
    }

    pub(super) fn symbols(&self) -> Symbols {
        self.symbols
    }

    /// Nothing of it is on the glass any more.
    pub(super) fn forget(&mut self) {
        self.glass.clear();
    }

    /// The same picture drawn again may become finer.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The bytes that draw a picture over the last one, from its upper left cell to the line below
    /// it.
    pub(super) fn paint(&mut self, dots: &Dots, budget: usize) -> Vec<u8> {
        let (across, down) = self.symbols.dots();
        let columns = dots.width.div_ceil(across);
        let height = (dots.colours.len() / dots.width).div_ceil(down);
        if (self.columns, self.glass.len()) != (columns, columns * height) {
            self.columns = columns;
            self.glass = vec![None; columns * height];
            self.coarse = vec![0; height];
        }
        let rows = self.rows(dots, budget);
        let drawn = rows.iter().any(|row| !row.bytes.is_empty());
        self.unfinished = drawn && rows.iter().any(|row| row.coarse > 0);
        let (mut bytes, mut at) = (Vec::new(), 0);
        for (y, row) in rows.into_iter().enumerate() {
            if !row.bytes.is_empty() {
                lower(&mut bytes, y - at);
                at = y;
                bytes.extend_from_slice(&row.bytes);
            }
            self.coarse[y] = row.coarse;
            let glass = &mut self.glass[y * columns..][..columns];
            for (old, new) in glass.iter_mut().zip(row.cells) {
                // What nobody sees was not drawn.
                if old.is_none_or(|old| differ(self.symbols, &self.inks, old, new)) {
                    *old = Some(new);
                }
            }
        }
        if drawn && self.inks.colours().any() {
            bytes.extend_from_slice(b"\x1b[0m");
        }
        bytes.push(b'\r');
        lower(&mut bytes, height - at);
        bytes
    }

    /// The rows, as fine as the budget allows.
    fn rows(&mut self, dots: &Dots, budget: usize) -> Vec<Row> {
        let mut rows: Vec<_> = (0..self.coarse.len())
            .map(|y| self.row(dots, y, self.coarse[y]))
            .collect();
        let moves: Vec<_> = rows.iter().map(|row| !row.bytes.is_empty()).collect();
        let cost = |rows: &[Row]| rows.iter().map(|row| row.bytes.len()).sum::<usize>();
        let moving: Vec<_> = (0..rows.len()).filter(|&y| moves[y]).collect();
        let last = self.moving;
        let mut coarsen = |rows: &mut [Row], coarse| {
            for &y in &moving {
                if rows[y].coarse != coarse {
                    rows[y] = self.row(dots, y, coarse);
                }
            }
        };
        let mut coarse = last;
        coarsen(&mut rows, coarse);
        while cost(&rows) > budget && coarse + 1 < COARSE.len() {
            coarse += 1;
            coarsen(&mut rows, coarse);
        }
        // Finer only if there is room to spare, so that it is not coarse the next time.
        if coarse > 0 && coarse == last && cost(&rows) <= budget / 2 && !moving.is_empty() {
            let mut finer = rows.clone();
            coarsen(&mut finer, coarse - 1);
            if cost(&finer) <= budget / 4 * 3 {
                (rows, coarse) = (finer, coarse - 1);
            }
        }
        self.moving = coarse;
        let mut left = budget.saturating_sub(cost(&rows));
        for y in (0..rows.len()).filter(|&y| !moves[y]) {
            if rows[y].coarse > 0 {
                let fine = self.row(dots, y, 0);
                if fine.bytes.len() > left {
                    break;
                }
                left -= fine.bytes.len();
                rows[y] = fine;
            }
        }
        rows
    }

    /// What is to be drawn in a row.
    fn row(&mut self, dots: &Dots, y: usize, coarse: usize) -> Row {
        let cells: Vec<_> = (0..self.columns)
            .map(|x| self.cell(dots, (x, y), coarse))
            .collect();
        let glass = &self.glass[y * self.columns..][..self.columns];
        let mut bytes = Vec::new();
        let (mut at, mut inks) = (None, (None, None));
        for (x, (&new, &old)) in cells.iter().zip(glass).enumerate() {
            if old.is_some_and(|old| !differ(self.symbols, &self.inks, old, new)) {
                continue;
            }
            if at != Some(x) {
                bytes.extend_from_slice(format!("\x1b[{}G", x + 1).as_bytes());
            }
            at = Some(x + 1);
            self.draw(&mut bytes, new, &mut inks);
        }
        Row {
            cells,
            bytes,
            coarse,
        }
    }

    /// Draws a cell. `inks`: those that are set.
    fn draw(&self, out: &mut Vec<u8>, cell: Cell, inks: &mut (Option<Ink>, Option<Ink>)) {
        let Cell {
            mut bits,
            mut fore,
            mut back,
        } = cell;
        let (across, down) = self.symbols.dots();
        let turns = self.inks.colours() > Colours::Sixteen;
        if turns && inks.0 == Some(back) && bits != 0 {
            // The other way round it looks the same. Of 16, not all can be at the back.
            bits ^= u8::try_from((1_u32 << (across * down)) - 1).unwrap_or(0);
            (fore, back) = (back, fore);
        }
        let mut parameters = Vec::new();
        if bits != 0 && inks.0.replace(fore) != Some(fore) {
            parameters.push(self.inks.parameters(fore, Ground::Fore));
        }
        if inks.1.replace(back) != Some(back) {
            parameters.push(self.inks.parameters(back, Ground::Back));
        }
        if !parameters.is_empty() && self.inks.colours().any() {
            out.extend_from_slice(format!("\x1b[{}m", parameters.join(";")).as_bytes());
        }
        let sign = self.symbols.sign(bits);
        out.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn cell(&mut self, dots: &Dots, place: (usize, usize), coarse: usize) -> Cell {
        let (across, down) = self.symbols.dots();
        let (x, y) = place;
        if coarse > 0 {
            let (wide, high) = COARSE[coarse];
            let block = (x / wide, y / high);
            let sides = (wide * across, high * down);
            let colour = mean(&dots.square((block.0 * sides.0, block.1 * sides.1), sides));
            return self.flat(colour, block);
        }
        let square = dots.square((x * across, y * down), (across, down));
        match self.symbols {
            Symbols::Letters | Symbols::Spaces => self.flat(square[0], place),
            Symbols::Halves | Symbols::Quadrants | Symbols::Sextants => {
                let mixed = self.inks.colours() != Colours::True;
                let whole = mean(&square);
                if !mixed
                    && square
                        .iter()
                        .all(|&dot| is_alike(dot, whole, UNSEEN_BESIDE))
                {
                    return self.flat(whole, place);
                }
                let (bits, fore, back) = part(&square, self.symbols.usual(), mixed);
                let (upper, lower) = ((x, 2 * y), (x, 2 * y + 1));
                let fore = self.inks.ink(fore, Ground::Fore, upper);
                let back = self.inks.ink(back, Ground::Back, lower);
                // One ink needs no sign.
                let bits = if fore == back { 0 } else { bits };
                Cell { bits, fore, back }
            }
        }
    }

    /// A cell of one colour.
    fn flat(&mut self, colour: Rgb, place: (usize, usize)) -> Cell {
        let back = self.inks.ink(colour, Ground::Back, place);
        let bits = if self.symbols == Symbols::Letters {
            let light = usize::try_from(colour::light(colour) / 1000).unwrap_or(0);
            u8::try_from(light * DARK_TO_LIGHT.len() / 256).unwrap_or(0)
        } else {
            0
        };
        Cell {
            bits,
            fore: back,
            back,
        }
    }
}

impl Dots {
    /// The dots of a rectangle, as far as they are there.
    fn square(&self, at: (usize, usize), sides: (usize, usize)) -> Vec<Rgb> {
        let height = self.colours.len() / self.width;
        let columns = || (at.0..at.0 + sides.0).map(|x| x.min(self.width - 1));
        (at.1..at.1 + sides.1)
            .map(|y| y.min(height - 1))
            .flat_map(|y| columns().map(move |x| self.colours[y * self.width + x]))
            .collect()
    }
}

/// Down that many lines, which are there.
fn lower(out: &mut Vec<u8>, lines: usize) {
    if lines > 0 {
        out.extend_from_slice(format!("\x1b[{lines}B").as_bytes());
    }
}

/// Whether a person sees another cell.
fn differ(symbols: Symbols, inks: &Inks, old: Cell, new: Cell) -> bool {
    let (across, down) = symbols.dots();
    if symbols == Symbols::Letters || inks.colours() != Colours::True {
        return old != new;
    }
    let of = |cell: Cell, dot| {
        if cell.bits >> dot & 1 == 1 {
            cell.fore.to_be_bytes()
        } else {
            cell.back.to_be_bytes()
        }
    };
    (0..across * down).any(|dot| !is_alike(of(old, dot), of(new, dot), UNSEEN))
}

fn is_alike<const N: usize>(a: [u8; N], b: [u8; N], levels: u8) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= levels)
}

fn mean(colours: &[Rgb]) -> Rgb {
    let count = u32::try_from(colours.len()).unwrap_or(1).max(1);
    [0, 1, 2].map(|i| {
        let sum: u32 = colours.iter().map(|rgb| u32::from(rgb[i])).sum();
        u8::try_from((sum + count / 2) / count).unwrap_or(u8::MAX)
    })
}

/// Parts dots in two, each as much alike as can be. Returns the bits of the first part, and the
/// mean colours of both. `usual` is taken if it is about as good and colours are mixed.
fn part(dots: &[Rgb], usual: u8, mixed: bool) -> (u8, Rgb, Rgb) {
    let count = dots.len();
    let all = (1_usize << count) - 1;
    // The sums of the colours of each set of dots.
    let mut sums = [[0_u32; 3]; 64];
    for set in 1..=all {
        let first = set.trailing_zeros() as usize;
        let rest = sums[set & (set - 1)];
        sums[set] = [0, 1, 2].map(|i| rest[i] + u32::from(dots[first][i]));
    }
    let spread = |sum: [u32; 3], count: u32| sum.map(|s| s * s).iter().sum::<u32>() / count.max(1);
    let kept = |set: usize| {
        spread(sums[set], set.count_ones()) + spread(sums[all ^ set], (all ^ set).count_ones())
    };
    let whole = dots
        .iter()
        .flatten()
        .map(|&level| u32::from(level).pow(2))
        .sum::<u32>();
    let missed = |set| whole.saturating_sub(kept(set));
    // A set and the rest are the same parting: those without the last dot are enough.
    let best = (1..=all / 2).min_by_key(|&set| missed(set)).unwrap_or(all);
    let usual = usize::from(usual);
    let set = if mixed && usual != 0 && missed(usual) < 2 * missed(best) + UNCLEAR {
        usual
    } else {
        best
    };
    let mean = |set: usize| {
        let count = set.count_ones().max(1);
        sums[set].map(|sum| u8::try_from((sum + count / 2) / count).unwrap_or(u8::MAX))
    };
    (u8::try_from(set).unwrap_or(0), mean(set), mean(all ^ set))
}

/// So much may a parting miss, in squares of levels, before another one is worth another sign:
/// mixed colours miss more.
const UNCLEAR: u32 = 3000;

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Rgb = [0, 0, 0];
    const WHITE: Rgb = [255, 255, 255];

    fn paint(mosaic: &mut Mosaic, colours: &[Rgb], width: usize, budget: usize) -> String {
        let dots = Dots {
            width,
            colours: colours.to_vec(),
        };
        String::from_utf8(mosaic.paint(&dots, budget)).unwrap()
    }

    /// As many different dots as there can be.
    fn noise(seed: u32, count: usize) -> Vec<Rgb> {
        let mut random = seed;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        };
        std::iter::repeat_with(|| [next(), next(), next()])
            .take(count)
            .collect()
    }

    #[test]
    fn a_cell_has_the_sign_of_its_dots() {
        for (symbols, dots, sign) in [
            (Symbols::Halves, vec![WHITE, BLACK], '▀'),
            (Symbols::Quadrants, vec![BLACK, BLACK, WHITE, BLACK], '▖'),
            (Symbols::Quadrants, vec![WHITE, BLACK, BLACK, WHITE], '▚'),
            (
                Symbols::Sextants,
                vec![WHITE, BLACK, BLACK, BLACK, BLACK, BLACK],
                '\u{1fb00}',
            ),
            (
                Symbols::Sextants,
                vec![BLACK, BLACK, BLACK, WHITE, BLACK, BLACK],
                '\u{1fb07}',
            ),
            (
                Symbols::Sextants,
                vec![WHITE, BLACK, WHITE, BLACK, WHITE, BLACK],
                '▌',
            ),
        ] {
            let mut mosaic = Mosaic::new(symbols, Colours::True);
            let text = paint(&mut mosaic, &dots, symbols.dots().0, usize::MAX);
            // The sign, or the one that has the other dots.
            let all = (1_u8 << dots.len()) - 1;
            let bits = (0..=all).find(|&bits| symbols.sign(bits) == sign).unwrap();
            let other = symbols.sign(all ^ bits);
            assert!(
                text.contains(sign) || text.contains(other),
                "{sign}: {text:?}"
            );
        }
        assert_eq!(Symbols::Sextants.sign(62), '\u{1fb3b}');
    }

    #[test]
    fn letters_are_as_light_as_their_dots() {
        let mut mosaic = Mosaic::new(Symbols::Letters, Colours::None);
        let dots: Vec<_> = (0..10).map(|i| [i * 28; 3]).collect();
        let text = paint(&mut mosaic, &dots, 10, usize::MAX);
        assert!(text.contains(" .:-=+*#%@"), "{text:?}");
    }

    #[test]
    fn only_cells_that_changed_are_drawn() {
        for symbols in [
            Symbols::Letters,
            Symbols::Spaces,
            Symbols::Halves,
            Symbols::Quadrants,
            Symbols::Sextants,
        ] {
            let colours = if symbols == Symbols::Letters {
                Colours::None
            } else {
                Colours::True
            };
            let mut mosaic = Mosaic::new(symbols, colours);
            let (across, down) = symbols.dots();
            let (width, height) = (20 * across, 10 * down);
            let mut dots = noise(1, width * height);
            let first = paint(&mut mosaic, &dots, width, usize::MAX);
            assert!(first.len() > 200);
            assert_eq!(paint(&mut mosaic, &dots, width, usize::MAX), "\r\x1b[10B");
            // Noise that nobody sees.
            dots[0] = dots[0].map(|level| level.saturating_add(1));
            // One cell in the fourth row.
            for y in 3 * down..4 * down {
                for x in 7 * across..8 * across {
                    let dark = dots[y * width + x][1] < 128;
                    dots[y * width + x] = if dark { WHITE } else { BLACK };
                }
            }
            let text = paint(&mut mosaic, &dots, width, usize::MAX);
            assert!(text.starts_with("\x1b[3B\x1b[8G"), "{symbols:?} {text:?}");
            assert!(text.ends_with("\r\x1b[7B") && text.len() < 80, "{text:?}");
            mosaic.forget();
            let text = paint(&mut mosaic, &dots, width, usize::MAX);
            assert!(text.len() > first.len() / 2);
        }
    }

    #[test]
    fn a_drawing_keeps_to_its_budget_and_rows_at_rest_become_fine() {
        for colours in [Colours::True, Colours::Palette] {
            let mut mosaic = Mosaic::new(Symbols::Quadrants, colours);
            let (width, height) = (200, 96);
            let budget = 15_000;
            let frame = |seed| {
                let mut dots = noise(seed, width * height);
                // The upper half stays the same.
                dots[..width * height / 2].copy_from_slice(&noise(0, width * height / 2));
                dots
            };
            for seed in 1..30 {
                let drawn = paint(&mut mosaic, &frame(seed), width, budget);
                assert!(drawn.len() < budget + 1000, "{}", drawn.len());
            }
            let fine = |rows: &[usize]| rows.iter().filter(|&&coarse| coarse == 0).count();
            assert_eq!(fine(&mosaic.coarse[..24]), 24, "{:?}", mosaic.coarse);
            assert_eq!(fine(&mosaic.coarse[24..]), 0, "{:?}", mosaic.coarse);
            // All at rest: until all of it is fine.
            let mut drawings = 0;
            loop {
                paint(&mut mosaic, &frame(29), width, budget);
                if !mosaic.is_unfinished() {
                    break;
                }
                drawings += 1;
                assert!(drawings < 30);
            }
            assert_eq!(fine(&mosaic.coarse), 48);
        }
    }
}
