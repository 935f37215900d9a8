//! What a terminal can: what the environment says, and what the terminal answers itself. Over ssh
//! most variables stay behind.

use std::env;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::colour::Colours;
use super::mosaic::Symbols;

/// Variables of programs that are a terminal inside another one. Inside them the other variables
/// may be those of the terminal outside, and no image gets there. tmux 3.5 even says that it draws
/// sixels, and makes kitty's question the pane's title.
const NESTED: [&str; 6] = [
    "TMUX",
    "STY",
    "ZELLIJ",
    "VIM_TERMINAL",
    "NVIM",
    "INSIDE_EMACS",
];
/// Names in TERM of terminals that have 24 bits, and do not say so when asked.
const TRUE_COLOUR: [&str; 8] = [
    "xterm-kitty",
    "xterm-ghostty",
    "alacritty",
    "contour",
    "foot",
    "st-",
    "vte",
    "wezterm",
];
/// Names, in TERM or as the terminal says, of those that draw sextants themselves: in others the
/// font may lack them.
const SEXTANTS: [&str; 6] = ["kitty", "ghostty", "contour", "foot", "WezTerm", "VTE"];
/// The first version of VTE that has 24 bits, and the first that draws sextants.
const VTE_TRUE_COLOUR: u32 = 3600;
const VTE_SEXTANTS: u32 = 6200;

/// Which terminal, and what it can: every terminal answers the second question. The first one finds
/// a tmux or GNU screen on the other side of ssh.
const WHO: &str = "\x1b[>c\x1b[c";
/// Its name and version; and the colour that is set, which it has changed if it knows only fewer.
const NAME_AND_COLOUR: &str = "\x1b[>q\x1b[38;2;1;2;3m\x1bP$qm\x1b\\\x1b[0m";
const KITTY: &str = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\";

/// How pictures get on the glass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
    Kitty,
    /// <https://iterm2.com/documentation-images.html>
    Iterm,
    /// Those of DEC's terminals, six rows to a letter.
    Sixel,
    /// Of signs in two colours each, or of letters.
    Mosaic(Symbols, Colours),
}

/// What is known so far.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts are bools")]
pub(super) struct Ability {
    colours: Colours,
    /// The environment says which colours there are.
    colours_are_told: bool,
    /// Another terminal is in between, or it is too simple: nothing is asked that these do not
    /// know.
    simple: bool,
    /// The linux console's font has half blocks at most.
    few_signs: bool,
    utf8: bool,
    sextants: bool,
    iterm: bool,
    kitty: bool,
    sixel: bool,
    /// It prints strings that it does not know.
    prints_strings: bool,
    /// The questions that are to be asked next.
    next: Option<Round>,
}

#[derive(Clone, Copy, Debug)]
enum Round {
    Who,
    What,
}

impl Ability {
    pub(super) fn of_environment() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        let (term, program) = (variable("TERM"), variable("TERM_PROGRAM"));
        let nested = NESTED.iter().any(|name| !variable(name).is_empty())
            || ["tmux", "screen"].iter().any(|name| term.starts_with(name))
            || program == "tmux";
        let told = Colours::of_environment();
        let mut ability = Self {
            colours: told.unwrap_or_else(|| {
                if TRUE_COLOUR.iter().any(|name| term.starts_with(name)) {
                    Colours::True
                } else {
                    Colours::of_term(&term)
                }
            }),
            colours_are_told: told.is_some(),
            // Old kernels print the questions.
            simple: nested || term == "linux" || told == Some(Colours::None),
            few_signs: term == "linux",
            utf8: true,
            sextants: !nested && SEXTANTS.iter().any(|name| term.contains(name)),
            iterm: ["iTerm", "WezTerm", "mintty"]
                .iter()
                .any(|name| (program.clone() + &variable("LC_TERMINAL")).contains(name)),
            kitty: false,
            sixel: false,
            prints_strings: false,
            next: Some(Round::Who),
        };
        if !variable("TMUX").is_empty() && told != Some(Colours::None) {
            ability.ask_tmux();
        } else if !variable("STY").is_empty() || term.starts_with("screen") {
            ability.behind_screen();
        }
        if !nested && let Ok(version) = variable("VTE_VERSION").parse() {
            ability.learn_vte(version);
        }
        ability
    }

    /// The next questions, after those before were answered. Nothing: there are no more.
    pub(super) fn next_question(&mut self) -> Option<String> {
        match self.next? {
            Round::Who => {
                self.next = Some(Round::What);
                Some(if self.simple { "" } else { WHO }.to_owned())
            }
            Round::What => {
                self.next = None;
                if self.simple || self.prints_strings {
                    return None;
                }
                let kitty = if self.iterm { "" } else { KITTY };
                Some(format!("{NAME_AND_COLOUR}{kitty}"))
            }
        }
    }

    /// Whether UTF-8 is understood.
    pub(super) fn learn_utf8(&mut self, known: bool) {
        self.utf8 &= known;
    }

    /// Learns from a sequence that came, if it is an answer.
    pub(super) fn learn(&mut self, sequence: &str) {
        if let Some(kind) = sequence
            .strip_prefix("[>")
            .and_then(|rest| rest.strip_suffix('c'))
        {
            self.learn_kind(kind);
        } else if let Some(abilities) = sequence
            .strip_prefix("[?")
            .and_then(|rest| rest.strip_suffix('c'))
        {
            self.sixel = abilities.split(';').any(|ability| ability == "4");
        } else if let Some(name) = sequence.strip_prefix("P>|") {
            self.sextants |= SEXTANTS.iter().any(|known| name.contains(known));
        } else if let Some(colour) = sequence.strip_prefix("P1$r") {
            // As it was set, in the notation that the terminal likes.
            let colour = colour.replace(':', ";").replace(";;", ";");
            if colour.contains("38;2;1;2;3") {
                self.learn_colours(Colours::True);
            }
        } else if sequence.starts_with("_Gi=31;OK") {
            self.kitty = true;
        }
    }

    /// Learns from the numbers of a terminal's kind: mostly the kind, a version, and an option.
    fn learn_kind(&mut self, kind: &str) {
        let numbers: Vec<u32> = kind
            .split(';')
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        match numbers[..] {
            // GNU screen and tmux say so with the codes of S and T.
            [83, ..] => self.behind_screen(),
            [84, ..] => self.simple = true,
            // kitty and foot have similar versions, and as much.
            [65 | 61 | 1, version, _] if version >= VTE_TRUE_COLOUR => self.learn_vte(version),
            // Apple's Terminal, which has 256 colours.
            [1, 95, 0] => self.prints_strings = true,
            // Konsole.
            [_, 115, 0] => {
                self.prints_strings = true;
                self.learn_colours(Colours::True);
            }
            // Alacritty and Windows' Terminal.
            [0, version, 1] if version >= 10 => self.learn_colours(Colours::True),
            _ => {}
        }
    }

    fn learn_vte(&mut self, version: u32) {
        self.sextants |= version >= VTE_SEXTANTS;
        if version >= VTE_TRUE_COLOUR {
            self.learn_colours(Colours::True);
        }
    }

    fn learn_colours(&mut self, colours: Colours) {
        if !self.colours_are_told && !self.simple {
            self.colours = colours;
        }
    }

    /// GNU screen makes the nearest of 256 out of 24 bits, which is worse than to dither.
    fn behind_screen(&mut self) {
        self.simple = true;
        self.sextants = false;
        self.colours = self.colours.min(Colours::Palette);
    }

    /// Asks tmux what the terminal around it can. `COLORTERM` was inherited from that terminal or
    /// from another one, and tmux makes the nearest of 256 out of 24 bits if it takes that terminal
    /// for one with 256.
    fn ask_tmux(&mut self) {
        let format = "#{client_utf8};#{client_termfeatures};#{client_termname};#{client_termtype}";
        let answer = output(Command::new("tmux").args(["display-message", "-p", format]));
        let mut answer = answer.trim_end().splitn(4, ';');
        let mut next = || answer.next().unwrap_or_default();
        let (utf8, features, term, name) = (next(), next(), next(), next());
        // Nobody looks at it, or it is too old to know.
        if term.is_empty() {
            return;
        }
        self.utf8 = utf8 == "1";
        self.few_signs = term == "linux";
        self.sextants = SEXTANTS
            .iter()
            .any(|known| term.contains(known) || name.contains(known));
        self.colours = if features.split(',').any(|feature| feature == "RGB") {
            Colours::True
        } else {
            Colours::of_term(term)
        };
    }

    /// How to draw. `cell`: the terminal says how large its cells are, which sixels need.
    pub(super) fn way(&self, cell: bool) -> Way {
        if self.colours == Colours::None {
            return Way::Mosaic(Symbols::Letters, Colours::None);
        }
        let symbols = match self.colours {
            _ if !self.utf8 => Symbols::Spaces,
            _ if self.few_signs => Symbols::Halves,
            _ if self.sextants => Symbols::Sextants,
            _ => Symbols::Quadrants,
        };
        if self.simple {
            Way::Mosaic(symbols, self.colours)
        } else if self.iterm {
            Way::Iterm
        } else if self.kitty {
            Way::Kitty
        } else if self.sixel && cell {
            Way::Sixel
        } else {
            Way::Mosaic(symbols, self.colours)
        }
    }
}

/// What a command prints, or nothing if that takes long.
fn output(command: &mut Command) -> String {
    const PATIENCE: Duration = Duration::from_secs(1);
    let begun = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = begun else {
        return String::new();
    };
    let text = read(&mut child, Instant::now() + PATIENCE).unwrap_or_default();
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
    String::from_utf8_lossy(&text).into_owned()
}

fn read(child: &mut Child, end: Instant) -> Option<Vec<u8>> {
    let stdout = child.stdout.as_mut()?;
    let (mut text, mut bytes) = (Vec::new(), [0; 1024]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let ms = u16::try_from(left.as_millis()).ok()?;
        if poll(
            &mut [PollFd::new(
                std::os::fd::AsFd::as_fd(stdout),
                PollFlags::POLLIN,
            )],
            ms,
        )
        .ok()?
            == 0
        {
            return None;
        }
        match stdout.read(&mut bytes).ok()? {
            0 => return Some(text),
            length => text.extend_from_slice(&bytes[..length]),
        }
    }
}
