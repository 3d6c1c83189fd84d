//! Help and manual pages, of all verbs alike.

use clap::Command;

use super::man;
use crate::cli;

/// Every verb that help shows, with its words such as `skim image list`.
fn verbs() -> Vec<(String, Command)> {
    let mut root = cli::command().disable_help_subcommand(true);
    root.build();
    let mut found = Vec::new();
    let mut pending = vec![("skim".to_owned(), root)];
    while let Some((words, command)) = pending.pop() {
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            pending.push((format!("{words} {}", verb.get_name()), verb.clone()));
        }
        found.push((words, command));
    }
    found
}

/// The lines beneath `Examples:`.
fn examples(words: &str, command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string);
    let help = help.unwrap_or_else(|| panic!("{words} has nothing beneath its flags"));
    let block = help.split("\n\n").next().unwrap_or_default();
    let lines = block.strip_prefix("Examples:\n");
    let lines = lines.unwrap_or_else(|| panic!("{words}: {block:?} are no examples"));
    lines.lines().map(str::to_owned).collect()
}

/// How many flags of skim an example has; those behind `--` are the app's.
fn flags(example: &str) -> usize {
    let words = example.split_whitespace().take_while(|word| *word != "--");
    words.filter(|word| word.starts_with('-')).count()
}

fn page(words: &str) -> String {
    let name = words.replace(' ', "-") + ".1";
    let pages = man::pages().unwrap();
    let (_, page) = pages
        .into_iter()
        .find(|(page, _)| *page == name)
        .unwrap_or_else(|| panic!("{name} is missing"));
    // Dashes and such are escaped.
    let page = String::from_utf8(page).unwrap();
    page.replace('\\', "").replace("*(Aq", "'")
}

#[test]
fn every_verb_shows_its_commonest_use_first() {
    for (words, command) in verbs() {
        assert!(command.get_about().is_some(), "{words} is not explained");
        let examples = examples(&words, &command);
        let begin = format!("  {words} ");
        let of_the_verb = |line: &&String| format!("{line} ").starts_with(&begin);
        assert!(
            examples.first().as_ref().is_some_and(of_the_verb),
            "{words}: {:?} is not its use",
            examples.first()
        );
        for line in &examples {
            assert!(line.starts_with("  "), "{words}: {line:?}");
            let is_command = !line.starts_with("   ");
            assert!(!is_command || line.contains("skim "), "{words}: {line:?}");
        }
        // `skim image` itself does nothing, and the flags of others are not to be compared.
        if command.get_subcommands().next().is_some() {
            continue;
        }
        let least = examples.iter().filter(of_the_verb).map(|line| flags(line));
        assert_eq!(
            Some(flags(&examples[0])),
            least.min(),
            "{words}: a plainer use comes later"
        );
    }
}

#[test]
fn examples_come_before_the_flags() {
    for (words, command) in verbs() {
        let help = command.clone().render_help().to_string();
        let at = |text: &str| help.find(text);
        let example = at("Examples:").unwrap_or_else(|| panic!("{words}: {help}"));
        let flags = ["\nOptions:", "\nCommands:", "\nArguments:"];
        let flags = flags.iter().filter_map(|heading| at(heading)).min();
        assert!(
            flags.is_none_or(|flags| example < flags),
            "{words}: flags come before the examples"
        );
    }
}

#[test]
fn every_flag_is_in_the_manual_page() {
    for (words, command) in verbs() {
        let page = page(&words);
        let options = page.split(".SH ").filter(|section| {
            let heading = section.lines().next().unwrap_or_default();
            !["NAME", "SYNOPSIS", "DESCRIPTION", "NOTES", "EXAMPLES"].contains(&heading)
        });
        let options: String = options.collect();
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            let Some(name) = flag.get_long() else {
                continue;
            };
            let heading = options.lines().any(|line| {
                let end = line.find(&format!("fB--{name}fR"));
                end.is_some() && line.starts_with("fB")
            });
            assert!(heading, "{words}: --{name} is not in the page");
        }
        for line in examples(&words, &command) {
            let line = line.replace('\\', "");
            assert!(page.contains(line.trim()), "{words}: {line}");
        }
    }
}

#[test]
fn pages_tell_what_is_asked_most() {
    for (words, said) in [
        ("skim run", "--inherit-env, the image,"),
        ("skim prepare", "skim-run(1)"),
        ("skim prepare", "fB--memoryfR"),
        ("skim run", "fB--memoryfR"),
        ("skim run", "that of the app that failed first"),
        ("skim", "254 for an error of skim's own"),
        ("skim", "exited garbage"),
        ("skim status", "exited garbage"),
        ("skim list", "exited-garbage"),
    ] {
        let page = page(words).replace('\n', " ");
        assert!(page.contains(said), "{words}: {said} in {page}");
    }
}
