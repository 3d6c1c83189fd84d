//! `IMAGE [flags] [-- args] [--- IMAGE …]`: each app's flags follow its image. Pure.

use std::ffi::OsString;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Parser;
use stage1_skim::unit::Setting;

use crate::cli;

/// Ends one app's arguments.
const NEXT_APP: &str = "---";

/// What stands for one app on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppArguments {
    /// The image.
    pub image: String,
    /// `--name`.
    pub name: Option<String>,
    /// `--exec`.
    pub exec: Option<String>,
    /// `--set-env`, in their order.
    pub environment: Vec<(String, String)>,
    /// `--requires`.
    pub requires: Option<Vec<String>>,
    /// `--property`.
    pub settings: Vec<Setting>,
    /// What stands after `--`.
    pub arguments: Vec<String>,
}

/// The flags of one app.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true)]
struct AppFlags {
    image: String,
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    exec: Option<String>,
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    set_env: Vec<(String, String)>,
    #[arg(long, value_name = "APP")]
    requires: Option<Vec<String>>,
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = property)]
    property: Vec<Setting>,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Splits the command line from the first image on into apps.
///
/// # Errors
/// Where a flag stands before an image or is none of an app's, or a value is not UTF-8.
pub fn parse(words: &[OsString]) -> Result<Vec<AppArguments>> {
    let mut apps = Vec::new();
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
                bail!("{flag} must follow an image (see skim run --help)");
            }
            let flags = AppFlags::try_parse_from(&head)
                .map_err(|error| anyhow!("{}", cli::one_line(&error)))
                .with_context(|| format!("image {}", head[0].display()))?;
            head.clone_from(&flags.rest);
            apps.push(flags.into_arguments());
        }
        if let Some(last) = apps.last_mut() {
            last.arguments = utf8(arguments)?;
        }
    }
    Ok(apps)
}

impl AppFlags {
    fn into_arguments(self) -> AppArguments {
        let list = |names: Vec<String>| {
            let names = names.iter().flat_map(|names| names.split([' ', ',']));
            names
                .filter(|name| !name.is_empty())
                .map(str::to_string)
                .collect()
        };
        AppArguments {
            image: self.image,
            name: self.name,
            exec: self.exec,
            environment: self.set_env,
            requires: self.requires.map(list),
            settings: self.property,
            arguments: Vec::new(),
        }
    }
}

fn utf8(words: &[OsString]) -> Result<Vec<String>> {
    let text = |word: &OsString| {
        let word = word.to_str().map(str::to_string);
        word.with_context(|| {
            format!(
                "argument {} is not UTF-8, which systemd requires",
                words[0].display()
            )
        })
    };
    words.iter().map(text).collect()
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
    stage1_skim::escape::environment(name, value).map_err(|error| error.to_string())?;
    Ok((name.to_string(), value.to_string()))
}

fn property(text: &str) -> Result<Setting, String> {
    Setting::parse(text).map_err(|error| format!("{error:#}"))
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
            (apps[0].image.as_str(), apps[0].name.as_deref()),
            ("a.aci", Some("x"))
        );
        assert_eq!(apps[1].exec.as_deref(), Some("/y"));
        assert_eq!(apps[1].environment, [("A".to_string(), "b=c".to_string())]);
        assert_eq!(apps[1].arguments, ["--name", "z"]);
        assert_eq!(
            apps[2].requires.as_deref(),
            Some(&["x".to_string(), "b".into()][..])
        );
        assert_eq!(apps[0].requires, None);
    }

    #[test]
    fn an_empty_requires_means_none() {
        let apps = parsed(&["a.aci", "--requires="]).unwrap();
        assert_eq!(apps[0].requires, Some(vec![]));
    }

    #[test]
    fn what_is_out_of_place_is_refused() {
        assert!(message(&["--exec", "x", "a.aci"]).starts_with("--exec must follow an image"));
        assert!(message(&["a.aci", "--detach"]).contains("--detach"));
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
