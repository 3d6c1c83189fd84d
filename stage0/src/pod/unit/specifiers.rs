//! Names of units, and specifiers that speak of them (systemd.unit(5), "Specifiers"): the app's
//! own unit has another name, so that skim expands them. Pure.

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::names::UNIT_NAME_MAX;
use stage1_skim::{escape, unit_file};

/// The name of a unit, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitName {
    /// The whole: `foo@bar.service`.
    pub full: String,
    /// What comes before the instance: `foo`.
    pub prefix: String,
    /// The instance: `bar`; empty for a template, `None` where there is no `@`.
    pub instance: Option<String>,
}

impl UnitName {
    /// Takes a name apart.
    ///
    /// # Errors
    /// Where it is no name of a unit.
    pub fn parse(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let (stem, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
        ensure!(
            name.chars().all(plain) && name.len() <= UNIT_NAME_MAX && !stem.is_empty(),
            "`{}` is no name of a unit",
            name.escape_debug()
        );
        ensure!(
            !suffix.is_empty() && !stem.starts_with('@'),
            "`{name}` is no name of a unit"
        );
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_string())),
            None => (stem, None),
        };
        Ok(Self {
            full: name.to_string(),
            prefix: prefix.to_string(),
            instance,
        })
    }

    /// What stands after the last dot.
    pub fn suffix(&self) -> &str {
        self.full.rsplit_once('.').map_or("", |(_, suffix)| suffix)
    }

    /// The template of an instance.
    pub fn template(&self) -> Option<String> {
        let instance = self.instance.as_ref()?;
        (!instance.is_empty()).then(|| format!("{}@.{}", self.prefix, self.suffix()))
    }

    /// The instance of this template.
    ///
    /// # Errors
    /// Where the name would be too long.
    pub fn of_instance(&self, instance: &str) -> Result<Self> {
        Self::parse(&format!("{}@{instance}.{}", self.prefix, self.suffix()))
    }

    /// The names whose `.d` hold drop-ins of this unit, its own first.
    pub fn drop_in_names(&self) -> Vec<String> {
        let suffix = self.suffix();
        let mut names = vec![self.full.clone()];
        names.extend(self.template());
        let mut prefix = self.prefix.trim_end_matches('-');
        while let Some((shorter, _)) = prefix.rsplit_once('-') {
            names.push(format!("{shorter}-.{suffix}"));
            prefix = shorter.trim_end_matches('-');
        }
        names.push(suffix.to_string());
        names
    }

    /// What a specifier of the unit's name stands for.
    fn value(&self, specifier: char) -> Result<Option<String>> {
        let instance = self.instance.clone().unwrap_or_default();
        let last = |text: &str| text.rsplit('-').next().unwrap_or_default().to_string();
        let stem = self.full.rsplit_once('.').map_or("", |(stem, _)| stem);
        let path = if instance.is_empty() {
            &self.prefix
        } else {
            &instance
        };
        Ok(Some(match specifier {
            'n' => self.full.clone(),
            'N' => stem.to_string(),
            'p' => self.prefix.clone(),
            'P' => unescaped(&self.prefix)?,
            'i' => instance,
            'I' => unescaped(&instance)?,
            'j' => last(&self.prefix),
            'J' => unescaped(&last(&self.prefix))?,
            'f' => format!("/{}", unescaped(path)?.trim_start_matches('/')),
            _ => return Ok(None),
        }))
    }

    /// `text` with those specifiers expanded that speak of the unit's name; all else of it stays
    /// unit text. For a word that has been unquoted.
    ///
    /// # Errors
    /// Where the name's escapes give no text.
    pub fn expand(&self, text: &str) -> Result<String> {
        self.replace(text, |value| Ok(escape::specifiers(&value)))
    }

    /// As [`Self::expand`], for a value that systemd will unquote.
    ///
    /// # Errors
    /// Where what is put in would have to be quoted, too.
    pub fn expand_value(&self, text: &str) -> Result<String> {
        self.replace(text, |value| {
            let plain = |c: char| c.is_ascii_alphanumeric() || ":-_./@".contains(c);
            ensure!(
                value.chars().all(plain),
                "`{}` of the unit's name cannot be put into it",
                value.escape_debug()
            );
            Ok(value)
        })
    }

    fn replace(&self, text: &str, quote: impl Fn(String) -> Result<String>) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let Some(specifier) = chars.next() else {
                out.push('%');
                break;
            };
            match self.value(specifier)? {
                Some(value) => out.push_str(&quote(value)?),
                None => out.extend(['%', specifier]),
            }
        }
        Ok(out)
    }

    /// `text` with all specifiers expanded: data.
    ///
    /// # Errors
    /// Where there is one whose value only systemd knows.
    pub fn data(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let text = self.expand(text)?;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let specifier = chars.next().context("a % stands at its end")?;
            out.push_str(match specifier {
                '%' => "%",
                't' => "/run",
                'S' => "/var/lib",
                'C' => "/var/cache",
                'L' => "/var/log",
                'E' => "/etc",
                'T' => "/tmp",
                'V' => "/var/tmp",
                'h' => "/root",
                'u' | 'g' => "root",
                'U' | 'G' => "0",
                other => bail!(
                    "the specifier %{} is not known before systemd starts the app",
                    other.escape_debug()
                ),
            });
        }
        Ok(out)
    }
}

/// A part of a unit's name without systemd's escapes: `-` is `/`, `\x2d` a `-`.
fn unescaped(text: &str) -> Result<String> {
    let slashes = text.replace('-', "/");
    let words = unit_file::split_words(&slashes)?;
    ensure!(words.len() <= 1, "`{}` has escapes", text.escape_debug());
    Ok(words.into_iter().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let name = UnitName::parse("foo-bar@a\\x2db-c.service").unwrap();
        assert_eq!(name.template().unwrap(), "foo-bar@.service");
        assert_eq!(
            name.drop_in_names(),
            [
                "foo-bar@a\\x2db-c.service",
                "foo-bar@.service",
                "foo-.service",
                "service"
            ]
        );
        for (text, expected) in [
            ("%n", "foo-bar@a\\x2db-c.service"),
            ("%N", "foo-bar@a\\x2db-c"),
            ("%p|%P", "foo-bar|foo/bar"),
            ("%i|%I", "a\\x2db-c|a-b/c"),
            ("%j", "bar"),
            ("%f", "/a-b/c"),
            ("%%i %t %", "%%i %t %"),
        ] {
            assert_eq!(name.expand(text).unwrap(), expected, "{text}");
        }
        assert_eq!(name.data("%t/%p %%i").unwrap(), "/run/foo-bar %i");
        assert_eq!(name.expand_value("/x/%I").unwrap(), "/x/a-b/c");
        assert!(name.expand_value("%i").is_err());
        assert!(name.data("%H").is_err() && name.data("%").is_err());
        let plain = UnitName::parse("a.service").unwrap();
        assert_eq!((plain.template(), plain.instance), (None, None));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.service", "x".repeat(UNIT_NAME_MAX));
        for bad in [
            "",
            ".service",
            "a",
            "a b.service",
            "../a.service",
            "@.service",
            &long,
        ] {
            assert!(UnitName::parse(bad).is_err(), "{bad}");
        }
    }
}
