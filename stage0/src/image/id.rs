//! Image IDs: the SHA-512 of the uncompressed archive.

use std::fmt;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// What every image ID starts with.
pub const PREFIX: &str = "sha512-";
/// Hexadecimal digits of a whole ID.
const DIGITS: usize = 128;
/// Hexadecimal digits in the name of an image's directory: `#!` lines, of which the kernel
/// reads 256 bytes, hold that name.
const DIRECTORY_DIGITS: usize = 64;

/// A whole image ID, `sha512-` and 128 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    /// The ID of an archive with this SHA-512 digest.
    pub fn from_digest(digest: &[u8; 64]) -> Self {
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PREFIX}{digits}"))
    }

    /// Parses a whole ID.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(
            IdPrefix::parse(text)?.0.len() == PREFIX.len() + DIGITS,
            "image ID {text:?} is not whole: it must have {DIGITS} hexadecimal digits"
        );
        Ok(Self(text.to_owned()))
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the image's directory in the store.
    pub fn directory(&self) -> &str {
        &self.0[..PREFIX.len() + DIRECTORY_DIGITS]
    }

    /// The ID as tables show it: `sha512-` and 12 digits.
    pub fn short(&self) -> &str {
        &self.0[..PREFIX.len() + 12]
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for ImageId {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

/// The beginning of an image ID, or the whole of it: at least two digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(String);

impl IdPrefix {
    /// Parses the beginning of an ID.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix(PREFIX).unwrap_or_default();
        ensure!(
            digits.len() >= 2,
            "image ID {text:?} is too short: give {PREFIX} and at least 2 hexadecimal digits"
        );
        ensure!(
            digits.len() <= DIGITS
                && digits
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{text:?} is no image ID: {PREFIX} is followed by up to {DIGITS} lower-case hexadecimal digits"
        );
        Ok(Self(text.to_owned()))
    }

    /// Whether `id` starts with this.
    pub fn matches(&self, id: &ImageId) -> bool {
        id.0.starts_with(&self.0)
    }

    /// Whether an image directory of this name may hold an image that matches.
    pub fn may_match_directory(&self, name: &str) -> bool {
        let length = self.0.len().min(PREFIX.len() + DIRECTORY_DIGITS);
        name.starts_with(&self.0[..length])
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_makes_an_id() {
        let id = ImageId::from_digest(&[0xab; 64]);
        assert_eq!(id.as_str(), format!("sha512-{}", "ab".repeat(64)));
        assert_eq!(id.directory(), format!("sha512-{}", "ab".repeat(32)));
        assert_eq!(id.short(), "sha512-abababababab");
        assert_eq!(ImageId::parse(id.as_str()).unwrap(), id);
    }

    #[test]
    fn prefixes_need_two_lower_case_digits() {
        for text in [
            "",
            "sha512-",
            "sha512-a",
            "sha256-abcd",
            "sha512-AB",
            "sha512-xy",
            "sha512-ä",
        ] {
            assert!(IdPrefix::parse(text).is_err(), "{text}");
        }
        assert!(IdPrefix::parse(&format!("sha512-{}", "a".repeat(129))).is_err());
        let id = ImageId::from_digest(&[0xab; 64]);
        assert!(IdPrefix::parse("sha512-ab").unwrap().matches(&id));
        assert!(!IdPrefix::parse("sha512-aba0").unwrap().matches(&id));
    }

    #[test]
    fn directory_match_looks_at_what_the_name_holds() {
        let id = ImageId::from_digest(&[0xab; 64]);
        let whole = IdPrefix::parse(id.as_str()).unwrap();
        assert!(whole.may_match_directory(id.directory()));
        assert!(
            !IdPrefix::parse("sha512-00")
                .unwrap()
                .may_match_directory(id.directory())
        );
    }

    #[test]
    fn partial_id_does_not_deserialise() {
        assert!(serde_json::from_str::<ImageId>("\"sha512-abab\"").is_err());
    }
}
