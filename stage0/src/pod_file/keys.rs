//! Which keys the sections of a pod file have, and what is said of others. Pure.

use std::sync::LazyLock;

use clap::{ArgAction, Args, Command};
use stage1_skim::directives::{self, Refused};

use crate::commands::app_flags::AppFlags;

/// How the value of a key is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One word.
    Single,
    /// `yes` or `no`.
    Boolean,
    /// Words, each a value.
    List,
    /// Words, which are one value together.
    Joined,
}

/// A key of `[App]` that stands for a flag of an app.
#[derive(Clone, Debug)]
pub struct FlagKey {
    /// The key.
    pub key: String,
    /// The flag, without its dashes.
    pub flag: String,
    /// How its value is read.
    pub kind: Kind,
    /// What the value is called in the help.
    pub value: String,
    /// What the help says of it.
    pub help: String,
}

/// Flags of an app whose key is not the flag's name in systemd's spelling.
const RENAMED: &[(&str, &str)] = &[
    ("set-env-file", "EnvironmentFile"),
    ("supplementary-gids", "SupplementaryGroups"),
    ("working-dir", "WorkingDirectory"),
];

/// Flags of an app that no key stands for, and why.
pub const WITHOUT_KEY: &[(&str, &str)] = &[
    ("exec", "Exec= is the program with its arguments"),
    ("inherit-env", "a service has no caller"),
    ("name", "the section's heading has it"),
    ("property", "directives stand for themselves"),
    ("set-env", "Environment= of [App] wins over that of [Pod]"),
];

/// The keys of `[App]` beside those of flags: what their values are, what they mean.
pub const APP: &[(&str, &str, &str)] = &[
    (
        "Image",
        "IMAGE",
        "The image: docker://…, an absolute path, a name or an ID in the store. Each app has one",
    ),
    (
        "Exec",
        "PROGRAM ARGUMENT…",
        "Run this instead of the image's command line",
    ),
    ("Arguments", "ARGUMENT…", "Append these to the command line"),
    (
        "Socket",
        "ADDRESS…",
        "Have systemd listen here and pass the sockets to the app: a port, IP:PORT, /PATH (ListenStream=). Other directives of systemd.socket(5), such as SocketMode=, stand beside it",
    ),
];

/// The keys of `[Pod]`: what their values are, what they mean.
pub const POD: &[(&str, &str, &str)] = &[
    ("Volume", "VOLUME…", "Volumes of the pod, as --volume"),
    (
        "Mount",
        "MOUNT…",
        "Mounts in the rootfs of every app, as --mount",
    ),
    ("Environment", "NAME=VALUE…", "Variables of every app"),
    (
        "EnvironmentFile",
        "/FILE…",
        "Files of variables of every app",
    ),
    ("Annotation", "NAME=VALUE…", "Annotations of the pod"),
    (
        "InsecureOptions",
        "OPTION…",
        "What to do without when images are fetched, as --insecure-options",
    ),
    (
        "MaxImageSize",
        "BYTES",
        "Refuse images that are larger when uncompressed [default: 64G]",
    ),
    ("MaxImageEntries", "N", "Refuse images with more files"),
    (
        "Generate",
        "BOOL",
        "Whether NAME.service is made of this file; no where another unit runs it, such as skim-pod@NAME.service [default: yes]",
    ),
    (
        "AutoUpdate",
        "BOOL",
        "Whether skim-update.timer updates the pod [default: no]",
    ),
    (
        "KeepVersions",
        "N",
        "How many versions are kept for skim rollback, the current one among them, 1 to 100 [default: 3]",
    ),
    (
        "UpdateTimeoutSec",
        "SPAN",
        "How long an updated pod may take to be ready before the version before it is taken again; infinity is no bound [default: 90s]",
    ),
    (
        "UpdateSettleSec",
        "SPAN",
        "How long an updated pod must then run [default: 5s]",
    ),
];

static FLAGS: LazyLock<Vec<FlagKey>> = LazyLock::new(flag_keys);

/// The keys of `[App]` that stand for flags.
pub fn flags() -> &'static [FlagKey] {
    &FLAGS
}

fn flag_keys() -> Vec<FlagKey> {
    let mut command = AppFlags::augment_args(Command::new(""));
    command.build();
    let flags = command.get_arguments().filter_map(|flag| {
        let name = flag.get_long()?;
        let own = ["help", "version"].contains(&name);
        if own || WITHOUT_KEY.iter().any(|(without, _)| *without == name) {
            return None;
        }
        let value = flag.get_value_names().and_then(|names| names.first());
        let value = value.map(ToString::to_string).unwrap_or_default();
        let kind = if value.ends_with(",…") {
            Kind::Joined
        } else if value == "BOOL" {
            Kind::Boolean
        } else if matches!(flag.get_action(), ArgAction::Append) {
            Kind::List
        } else {
            Kind::Single
        };
        let help = flag.get_help().map(ToString::to_string);
        Some(FlagKey {
            key: key_of(name),
            flag: name.to_string(),
            kind,
            value,
            help: help.unwrap_or_default(),
        })
    });
    flags.collect()
}

fn key_of(flag: &str) -> String {
    if let Some((_, key)) = RENAMED.iter().find(|(renamed, _)| *renamed == flag) {
        return (*key).to_string();
    }
    let words = flag.split('-').map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        format!("{}{rest}", first.to_uppercase())
    });
    words.collect()
}

/// A message that speaks of flags, in the terms of a pod file.
pub fn in_terms_of_a_file(message: &str) -> String {
    if message.contains("use --exec and the arguments after --") {
        return message.replace(
            "use --exec and the arguments after --",
            "use Exec= and Arguments=",
        );
    }
    let mut keys: Vec<_> = flags().iter().collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.flag.len()));
    keys.iter().fold(message.to_string(), |message, key| {
        let flag = format!("--{}", key.flag);
        let own = format!("{}=", key.key);
        message
            .replace(&format!("{flag}="), &own)
            .replace(&flag, &own)
    })
}

/// What is said of a section that a pod file does not have.
pub fn unknown_section(heading: &str) -> String {
    const SECTIONS: [&str; 6] = ["Pod", "App NAME", "Slice", "Unit", "Service", "Install"];
    let shown = heading.escape_debug();
    let hint = match heading {
        "Container" => "an app of a pod stands in [App NAME]".to_string(),
        "Socket" => "what systemd listens on for an app stands in its [App NAME]".to_string(),
        _ => match nearest(heading, SECTIONS.into_iter()) {
            Some(near) => format!("did you mean [{near}]?"),
            None => {
                "there are [Pod], [App NAME], [Slice], [Unit], [Service], [Install]".to_string()
            }
        },
    };
    format!("[{shown}] is no section of a pod file: {hint}")
}

/// What is said of a key that `[App]` does not have.
pub fn unknown_in_app(key: &str) -> String {
    if let Some((_, why)) = WITHOUT_KEY.iter().find(|(flag, _)| key_of(flag) == key) {
        return format!("there is no such key: {why}");
    }
    let own = APP.iter().map(|(key, ..)| *key);
    let flags = flags().iter().map(|key| key.key.as_str());
    let directives = ["Service", "Unit", "Socket"]
        .into_iter()
        .flat_map(directives::known);
    unknown(
        "neither a key of [App] nor a directive of a service of systemd",
        nearest(key, own.chain(flags).chain(directives)),
    )
}

/// What is said of a key that `[Pod]` does not have.
pub fn unknown_in_pod(key: &str) -> String {
    let what = "no key of [Pod]";
    if ["Image", "Exec", "Arguments"].contains(&key) {
        return format!("it is {what}: it belongs to an app, in [App NAME]");
    }
    unknown(what, nearest(key, POD.iter().map(|(key, ..)| *key)))
}

/// What is said of a key that is no directive of systemd's in `section`.
pub fn unknown_directive(section: &str, key: &str) -> String {
    let what = format!("no directive of [{section}] (see systemd.directives(7))");
    unknown(&what, nearest(key, directives::known(section)))
}

/// What is said of a directive that an app's service cannot have.
pub fn refused_in_app(key: &str, refused: &Refused) -> String {
    match refused {
        Refused::Unknown(_) => unknown_in_app(key),
        Refused::Own(_, why) => format!("it is skim's own to set: {}", in_terms_of_a_file(why)),
        Refused::WrongSection(_, section) => format!("it belongs in the section [{section}]"),
    }
}

fn unknown(what: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("it is {what}; did you mean {near}=?"),
        None => format!("it is {what}"),
    }
}

/// The candidate that is most like `word`, if one is like it.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no misspelling of any key, and take long to compare.
    const WORD_MAX: usize = 64;
    if word.len() > WORD_MAX {
        return None;
    }
    let lower = word.to_lowercase();
    let distances = candidates.map(|candidate| {
        let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
        (distance, candidate)
    });
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.len() / 3).max(1)).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_an_app_has_a_key_or_a_reason() {
        let command = AppFlags::augment_args(Command::new(""));
        let longs: Vec<_> = command
            .get_arguments()
            .filter_map(|flag| flag.get_long())
            .collect();
        for flag in &longs {
            let has_key = flags().iter().any(|key| key.flag == *flag);
            let has_reason = WITHOUT_KEY.iter().any(|(without, _)| without == flag);
            assert!(has_key != has_reason, "--{flag}");
        }
        for (flag, _) in RENAMED.iter().chain(WITHOUT_KEY) {
            assert!(longs.contains(flag), "--{flag} is no flag any more");
        }
        let mut keys: Vec<_> = flags().iter().map(|key| key.key.as_str()).collect();
        keys.extend(APP.iter().map(|(key, ..)| *key));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "a key stands for two things: {keys:?}");
    }

    #[test]
    fn keys_are_spelt_as_systemd_spells_them() {
        let kind = |key: &str| {
            flags()
                .iter()
                .find(|known| known.key == key)
                .map(|k| k.kind)
        };
        for (key, expected) in [
            ("Environment", Kind::List),
            ("EnvironmentFile", Kind::List),
            ("Memory", Kind::Single),
            ("ReadonlyRootfs", Kind::Boolean),
            ("NoNewPrivileges", Kind::Boolean),
            ("Requires", Kind::Joined),
            ("CapsRetain", Kind::Joined),
            ("SupplementaryGroups", Kind::Joined),
            ("WorkingDirectory", Kind::Single),
            ("Volume", Kind::List),
            ("Restart", Kind::Single),
        ] {
            assert_eq!(kind(key), Some(expected), "{key}");
        }
    }

    #[test]
    fn the_nearest_key_is_suggested() {
        assert!(unknown_in_app("Imgae").contains("did you mean Image=?"));
        assert!(unknown_in_app("memory").contains("did you mean Memory=?"));
        assert!(unknown_in_app("LimitNoFiles").contains("did you mean LimitNOFILE=?"));
        assert!(!unknown_in_app("Zzzzzzzzzz").contains("did you mean"));
        assert!(!unknown_in_app(&"I".repeat(100_000)).contains("did you mean"));
        assert!(unknown_in_app("SetEnv").contains("Environment= of [App]"));
        assert!(unknown_in_pod("Volumes").contains("did you mean Volume=?"));
        assert!(unknown_section("Pods").contains("did you mean [Pod]?"));
        assert!(unknown_section("Container").contains("[App NAME]"));
        let text = in_terms_of_a_file("or its image's with --root=image");
        assert_eq!(text, "or its image's with Root=image");
    }
}
