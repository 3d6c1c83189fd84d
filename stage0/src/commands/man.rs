//! `skim man`: the manual pages, made of the same text as `--help`. Packages are made with it.

mod pod_file;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Arguments;
use crate::pod::state::State;

/// What the first block of a help's end is called that shows examples.
const EXAMPLES: &str = "Examples:";

/// Arguments of `skim man`.
#[derive(Args, Debug)]
pub struct ManArguments {
    /// The directory for the pages, which is made if it is missing. Where it is called man1, the
    /// pages of section 5 go into man5 beside it
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Writes a page for every verb that help shows: `skim.1`, `skim-run.1`, `skim-image-list.1` …; and
/// skim.pod(5), into the directory of its section where the pages have one.
///
/// # Errors
/// Where a file cannot be written.
pub fn run(arguments: &ManArguments) -> Result<u8> {
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    for (name, page) in pages()? {
        write(&directory.join(name), &page)?;
    }
    let section = match directory.ends_with("man1") {
        true => directory.with_file_name("man5"),
        false => directory.clone(),
    };
    std::fs::create_dir_all(&section)
        .with_context(|| format!("cannot make the directory {}", section.display()))?;
    let root = Arguments::command();
    let page = pod_file::page(root.get_version().unwrap_or_default())?;
    write(&section.join(pod_file::NAME), &page)?;
    Ok(0)
}

fn write(path: &Path, page: &[u8]) -> Result<()> {
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// The names of all pages, and what stands in them.
pub(super) fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut root = Arguments::command().disable_help_subcommand(true);
    root.build();
    let version = root.get_version().unwrap_or_default().to_owned();
    let mut commands = Vec::new();
    let mut pending = vec![root];
    while let Some(command) = pending.pop() {
        let verbs = command.get_subcommands();
        pending.extend(verbs.filter(|verb| !verb.is_hide_set()).cloned());
        commands.push(command);
    }
    commands.sort_by_cached_key(page_name);
    let names: Vec<_> = commands.iter().map(page_name).collect();
    commands
        .into_iter()
        .map(|command| {
            let name = page_name(&command);
            let page = page(command, &names, &version)
                .with_context(|| format!("cannot make the page {name}"))?;
            Ok((format!("{name}.1"), page))
        })
        .collect()
}

fn page_name(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: Command, names: &[String], version: &str) -> Result<Vec<u8>> {
    let name = page_name(&command);
    let help = command.get_after_help().map(ToString::to_string);
    let has_verbs = command.get_subcommands().any(|verb| !verb.is_hide_set());
    let man = Man::new(command)
        .title(name.to_uppercase())
        // Without one the version would stand in its place; an empty one is none.
        .date(" ")
        .source(format!("skim {version}"))
        .manual("skim");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_verbs {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    let (examples, notes) = split(help.as_deref().unwrap_or_default());
    text(&mut roff, "NOTES", &notes);
    if matches!(&*name, "skim" | "skim-status" | "skim-gc") {
        states(&mut roff);
    }
    text(&mut roff, "EXIT STATUS", &[exit_status(&name)]);
    items(&mut roff, "ENVIRONMENT", environment(&name));
    items(&mut roff, "FILES", files(&name));
    verbatim(&mut roff, "EXAMPLES", examples);
    see_also(&mut roff, &name, names);
    roff.to_writer(&mut page)?;
    page.flush()?;
    Ok(tidy(&String::from_utf8(page)?).into_bytes())
}

/// A page without what mandoc(1) warns of: breaks beside empty lines, blanks at the ends of lines.
/// Pure.
fn tidy(page: &str) -> String {
    let lines: Vec<_> = page.lines().map(str::trim_end).collect();
    lines.join("\n").replace("\n.br\n\n.br\n", "\n.sp\n") + "\n"
}

/// The examples of a help's end, without their heading, and its other blocks. Pure.
fn split(help: &str) -> (&str, Vec<&str>) {
    let (examples, notes): (Vec<_>, Vec<_>) = help
        .split("\n\n")
        .filter(|block| !block.is_empty())
        .partition(|block| block.starts_with(EXAMPLES));
    let examples = examples.first().copied().unwrap_or_default();
    let examples = examples.strip_prefix(EXAMPLES).unwrap_or_default();
    (examples.trim_start_matches('\n'), notes)
}

/// A section of blocks; one with lines that stand apart keeps its lines.
fn text(roff: &mut Roff, heading: &str, blocks: &[&str]) {
    if blocks.is_empty() {
        return;
    }
    roff.control("SH", [heading]);
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        if block.lines().any(|line| line.starts_with("  ")) {
            lines(roff, block);
        } else {
            roff.text([roman(block.replace('\n', " "))]);
        }
    }
}

fn verbatim(roff: &mut Roff, heading: &str, block: &str) {
    if !block.is_empty() {
        roff.control("SH", [heading]);
        lines(roff, block);
    }
}

fn lines(roff: &mut Roff, block: &str) {
    roff.control("nf", []);
    for line in block.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn items(roff: &mut Roff, heading: &str, items: &[(&str, &str)]) {
    if items.is_empty() {
        return;
    }
    roff.control("SH", [heading]);
    for (name, meaning) in items {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

/// What a pod may be in, as `skim list --state` has it.
fn states(roff: &mut Roff) {
    let states = State::value_variants().iter().filter_map(|state| {
        let meaning = state.to_possible_value()?.get_help()?.to_string();
        Some((state.to_string(), meaning + "."))
    });
    let states: Vec<_> = states.collect();
    let states: Vec<_> = states
        .iter()
        .map(|(name, meaning)| (name.as_str(), meaning.as_str()))
        .collect();
    items(roff, "STATES OF A POD", &states);
}

fn exit_status(name: &str) -> &'static str {
    match name {
        "skim" => {
            "0 where all went well; 254 for an error of skim's own; 2 where no verb is given."
        }
        "skim-run" | "skim-run-prepared" => {
            "The pod's: that of the app that failed first, 0 where none did; 254 for an error of skim's own. With --detach 0 once every app is up."
        }
        "skim-enter" => "That of the command; 254 for an error of skim's own.",
        "skim-logs" => "That of journalctl(1); 254 for an error of skim's own.",
        "skim-status" => {
            "0 where all went well; 254 where a pod was not found, or was waited for in vain."
        }
        "skim-update" | "skim-rollback" => {
            "0 where all went well; 1 where the new version did not come up and the one before runs again; 3 where that does not come up, either; 254 for any other error."
        }
        _ => "0 where all went well; 254 where anything failed. What can be done is done.",
    }
}

fn environment(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "skim" => &[
            (
                "SKIM_STAGE1",
                "The stage1 to use, where --stage1-path is not given.",
            ),
            (
                "REGISTRY_AUTH_FILE",
                "The one file with credentials for registries, as podman has it.",
            ),
            (
                "XDG_RUNTIME_DIR, XDG_CONFIG_HOME, DOCKER_CONFIG",
                "Where else such files are looked for: containers/auth.json in the first two, config.json in the third.",
            ),
            (
                "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
                "How registries and web servers are reached.",
            ),
        ],
        _ => &[],
    }
}

/// The files that say which images are trusted.
const TRUST: [(&str, &str); 2] = [
    (
        "/etc/skim/trustedkeys/, /usr/lib/skim/trustedkeys/",
        "The keys that images may be signed by: root.d/FINGERPRINT, prefix.d/PREFIX/FINGERPRINT.",
    ),
    (
        "/etc/skim/policy.d/*.json, /usr/lib/skim/policy.d/*.json",
        "What images must have to be accepted.",
    ),
];

fn files(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "skim" | "skim-config" => {
            const {
                &[
                    ("/var/lib/skim/", "Images and pods (--dir)."),
                    (
                        "/etc/skim/NAME.skim, /run/skim/NAME.skim, /usr/lib/skim/NAME.skim",
                        "Pod files: see skim.pod(5).",
                    ),
                    (
                        "/run/systemd/system/skim-*",
                        "The units of pods, as long as their directories are not taken away.",
                    ),
                    (
                        "/usr/libexec/skim/stage1-skim",
                        "What turns pods into units.",
                    ),
                    TRUST[0],
                    TRUST[1],
                    (
                        "/run/containers/0/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json",
                        "Credentials for registries, as podman login and docker login leave them.",
                    ),
                ]
            }
        }
        "skim-trust" | "skim-trust-list" | "skim-trust-remove" => &TRUST,
        _ => &[],
    }
}

/// The page above, those beneath, and the manuals of systemd.
fn see_also(roff: &mut Roff, name: &str, names: &[String]) {
    let mut pages: Vec<_> = related(name, names)
        .iter()
        .map(|page| format!("{page}(1)"))
        .collect();
    pages.extend(["systemctl(1)", "journalctl(1)", "systemd.exec(5)"].map(str::to_owned));
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(pages.join(", "))]);
}

/// The verbs that share their flags and what is to be known of them.
const MAKERS: [&str; 3] = ["skim-prepare", "skim-run", "skim-run-prepared"];

/// The pages that have to do with one: the topmost, the next one above it, those just beneath.
/// Pure.
fn related<'a>(name: &str, names: &'a [String]) -> Vec<&'a str> {
    let is_beneath = |page: &str, other: &str| {
        let rest = page.strip_prefix(other);
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    // `run-prepared` is beneath `run` by its name only.
    let above = |page: &str| -> Option<&'a str> {
        let above = names.iter().filter(|other| is_beneath(page, other));
        let verbs = above.filter(|other| *other != "skim-run");
        verbs.max_by_key(|other| other.len()).map(String::as_str)
    };
    let is_related = |page: &&str| {
        *page != name
            && (*page == "skim"
                || above(name) == Some(*page)
                || above(page) == Some(name)
                || (MAKERS.contains(&name) && MAKERS.contains(page)))
    };
    names
        .iter()
        .map(String::as_str)
        .filter(is_related)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &[u8]) -> String {
        String::from_utf8(page.to_vec()).unwrap()
    }

    #[test]
    fn every_verb_has_a_page_with_its_examples_and_no_hidden_one_has() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in [
            "skim.1",
            "skim-run.1",
            "skim-image.1",
            "skim-image-list.1",
            "skim-trust-remove.1",
            "skim-cat-manifest.1",
        ] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        for name in ["skim-man.1", "skim-attach.1", "skim-app.1", "skim-help.1"] {
            assert!(!names.contains(&name), "{name}");
        }
        for (name, page) in &pages {
            let page = text(page);
            for section in [
                "NAME",
                "SYNOPSIS",
                "OPTIONS",
                "\"EXIT STATUS\"",
                "EXAMPLES",
                "\"SEE ALSO\"",
            ] {
                let heading = format!(".SH {section}\n");
                assert_eq!(page.matches(&heading).count(), 1, "{name}: {section}");
            }
            assert!(page.contains("\\-\\-dir"), "{name} lacks the global flags");
        }
    }

    #[test]
    fn examples_are_parted_from_the_rest() {
        let help = "Examples:\n  a\n  b\n\nOne\ntwo.\n\nFlags:\n  -x";
        assert_eq!(split(help), ("  a\n  b", vec!["One\ntwo.", "Flags:\n  -x"]));
        assert_eq!(split(""), ("", vec![]));
    }

    #[test]
    fn pages_know_those_above_and_beneath() {
        let names = [
            "skim",
            "skim-image",
            "skim-image-cat-manifest",
            "skim-image-list",
            "skim-run",
            "skim-run-prepared",
        ]
        .map(str::to_owned);
        for (name, expected) in [
            ("skim", vec!["skim-image", "skim-run", "skim-run-prepared"]),
            (
                "skim-image",
                vec!["skim", "skim-image-cat-manifest", "skim-image-list"],
            ),
            ("skim-image-cat-manifest", vec!["skim", "skim-image"]),
            ("skim-run-prepared", vec!["skim", "skim-run"]),
        ] {
            assert_eq!(related(name, &names), expected, "{name}");
        }
    }
}
