//! AC Identifiers and AC Names, the two kinds of name in the appc specification.

use anyhow::{Result, ensure};

/// Longest name that is accepted; the specification sets no bound.
const MAX: usize = 512;

/// Checks an AC Identifier, such as `example.com/docker`.
///
/// Like the reference implementation this looks at the characters and at both ends; the
/// specification's stricter pattern would refuse images that are in use.
pub fn check_identifier(text: &str) -> Result<()> {
    ensure!(
        is_name(text, b"-._~/"),
        "{text:?} is no AC Identifier: only a-z, 0-9 and - . _ ~ / may stand in it, with a letter or digit at both ends"
    );
    Ok(())
}

/// Checks an AC Name, such as `docker`.
pub fn check_name(text: &str) -> Result<()> {
    ensure!(
        is_name(text, b"-"),
        "{text:?} is no AC Name: only a-z, 0-9 and - may stand in it, with a letter or digit at both ends"
    );
    Ok(())
}

/// Whether `text` has only lower-case letters, digits and `separators`, the latter not at its ends.
fn is_name(text: &str, separators: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= MAX
        && bytes.first().copied().is_some_and(plain)
        && bytes.last().copied().is_some_and(plain)
        && bytes.iter().all(|b| plain(*b) || separators.contains(b))
}

/// Makes an AC Name out of the last part of an image's name; `None` where nothing is left.
pub fn sanitize(image_name: &str) -> Option<String> {
    let last = image_name.rsplit('/').next().unwrap_or_default();
    let mapped: String = last
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
            _ => '-',
        })
        .collect();
    let name = mapped.trim_matches('-');
    check_name(name).is_ok().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers() {
        for good in ["a", "example.com/app", "a--b", "a_b~c", "0/1"] {
            check_identifier(good).unwrap();
        }
        for bad in ["", "A", "/a", "a/", "-a", "a b", "ä", "a:b", "a\n", "a%b"] {
            assert!(check_identifier(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names() {
        check_name("etcd-3").unwrap();
        for bad in ["", "a.b", "a/b", "-", "a-", "a_b"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name(&"a".repeat(MAX + 1)).is_err());
    }

    #[test]
    fn sanitised() {
        assert_eq!(
            sanitize("example.com/My_App.v2").as_deref(),
            Some("my-app-v2")
        );
        assert_eq!(sanitize("docker").as_deref(), Some("docker"));
        assert_eq!(sanitize("x/~~"), None);
        assert_eq!(sanitize(""), None);
    }

    proptest! {
        #[test]
        fn what_sanitize_returns_is_a_name(text in ".{0,40}") {
            if let Some(name) = sanitize(&text) {
                prop_assert!(check_name(&name).is_ok());
            }
        }

        #[test]
        fn every_identifier_by_the_pattern_passes(
            text in "[a-z0-9]{1,5}([-._~/][a-z0-9]{1,5}){0,5}"
        ) {
            prop_assert!(check_identifier(&text).is_ok());
            prop_assert!(sanitize(&text).is_some());
        }

        #[test]
        fn no_identifier_holds_anything_else(text in ".{0,20}") {
            if check_identifier(&text).is_ok() {
                prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase()
                    || b.is_ascii_digit() || b"-._~/".contains(&b)));
            }
        }
    }
}
