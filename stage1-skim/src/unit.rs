//! Unit text as data: a unit is a list of settings, parsed and serialised in one place.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::directives;
use crate::escape;
use crate::unit_file;

/// A section of a unit file that skim writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Section {
    /// `[Unit]`, systemd.unit(5).
    Unit,
    /// `[Service]`, systemd.service(5) and what it includes.
    Service,
    /// `[Slice]`, systemd.slice(5) and what it includes.
    Slice,
    /// `[Socket]`, systemd.socket(5) and what it includes.
    Socket,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unit => "Unit",
            Self::Service => "Service",
            Self::Slice => "Slice",
            Self::Socket => "Socket",
        })
    }
}

/// One assignment in a unit file.
///
/// `value` is unit text: whoever makes a `Setting` out of data quotes the data first (see
/// [`crate::escape`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The section it stands in.
    pub section: Section,
    /// The directive's name, such as `ExecStart`.
    pub key: String,
    /// The right-hand side, one line of unit text.
    pub value: String,
}

impl Setting {
    /// A setting of the section `[Unit]`.
    pub fn unit(key: &str, value: impl Into<String>) -> Self {
        Self::new(Section::Unit, key, value)
    }

    /// A setting of the section `[Service]`.
    pub fn service(key: &str, value: impl Into<String>) -> Self {
        Self::new(Section::Service, key, value)
    }

    /// A setting of the section `[Slice]`.
    pub fn slice(key: &str, value: impl Into<String>) -> Self {
        Self::new(Section::Slice, key, value)
    }

    /// A setting of the section `[Socket]`.
    pub fn socket(key: &str, value: impl Into<String>) -> Self {
        Self::new(Section::Socket, key, value)
    }

    /// A setting of unit text from elsewhere; whether the directive is one of the section's is
    /// the caller's to know.
    ///
    /// # Errors
    /// Where the value is not one line.
    pub fn checked(section: Section, key: &str, value: &str) -> Result<Self> {
        check_value(key, value)?;
        Ok(Self::new(section, key, value.trim()))
    }

    fn new(section: Section, key: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        debug_assert!(!value.contains('\n'), "{key}: a value is one line");
        Self {
            section,
            key: key.to_string(),
            value,
        }
    }

    /// A setting from `KEY=VALUE` as the user gave it, VALUE being unit text.
    ///
    /// # Errors
    /// Where there is no `=`, the directive is refused (see [`directives`]), or the value is not
    /// one line.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((key, value)) = text.split_once('=') else {
            bail!("`{}` is not of the form KEY=VALUE", text.escape_debug());
        };
        let section = directives::section_of(key)?;
        check_value(key, value)?;
        Ok(Self::new(section, key, value.trim()))
    }
}

/// The text of a unit file: `head` as comment lines, then `settings`, a section heading where
/// the section changes.
pub fn render(head: &[&str], settings: &[Setting]) -> String {
    let mut text = String::new();
    for line in head {
        text.push_str(&format!("# {line}\n"));
    }
    let mut section = None;
    for setting in settings {
        if section != Some(setting.section) {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("[{}]\n", setting.section));
            section = Some(setting.section);
        }
        text.push_str(&format!("{}={}\n", setting.key, setting.value));
    }
    text
}

/// Parses unit text such as an image's `skim.dropin` (see [`unit_file`]).
///
/// # Errors
/// Where a line is none of a unit file's, a section is not `[Unit]` or `[Service]`, or a directive
/// is refused; the message names the line.
pub fn parse(text: &str) -> Result<Vec<Setting>> {
    for heading in unit_file::headings(text)? {
        ensure!(
            matches!(heading.name.as_str(), "Unit" | "Service"),
            "line {}: the section [{}] is not one of [Unit], [Service]",
            heading.number,
            heading.name.escape_debug()
        );
    }
    let settings = unit_file::lex(text)?.into_iter().map(|line| {
        let section = match line.section.as_str() {
            "Unit" => Section::Unit,
            _ => Section::Service,
        };
        directives::check(section, &line.key)
            .map_err(anyhow::Error::from)
            .and_then(|()| check_value(&line.key, &line.value))
            .with_context(|| format!("line {}", line.number))?;
        Ok(Setting::new(section, &line.key, line.value))
    });
    settings.collect()
}

/// Refuses a value that is not one line of unit text.
///
/// # Errors
/// As it says; the message names the directive.
pub fn check_value(key: &str, value: &str) -> Result<()> {
    ensure!(
        !value.chars().any(|c| c.is_ascii_control() && c != '\t'),
        "the value of {key}= holds a control character: unit text is one line"
    );
    ensure!(
        !value.trim_end().ends_with('\\'),
        "the value of {key}= ends in a backslash, which would join the next line to it"
    );
    ensure!(
        key.len() + value.len() + 2 <= escape::LINE_MAX,
        "the value of {key}= is too long: {}",
        escape::Unrepresentable::TooLong
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_sections_once() {
        let settings = [
            Setting::unit("After", "a.service"),
            Setting::unit("Requires", "a.service"),
            Setting::service("Type", "exec"),
        ];
        assert_eq!(
            render(&["made by skim"], &settings),
            "# made by skim\n\n[Unit]\nAfter=a.service\nRequires=a.service\n\n[Service]\nType=exec\n"
        );
    }

    #[test]
    fn parses_what_a_drop_in_holds() {
        let text = "# why\n[Unit]\nAfter=network-online.target\n\n[Service]\n; note\nType = notify\n\
                    LimitNOFILE=infinity\nExecStartPre=/bin/a \\\n  # aside\n  b\n";
        assert_eq!(
            parse(text).unwrap(),
            [
                Setting::unit("After", "network-online.target"),
                Setting::service("Type", "notify"),
                Setting::service("LimitNOFILE", "infinity"),
                Setting::service("ExecStartPre", "/bin/a  b"),
            ]
        );
    }

    #[test]
    fn what_is_rendered_parses_back() {
        let settings = parse("[Service]\nType=notify\nKillMode=process\n[Unit]\nAfter=x.target\n");
        let settings = settings.unwrap();
        assert_eq!(parse(&render(&[], &settings)).unwrap(), settings);
    }

    #[test]
    fn refusals_name_the_line() {
        for (text, message) in [
            (
                "Type=notify",
                "line 1: `Type=notify` stands before the first",
            ),
            ("[Service]\n\nfoo", "line 3: `foo` is neither a section"),
            ("[Install]\nWantedBy=x", "line 1: the section [Install]"),
            (
                "[Service]\nExecStart=/x",
                "line 2: ExecStart= is skim's own",
            ),
            ("[Service]\nTyp=exec", "line 2: Typ= is no directive"),
            (
                "[Unit]\nType=exec",
                "line 2: Type= belongs in the section [Service]",
            ),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.starts_with(message), "{text:?}: {error}");
        }
    }

    #[test]
    fn properties_are_one_line_each() {
        assert_eq!(
            Setting::parse("MemoryMax=1G").unwrap(),
            Setting::service("MemoryMax", "1G")
        );
        assert_eq!(
            Setting::parse("After=a.service").unwrap(),
            Setting::unit("After", "a.service")
        );
        for bad in ["MemoryMax", "Nice=1\nUser=0", "User=0", "Nice=1\\", "=x"] {
            assert!(Setting::parse(bad).is_err(), "{bad:?}");
        }
    }
}
