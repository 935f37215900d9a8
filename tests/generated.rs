//! The completions and man pages in `assets/`, made from the definitions of the arguments.
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

/// Compares a file in `assets/` with the text that it must have. With RENEW set, writes it first.
fn check(file: &str, expected: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets")
        .join(file);
    if std::env::var_os("RENEW").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let current = fs::read(&path).is_ok_and(|found| found == expected);
    assert!(
        current,
        "assets/{file} is not up to date: renew it with RENEW=1 cargo test --test generated"
    );
}

/// The parts of a manual page that the definitions of the arguments do not have.
struct Page {
    environment: &'static [(&'static str, &'static str)],
    keys: Vec<&'static str>,
    see_also: &'static str,
}

const EXITS: [(&str, &str); 3] = [
    (
        "0",
        "It did what it was told. A signal, a source that ends and a window that is closed count.",
    ),
    ("1", "An error, whose reason is on stderr."),
    ("2", "Wrong arguments."),
];

/// Variables of both commands.
const COMPLETE: (&str, &str) = (
    "COMPLETE",
    "The name of a shell: prints what that shell needs to complete names and flags.",
);
const DISPLAY: (&str, &str) = (
    "DISPLAY",
    "The X11 display for windows. Wayland alone is not supported; Xwayland is.",
);
const QT: (&str, &str) = (
    "QT_QPA_PLATFORM",
    "offscreen or minimal: there is no display, whatever DISPLAY says.",
);
const TERM: (&str, &str) = ("TERM", "The terminal. With dumb there is no status line.");
const NO_COLOR: (&str, &str) = ("NO_COLOR", "If it is not empty, nothing is coloured.");
const COLORTERM: (&str, &str) = (
    "COLORTERM",
    "truecolor or 24bit: the terminal has all colours. Else it is asked.",
);

/// The man page of a command. Its examples keep their line breaks.
fn page(mut command: Command, parts: &Page) -> io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string);
    command = command.after_help(None::<&str>);
    let synopsis = synopsis(&command);
    let page = Man::new(command);
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    synopsis.to_writer(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let mut rest = Roff::new();
    if !parts.keys.is_empty() {
        rest.control("SH", ["KEYS"]);
        rest.text([roman("In a window and in the terminal:")]);
        rest.control("nf", []);
        for line in &parts.keys {
            rest.text([roman(*line)]);
        }
        rest.control("fi", []);
    }
    listed(&mut rest, "EXIT STATUS", &EXITS);
    listed(&mut rest, "ENVIRONMENT", parts.environment);
    if let Some(examples) = examples {
        let examples = examples.trim_start_matches("Examples:\n");
        rest.control("SH", ["EXAMPLES"])
            .control("nf", [])
            .text([roman(examples)])
            .control("fi", []);
    }
    rest.control("SH", ["SEE ALSO"])
        .text([roman(parts.see_also)]);
    rest.to_writer(&mut text)?;
    page.render_version_section(&mut text)?;
    Ok(text)
}

fn listed(page: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    page.control("SH", [heading]);
    for (name, meaning) in entries {
        page.control("TP", []);
        page.text([bold(*name)]);
        page.text([roman(*meaning)]);
    }
}

/// The flags with their values: `clap_mangen` leaves the values out.
fn synopsis(command: &Command) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    let mut line = vec![bold(command.get_name().to_owned())];
    for arg in command.get_opts().chain(command.get_positionals()) {
        let flag = match (arg.get_short(), arg.get_long()) {
            (Some(short), _) => format!("-{short}"),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => String::new(),
        };
        line.extend([roman(" ["), bold(flag.clone())]);
        let value = arg.get_value_names().map(|names| names.join(" "));
        if let Some(value) = value.filter(|_| arg.get_action().takes_values()) {
            let gap = if flag.is_empty() { "" } else { " " };
            line.extend([roman(gap), italic(value)]);
        }
        line.push(roman("]"));
    }
    page.text(line);
    page
}

#[test]
fn completions_and_man_pages_are_up_to_date() {
    let send = Page {
        environment: &[DISPLAY, QT, TERM, NO_COLOR, COMPLETE],
        keys: Vec::new(),
        see_also: "shm-recv(1), shm_overview(7), ffmpeg(1)",
    };
    let recv = Page {
        environment: &[DISPLAY, QT, TERM, COLORTERM, NO_COLOR, COMPLETE],
        keys: shm_frame_cli::recv::KEYS.to_vec(),
        see_also: "shm-send(1), shm_overview(7), ffplay(1)",
    };
    for (name, command, parts) in [
        ("shm-send", shm_frame_cli::send::command(), send),
        ("shm-recv", shm_frame_cli::recv::command(), recv),
    ] {
        let shells: [(&dyn EnvCompleter, String); 3] = [
            (&Bash, format!("{name}.bash")),
            (&Fish, format!("{name}.fish")),
            (&Zsh, format!("_{name}")),
        ];
        for (shell, file) in shells {
            let mut script = Vec::new();
            let written = shell.write_registration("COMPLETE", name, name, name, &mut script);
            written.unwrap();
            check(&format!("completions/{file}"), &script);
        }
        let page = page(command.name(name), &parts).unwrap();
        check(&format!("man/{name}.1"), &page);
    }
}
