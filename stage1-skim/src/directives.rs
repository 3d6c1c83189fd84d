//! Which directives skim knows, which section each belongs to, and which are skim's own.
//!
//! systemd passes over a directive that it does not know with no more than a line in the
//! journal; skim refuses it, so that a misspelt `--property` is seen at once. The tables hold
//! what `systemd --dump-configuration-items` of systemd 252 and 257 prints.

use std::fmt;

use crate::unit::Section;

const UNIT: &str = include_str!("directives/unit.txt");
const SERVICE: &str = include_str!("directives/service.txt");
const SLICE: &str = include_str!("directives/slice.txt");
const SOCKET: &str = include_str!("directives/socket.txt");
const INSTALL: &str = include_str!("directives/install.txt");

/// Directives that make an app part of its pod. Were an image or a user to set them, the app
/// would run something else, as somebody else, or outlive its pod.
const OWN: &[(&str, &str)] = &[
    ("BindsTo", "it ties the app to its pod"),
    ("CollectMode", "it lets the unit go when the pod has ended"),
    ("DynamicUser", "the app runs as the image's user"),
    ("ExecStart", "use --exec and the arguments after --"),
    ("Group", "the app runs as the image's group"),
    ("RefuseManualStart", "skim starts the app with its pod"),
    ("RefuseManualStop", "skim stops the app with its pod"),
    ("Slice", "it ties the app to its pod"),
    ("StopWhenUnneeded", "it ends the app with its pod"),
    ("SupplementaryGroups", "the app has the image's groups"),
    ("User", "the app runs as the image's user"),
];

/// The directives of a section of unit files, in the order of the alphabet. `[Install]` is that of
/// systemd.unit(5).
pub fn known(section: &str) -> impl Iterator<Item = &'static str> {
    let table = match section {
        "Unit" => UNIT,
        "Service" => SERVICE,
        "Slice" => SLICE,
        "Socket" => SOCKET,
        "Install" => INSTALL,
        _ => "",
    };
    table.lines()
}

/// Why a directive was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No systemd that skim knows has such a directive for a service.
    Unknown(String),
    /// The directive is skim's own to set; the text says why or what to use.
    Own(String, &'static str),
    /// The directive stands in the wrong section.
    WrongSection(String, Section),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(key) => write!(
                f,
                "{}= is no directive of a systemd service (see systemd.directives(7))",
                key.escape_debug()
            ),
            Self::Own(key, why) => write!(f, "{key}= is skim's own to set: {why}"),
            Self::WrongSection(key, section) => {
                write!(f, "{key}= belongs in the section [{section}]")
            }
        }
    }
}

impl std::error::Error for Refused {}

/// The section of a service's unit file that `key` belongs to.
///
/// # Errors
/// [`Refused::Unknown`] and [`Refused::Own`]. Keys that begin with `X-` are left to their users
/// by systemd.unit(5) and belong to `[Service]` here.
pub fn section_of(key: &str) -> Result<Section, Refused> {
    if let Some((_, why)) = OWN.iter().find(|(own, _)| *own == key) {
        return Err(Refused::Own(key.to_string(), why));
    }
    // RootDirectory=, RootImage=, RootHash= and all that goes with them.
    if key.starts_with("Root") {
        return Err(Refused::Own(
            key.to_string(),
            "an app of skim sees the host's root, or its image's with --root=image",
        ));
    }
    if is_private(key) || SERVICE.lines().any(|known| known == key) {
        Ok(Section::Service)
    } else if UNIT.lines().any(|known| known == key) {
        Ok(Section::Unit)
    } else {
        Err(Refused::Unknown(key.to_string()))
    }
}

/// Whether a key is one that systemd leaves to others: `X-…`.
pub fn is_private(key: &str) -> bool {
    key.strip_prefix("X-").is_some_and(|name| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !name.is_empty() && name.bytes().all(plain)
    })
}

/// Checks a directive that stands in a section already.
///
/// # Errors
/// As [`section_of`], and [`Refused::WrongSection`].
pub fn check(section: Section, key: &str) -> Result<(), Refused> {
    match section_of(key)? {
        right if right != section && !is_private(key) => {
            Err(Refused::WrongSection(key.to_string(), right))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_section() {
        assert_eq!(section_of("LimitNOFILE"), Ok(Section::Service));
        assert_eq!(section_of("MemoryMax"), Ok(Section::Service));
        assert_eq!(section_of("After"), Ok(Section::Unit));
        assert_eq!(section_of("X-Mine"), Ok(Section::Service));
        assert_eq!(check(Section::Unit, "X-Mine"), Ok(()));
    }

    #[test]
    fn refuses_unknown_own_and_misplaced_ones() {
        assert_eq!(
            section_of("MemoryMaxx"),
            Err(Refused::Unknown("MemoryMaxx".into()))
        );
        for key in ["X-", "X-\u{1b}[2J", "X-a b", "A\nB"] {
            let refused = section_of(key).unwrap_err();
            assert_eq!(refused, Refused::Unknown(key.into()));
            assert!(!refused.to_string().contains(char::is_control), "{refused}");
        }
        for key in ["ExecStart", "User", "Slice", "BindsTo", "RootDirectory"] {
            assert!(matches!(section_of(key), Err(Refused::Own(..))), "{key}");
        }
        assert_eq!(
            check(Section::Unit, "Type"),
            Err(Refused::WrongSection("Type".into(), Section::Service))
        );
    }

    #[test]
    fn tables_are_sorted_and_hold_what_is_refused() {
        for table in [UNIT, SERVICE, SLICE, SOCKET, INSTALL] {
            assert!(table.lines().is_sorted());
        }
        for (own, _) in OWN {
            let known = |table: &str| table.lines().any(|line| line == *own);
            assert!(known(UNIT) || known(SERVICE), "{own}");
        }
    }
}
