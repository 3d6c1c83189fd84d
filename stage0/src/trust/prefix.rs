//! What a key is trusted for, or a rule is about: images by the beginning of their names.

use std::fmt;

use anyhow::{Result, ensure};

/// Longest prefix, as the longest name of an image.
const MAX: usize = 512;

/// The beginning of images' names, in whole path components: `example.com/etc` covers
/// `example.com/etc` and `example.com/etc/x`, and does not cover `example.com/etcd`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// Parses a prefix.
    ///
    /// The characters are those of AC Identifiers, and `:` for the port of a registry. Every
    /// component can be the name of a directory: none is empty or starts with a dot.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = |part: &str| {
            part.bytes().next().is_some_and(|byte| byte != b'.')
                && part.bytes().all(|b| plain(b) || b"-._~:".contains(&b))
        };
        ensure!(
            text.len() <= MAX && text.split('/').all(good),
            "{text:?} is no prefix of image names, such as example.com/app: its parts between / have lower-case letters, digits and - . _ ~ : and do not start with a dot"
        );
        Ok(Self(text.to_owned()))
    }

    /// Whether an image of this name is meant. Upper and lower case differ.
    pub fn covers(&self, name: &str) -> bool {
        name.strip_prefix(&self.0)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The images that a key is trusted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// All.
    Root,
    /// Those with names that start so.
    Prefix(Prefix),
}

impl Scope {
    /// Whether an image of this name is meant.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Root => true,
            Self::Prefix(prefix) => prefix.covers(name),
        }
    }

    /// The prefix, unless it is all.
    pub fn prefix(&self) -> Option<&Prefix> {
        match self {
            Self::Root => None,
            Self::Prefix(prefix) => Some(prefix),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("all images"),
            Self::Prefix(prefix) => write!(formatter, "images beneath {prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_component() {
        let prefix = Prefix::parse("example.com/etc").unwrap();
        for (name, covered) in [
            ("example.com/etc", true),
            ("example.com/etc/x", true),
            ("example.com/etc/", true),
            ("example.com/etcd", false),
            ("example.com/etc:1", false),
            ("example.com", false),
            ("example.com/ETC", false),
            ("x/example.com/etc", false),
            ("", false),
        ] {
            assert_eq!(prefix.covers(name), covered, "{name}");
            assert!(Scope::Root.covers(name), "{name}");
        }
    }

    #[test]
    fn what_is_a_prefix() {
        for good in ["a", "example.com/app", "localhost:5000/x", "-", "a/b~c_d"] {
            assert_eq!(Prefix::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "/a", "a/", "a//b", "a/../b", "..", "a/.b", "A", "a b", "a\n", "ä", "*",
        ] {
            assert!(Prefix::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Prefix::parse(&"a".repeat(MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn a_prefix_covers_what_its_components_start(
            prefix in "[a-c]{1,2}(/[a-c]{1,2}){0,2}", name in "[a-c]{1,2}(/[a-c]{1,2}){0,3}"
        ) {
            let parts: Vec<_> = prefix.split('/').collect();
            let of_name: Vec<_> = name.split('/').collect();
            let covers = Prefix::parse(&prefix).unwrap().covers(&name);
            prop_assert_eq!(covers, of_name.starts_with(&parts));
        }
    }
}
