//! Labels and annotations of an image, and what must be true of them.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};

use super::fields::Fields;
use crate::image::name::check_identifier;

/// A name with a value: a label or an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name: an AC Identifier, in OCI images any text.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Architectures that an image for Linux may be for.
const ARCHITECTURES: [&str; 10] = [
    "amd64",
    "i386",
    "aarch64",
    "aarch64_be",
    "armv6l",
    "armv7l",
    "armv7b",
    "ppc64",
    "ppc64le",
    "s390x",
];

/// Reads an array of `name` and `value`, names unique.
pub fn pairs(fields: &Fields<'_>, key: &str) -> Result<Vec<Pair>> {
    let mut names = HashSet::new();
    let mut pairs = Vec::new();
    for pair in fields.objects(key)? {
        let path = pair.path_of("name");
        let name = pair.required("name")?;
        check_identifier(&name).context(path.clone())?;
        ensure!(
            names.insert(name.clone()),
            "{path}: {name:?} is given twice"
        );
        let value = pair.string("value")?.unwrap_or_default();
        pairs.push(Pair { name, value });
    }
    Ok(pairs)
}

/// The value that goes with `name`.
pub fn value<'a>(pairs: &'a [Pair], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|pair| pair.name == name)
        .map(|pair| pair.value.as_str())
}

/// Checks the labels for what the specification reserves.
pub fn check_labels(labels: &[Pair]) -> Result<()> {
    ensure!(
        value(labels, "name").is_none(),
        "labels: \"name\" is no label; the image's name stands at the top"
    );
    Ok(())
}

/// Checks that the labels name this operating system and `host_arch`.
pub fn check_platform(labels: &[Pair], host_arch: &str) -> Result<()> {
    let os = value(labels, "os").context("missing os label in the image manifest")?;
    ensure!(os == "linux", "bad os {os:?} (must be one of: [linux])");
    let arch = value(labels, "arch").context("missing arch label in the image manifest")?;
    ensure!(
        ARCHITECTURES.contains(&arch),
        "bad arch {arch:?} (must be one of: [{}])",
        ARCHITECTURES.join(" ")
    );
    ensure!(
        arch == host_arch,
        "the image is for arch {arch:?}, but this host is {host_arch:?}: take the image built for this host"
    );
    Ok(())
}

/// This host's architecture in the words of appc.
pub fn host_arch() -> &'static str {
    let big = cfg!(target_endian = "big");
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        "aarch64" if big => "aarch64_be",
        "arm" if big => "armv7b",
        "arm" => "armv7l",
        "powerpc64" if big => "ppc64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Checks the annotations whose form the specification fixes.
pub fn check_annotations(annotations: &[Pair]) -> Result<()> {
    if let Some(created) = value(annotations, "created") {
        ensure!(
            is_rfc3339(created),
            "annotation \"created\": {created:?} is no time in the form of RFC 3339"
        );
    }
    for name in ["homepage", "documentation"] {
        let url = value(annotations, name).unwrap_or("https://");
        ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "annotation {name:?}: {url:?} is no http or https address"
        );
    }
    Ok(())
}

/// Whether `text` has the form `2006-01-02T15:04:05[.999](Z|+07:00)` with numbers in range.
fn is_rfc3339(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        let digits = text.get(range)?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let in_range = |start, limits: std::ops::RangeInclusive<u32>| {
        number(start..start + 2).is_some_and(|n| limits.contains(&n))
    };
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let fixed = number(0..4).is_some()
        && punctuation
            .iter()
            .all(|(at, c)| text.as_bytes().get(*at) == Some(c))
        && in_range(5, 1..=12)
        && in_range(8, 1..=31)
        && in_range(11, 0..=23)
        && in_range(14, 0..=59)
        && in_range(17, 0..=59);
    fixed && text.get(19..).map(skip_fraction).is_some_and(is_zone)
}

/// What follows a fraction of a second, or `text` where there is none.
fn skip_fraction(text: &str) -> &str {
    match text.strip_prefix('.') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
            rest.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => text,
    }
}

/// Whether `text` is `Z` or an offset such as `+07:00`.
fn is_zone(text: &str) -> bool {
    let bytes = text.as_bytes();
    text == "Z"
        || (bytes.len() == 6
            && b"+-".contains(&bytes[0])
            && bytes[3] == b':'
            && [1, 2, 4, 5].iter().all(|at| bytes[*at].is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times() {
        for good in [
            "2014-10-27T19:32:27Z",
            "2014-10-27T19:32:27.67021798Z",
            "2014-10-27T19:32:27-07:00",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "",
            "now",
            "2014-10-27",
            "2014-13-27T19:32:27Z",
            "2014-10-27T19:32:27",
            "2014-10-27T24:32:27Z",
            "2014-10-27T19:32:27.Z",
            "2014-10-27T19:32:27+0700",
            "2014-10-27 19:32:27Z",
            "ääääääääää",
            "2014-1ä27T19:32:27Z",
            "2014",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_time_panics(text in "[-0-9T:ä.Z+]{0,30}") {
            is_rfc3339(&text);
        }
    }
}
