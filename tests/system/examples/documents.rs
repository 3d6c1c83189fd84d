//! The examples that the documents show.

use std::collections::BTreeSet;

use skim::cli;

const README: &str = include_str!("../../../README.md");

/// What README's commands for an ordinary user begin with; the others have a prompt.
const PROGRAMS: [&str; 3] = ["cargo ", "sudo ", "umoci "];

/// Every command that help (and so the manual pages) and README show.
pub(super) fn examples() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![cli::command()];
    while let Some(command) = pending.pop() {
        let verbs = command.get_subcommands();
        pending.extend(verbs.filter(|verb| !verb.is_hide_set()).cloned());
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let lines = help.lines().skip_while(|line| *line != "Examples:");
        let lines = lines.skip(1).take_while(|line| !line.is_empty());
        found.extend(commands(lines, in_help));
    }
    found.extend(commands(README.lines(), in_readme));
    found
}

/// The command that begins in a line of help: after two blanks. What stands further right goes on
/// with the line before it, as a command or as what is said of it.
fn in_help(line: &str) -> Option<&str> {
    let command = line.strip_prefix("  ")?;
    (!command.starts_with(' ')).then_some(command)
}

/// The command that begins in a line of README: in a block of code, after a prompt, or where the
/// first word is a program's name.
fn in_readme(line: &str) -> Option<&str> {
    let code = line.strip_prefix("    ")?;
    let command = code.strip_prefix("# ").or_else(|| code.strip_prefix("$ "));
    let is_program = PROGRAMS.iter().any(|program| code.starts_with(program));
    command.or(is_program.then_some(code))
}

/// The commands in some lines: a line that ends in a backslash goes on in the next one.
fn commands<'a>(
    lines: impl Iterator<Item = &'a str>,
    begin: fn(&str) -> Option<&str>,
) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let text = if goes_on { Some(line) } else { begin(line) };
        let Some(text) = text.map(|text| without_comment(text.trim())) else {
            continue;
        };
        let part = text.strip_suffix('\\').unwrap_or(text);
        match found.last_mut().filter(|_| goes_on) {
            Some(command) => *command = format!("{command} {}", part.trim()),
            None => found.push(part.trim().to_owned()),
        }
        goes_on = part.len() < text.len();
    }
    found
}

/// A line without what is said of it: what follows two blanks, unless they are within quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if line[at..].starts_with("  ") => return &line[..at],
            _ => (),
        }
    }
    line
}

#[test]
fn examples_are_found_in_the_documents() {
    let help = "  skim a 'b  c' d  what it does\n  skim e \\\n      --f {g}   what\n                it does";
    assert_eq!(
        commands(help.lines(), in_help),
        ["skim a 'b  c' d", "skim e --f {g}"]
    );
    let readme =
        "# Heading\n\n    # skim a    b\n    output\n    $ gpg c\n    sudo d  # e\n  # f\n\n    g";
    assert_eq!(
        commands(readme.lines(), in_readme),
        ["skim a", "gpg c", "sudo d"]
    );
}
