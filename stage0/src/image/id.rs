//! Image IDs: the SHA-512 of an ACI's uncompressed archive, the SHA-256 of an OCI image's
//! manifest.

use std::fmt;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::blob::Sha256;

/// What the IDs of appc images start with.
pub const APPC: &str = "sha512-";
/// What the IDs of OCI images start with.
pub const OCI: &str = "sha256-";
/// Bytes that either starts with.
const PREFIX: usize = APPC.len();
/// Hexadecimal digits of a whole ID of an appc image.
const APPC_DIGITS: usize = 128;
/// Hexadecimal digits of a whole ID of an OCI image.
const OCI_DIGITS: usize = 64;
/// Hexadecimal digits in the name of an image's directory: `#!` lines, of which the kernel
/// reads 256 bytes, hold that name.
const DIRECTORY_DIGITS: usize = 64;

/// A whole image ID: `sha512-` and 128, or `sha256-` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    /// The ID of an appc image whose archive has this SHA-512 digest.
    pub fn from_digest(digest: &[u8; 64]) -> Self {
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{APPC}{digits}"))
    }

    /// The ID of an OCI image whose manifest, or where it has none, whose configuration has
    /// this digest.
    pub fn of_oci(digest: &Sha256) -> Self {
        Self(format!("{OCI}{}", digest.hex()))
    }

    /// Whether it is the ID of an OCI image.
    pub fn is_oci(&self) -> bool {
        self.0.starts_with(OCI)
    }

    /// Parses a whole ID.
    pub fn parse(text: &str) -> Result<Self> {
        let digits = digits_of(text);
        ensure!(
            IdPrefix::parse(text)?.0.len() == PREFIX + digits,
            "image ID {text:?} is not whole: it must have {digits} hexadecimal digits"
        );
        Ok(Self(text.to_owned()))
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the image's directory in the store.
    pub fn directory(&self) -> &str {
        &self.0[..PREFIX + DIRECTORY_DIGITS]
    }

    /// The ID as tables show it: with 12 digits.
    pub fn short(&self) -> &str {
        &self.0[..PREFIX + 12]
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
        let most = digits_of(text);
        let digits = [APPC, OCI]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or_default();
        ensure!(
            digits.len() >= 2,
            "image ID {text:?} is too short: give {APPC} or {OCI} and at least 2 hexadecimal digits"
        );
        ensure!(
            digits.len() <= most
                && digits
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{text:?} is no image ID: the prefix is followed by up to {most} lower-case hexadecimal digits"
        );
        Ok(Self(text.to_owned()))
    }

    /// Whether `text` is meant as an ID.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(APPC) || text.starts_with(OCI)
    }

    /// Whether this is the whole of `id`.
    pub fn is_whole(&self, id: &ImageId) -> bool {
        self.0 == id.0
    }

    /// Whether `id` starts with this.
    pub fn matches(&self, id: &ImageId) -> bool {
        id.0.starts_with(&self.0)
    }

    /// Whether an image directory of this name may hold an image that matches.
    pub fn may_match_directory(&self, name: &str) -> bool {
        let length = self.0.len().min(PREFIX + DIRECTORY_DIGITS);
        name.starts_with(&self.0[..length])
    }
}

/// How many digits a whole ID with the prefix of `text` has.
fn digits_of(text: &str) -> usize {
    if text.starts_with(OCI) {
        OCI_DIGITS
    } else {
        APPC_DIGITS
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
            "sha384-abcd",
            "sha512-AB",
            "sha512-xy",
            "sha512-ä",
        ] {
            assert!(IdPrefix::parse(text).is_err(), "{text}");
        }
        assert!(IdPrefix::parse(&format!("sha512-{}", "a".repeat(129))).is_err());
        assert!(IdPrefix::parse(&format!("sha256-{}", "a".repeat(65))).is_err());
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
    fn both_kinds_have_ids_of_their_own_length() {
        let id = ImageId::of_oci(&Sha256::of(b"abc"));
        assert_eq!(id.short(), "sha256-ba7816bf8f01");
        assert_eq!(id.directory(), id.as_str());
        assert!(id.is_oci() && !ImageId::from_digest(&[0; 64]).is_oci());
        assert_eq!(ImageId::parse(id.as_str()).unwrap(), id);
        assert!(ImageId::parse(&format!("sha512-{}", "a".repeat(64))).is_err());
    }

    #[test]
    fn partial_id_does_not_deserialise() {
        assert!(serde_json::from_str::<ImageId>("\"sha512-abab\"").is_err());
    }
}
