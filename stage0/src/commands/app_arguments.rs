//! `IMAGE [flags] [-- args] [--- IMAGE …]`: each app's flags follow its image. Pure.

use std::ffi::OsString;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Parser};

use super::app_flags::{AppFlags, COMMON};
use crate::{cli, refused};

/// Ends one app's arguments.
const NEXT_APP: &str = "---";

/// What stands for one app on the command line.
#[derive(Clone, Debug, Default)]
pub struct AppArguments {
    /// The image.
    pub image: String,
    /// Its flags.
    pub flags: AppFlags,
    /// What stands after `--`.
    pub arguments: Vec<String>,
}

/// The words that belong to one image, and what follows them.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true)]
struct Group {
    image: String,
    #[command(flatten)]
    flags: AppFlags,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Splits the command line from the first image on into apps.
///
/// # Errors
/// Where a flag stands before an image or is none of an app's, or a value is not UTF-8.
pub fn parse(words: &[OsString]) -> Result<Vec<AppArguments>> {
    let mut apps = Vec::new();
    if words.is_empty() {
        return Ok(apps);
    }
    for group in words.split(|word| word == NEXT_APP) {
        ensure!(!group.is_empty(), "no image before or after ---");
        let end = group.iter().position(|word| word == "--");
        let (mut head, arguments) = match end {
            Some(end) => (group[..end].to_vec(), &group[end + 1..]),
            None => (group.to_vec(), &[][..]),
        };
        ensure!(!head.is_empty(), "no image before --");
        while !head.is_empty() {
            if let Some(flag) = head[0].to_str().filter(|word| word.starts_with('-')) {
                bail!("{} (see skim run --help)", out_of_place(flag));
            }
            let group = Group::try_parse_from(&head)
                .map_err(|error| anyhow!("{}", cli::one_line(&error)))
                .with_context(|| format!("image {}", head[0].display()))?;
            head.clone_from(&group.rest);
            apps.push(AppArguments {
                image: group.image,
                flags: group.flags,
                arguments: Vec::new(),
            });
        }
        if let Some(last) = apps.last_mut() {
            last.arguments = utf8(arguments)?;
        }
    }
    Ok(apps)
}

/// What is wrong with a flag that stands where an image was expected.
fn out_of_place(flag: &str) -> String {
    let name = flag.split('=').next().unwrap_or(flag);
    let has = |command: &Command| {
        let mut flags = command.get_arguments().filter_map(|flag| flag.get_long());
        name.strip_prefix("--")
            .is_some_and(|name| flags.any(|flag| flag == name))
    };
    if let Some(why) = refused::why(flag) {
        why
    } else if has(&AppFlags::augment_args(Command::new(""))) {
        format!("{name} must follow an image")
    } else if cli::command().find_subcommand("run").is_some_and(has) {
        format!("{name} must stand before the first image")
    } else {
        format!("there is no flag {name:?}")
    }
}

/// Refuses flags of an app that stand before the first image, but for [`COMMON`]. `matches` are
/// those of a verb that has [`AppFlags`].
///
/// # Errors
/// As it says; the message names the flag.
pub fn check_places(matches: &ArgMatches) -> Result<()> {
    let flags = AppFlags::augment_args(Command::new(""));
    for flag in flags.get_arguments() {
        let id = flag.get_id().as_str();
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if is_given && id == "user" {
            bail!(
                "--user=NAME must follow an image; to run a pod of your own, --user stands before \
                 the verb (skim --user run IMAGE)"
            );
        }
        if is_given && !COMMON.contains(&id) {
            bail!(
                "--{} must follow an image (see skim run --help)",
                flag.get_long().unwrap_or(id)
            );
        }
    }
    Ok(())
}

fn utf8(words: &[OsString]) -> Result<Vec<String>> {
    let text = |word: &OsString| {
        let text = word.to_str().map(str::to_string);
        text.with_context(|| {
            format!(
                "argument {} is not UTF-8, which systemd requires",
                word.display()
            )
        })
    };
    words.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<AppArguments>> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        parse(&words)
    }

    fn message(words: &[&str]) -> String {
        format!("{:#}", parsed(words).unwrap_err())
    }

    #[test]
    fn flags_and_arguments_bind_to_the_image_before_them() {
        let apps = parsed(&[
            "a.aci",
            "--name",
            "x",
            "b.aci",
            "--exec=/y",
            "--set-env",
            "A=b=c",
            "--",
            "--name",
            "z",
            "---",
            "c.aci",
            "--requires",
            "x",
            "--requires=b",
        ])
        .unwrap();
        assert_eq!(apps.len(), 3);
        assert_eq!(
            (apps[0].image.as_str(), apps[0].flags.name.as_deref()),
            ("a.aci", Some("x"))
        );
        assert_eq!(apps[1].flags.exec.as_deref(), Some("/y"));
        assert_eq!(
            apps[1].flags.set_env,
            [("A".to_string(), "b=c".to_string())]
        );
        assert_eq!(apps[1].arguments, ["--name", "z"]);
        assert_eq!(
            apps[2].flags.requires.as_deref(),
            Some(&["x".to_string(), "b".into()][..])
        );
        assert_eq!(apps[0].flags.requires, None);
    }

    #[test]
    fn an_empty_requires_means_none() {
        let apps = parsed(&["a.aci", "--requires="]).unwrap();
        assert_eq!(apps[0].flags.requires, Some(vec![String::new()]));
    }

    #[test]
    fn what_is_out_of_place_is_refused() {
        assert!(message(&["--exec", "x", "a.aci"]).starts_with("--exec must follow an image"));
        for (words, expected) in [
            (
                &["a.aci", "--detach"][..],
                "--detach must stand before the first image",
            ),
            (
                &["a.aci", "--detached=x"],
                "there is no flag \"--detached\"",
            ),
            (&["--net=host", "a.aci"], "--net cannot be used: apps share"),
            (
                &["a.aci", "--net", "host"],
                "--net cannot be used: apps share",
            ),
        ] {
            let message = message(words);
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(message(&["--", "x"]).contains("no image"));
        assert!(message(&["a.aci", "---"]).contains("no image"));
        assert!(message(&["a.aci", "--set-env", "x"]).contains("NAME=VALUE"));
        assert!(message(&["a.aci", "--property", "User=0"]).contains("skim's own"));
        assert!(message(&["a.aci", "--property", "Memory=1G"]).contains("no directive"));
        for words in [&["a.aci", "--exec"][..], &["a.aci", "--nope"]] {
            assert!(!message(words).contains('\n'));
        }
    }
}
