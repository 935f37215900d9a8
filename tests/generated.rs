//! The completions and man pages in `assets/`, made from the definitions of the arguments.
use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

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

/// The man page of a command. Its examples keep their line breaks.
fn page(mut command: Command) -> io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string);
    command = command.after_help(None::<&str>);
    let page = Man::new(command);
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if let Some(examples) = examples {
        let examples = examples.trim_start_matches("Examples:\n");
        Roff::new()
            .control("SH", ["EXAMPLES"])
            .control("nf", [])
            .text([roman(examples)])
            .control("fi", [])
            .to_writer(&mut text)?;
    }
    page.render_version_section(&mut text)?;
    Ok(text)
}

#[test]
fn completions_and_man_pages_are_up_to_date() {
    for (name, command) in [
        ("shm-send", shm_frame_cli::send::command()),
        ("shm-recv", shm_frame_cli::recv::command()),
    ] {
        let command = command.name(name);
        for (shell, file) in [
            (Shell::Bash, format!("{name}.bash")),
            (Shell::Fish, format!("{name}.fish")),
            (Shell::Zsh, format!("_{name}")),
        ] {
            let mut script = Vec::new();
            generate(shell, &mut command.clone(), name, &mut script);
            check(&format!("completions/{file}"), &script);
        }
        check(&format!("man/{name}.1"), &page(command).unwrap());
    }
}
