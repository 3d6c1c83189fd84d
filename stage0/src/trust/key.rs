//! OpenPGP keys: reading them, and what people are told of them.

use std::fmt;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::RevocationStatus;
use serde::{Deserialize, Serialize};

/// Most bytes of a file of keys.
pub const MAX_KEY_FILE: u64 = 1 << 20;
/// Most keys in a file.
const MAX_KEYS: usize = 100;
/// Hexadecimal digits of a fingerprint: of version 4, and of version 6 (RFC 9580, 5.5.4).
const DIGITS: [usize; 2] = [40, 64];

/// The fingerprint of a primary key, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a key.
    pub fn of(cert: &Cert) -> Self {
        Self(format!("{:x}", cert.fingerprint()))
    }

    /// Parses a fingerprint.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(
            DIGITS.contains(&text.len())
                && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "{text:?} is no fingerprint of an OpenPGP key: it has 40 or 64 lower-case hexadecimal digits"
        );
        Ok(Self(text.to_owned()))
    }

    /// The fingerprint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fingerprint for people to compare: upper case, in groups of four.
    pub fn spaced(&self) -> String {
        let digits = self.0.to_ascii_uppercase();
        let groups: Vec<_> = digits
            .as_bytes()
            .chunks(4)
            .map(String::from_utf8_lossy)
            .collect();
        groups.join(" ")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

/// What people are told of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its user IDs, the primary one first, what is not printable escaped.
    pub user_ids: Vec<String>,
    /// When it was made.
    pub created: SystemTime,
    /// When it expires.
    pub expires: Option<SystemTime>,
}

/// Reads public keys, armored or binary, one after the other.
///
/// # Errors
/// Where there is none, one cannot be read, or there is more than keys.
pub fn parse(content: &[u8]) -> Result<Vec<Cert>> {
    let mut keys = Vec::new();
    let parser = CertParser::from_bytes(content).context("it holds no OpenPGP key")?;
    for key in parser {
        keys.push(key.context("it holds something else than OpenPGP public keys")?);
        ensure!(keys.len() <= MAX_KEYS, "it holds more than {MAX_KEYS} keys");
    }
    ensure!(!keys.is_empty(), "it holds no OpenPGP key");
    for key in &keys {
        ensure!(
            !key.is_tsk(),
            "it holds the secret key {}, which belongs to its owner alone: give the public one (gpg --export)",
            Fingerprint::of(key)
        );
    }
    Ok(keys)
}

/// Describes a key as it is `now`.
pub fn describe(key: &Cert, now: SystemTime) -> Description {
    let policy = StandardPolicy::new();
    let valid = key.with_policy(&policy, now).ok();
    let primary = valid.as_ref().and_then(|valid| valid.primary_userid().ok());
    let primary = primary.as_ref().map(|id| id.userid());
    let others = key.userids().map(|id| id.userid());
    let mut user_ids: Vec<String> = Vec::new();
    for id in primary.into_iter().chain(others) {
        let id = printable(&String::from_utf8_lossy(id.value()));
        if !user_ids.contains(&id) {
            user_ids.push(id);
        }
    }
    Description {
        fingerprint: Fingerprint::of(key),
        user_ids,
        created: key.primary_key().key().creation_time(),
        expires: valid.and_then(|valid| valid.primary_key().key_expiration_time()),
    }
}

/// Refuses a key that cannot make a good signature `now`.
///
/// # Errors
/// Says why.
pub fn check_usable(key: &Cert, now: SystemTime) -> Result<()> {
    let policy = StandardPolicy::new();
    ensure!(
        !matches!(
            key.revocation_status(&policy, now),
            RevocationStatus::Revoked(_)
        ),
        "it is revoked"
    );
    let valid = key
        .with_policy(&policy, now)
        .map_err(one_line)
        .context("it is not valid, or what it says of itself is signed too weakly")?;
    valid
        .alive()
        .map_err(one_line)
        .context("it is expired, or not valid yet")?;
    let keys = valid
        .keys()
        .supported()
        .alive()
        .revoked(false)
        .for_signing();
    ensure!(
        keys.count() > 0,
        "it has no key that may sign, is neither revoked nor expired, and is of a kind that skim knows"
    );
    Ok(())
}

/// Whether the key's owner says that others may hold its secret: then no signature counts,
/// whatever its date (RFC 9580, 5.2.3.31).
pub fn is_compromised(key: &Cert) -> bool {
    // Softer revocations, such as of a key that was replaced, do not reach back to its birth.
    let born = key.primary_key().key().creation_time();
    let status = key.revocation_status(&StandardPolicy::new(), born);
    matches!(status, RevocationStatus::Revoked(_))
}

/// The text with what is not printable escaped: it comes from others.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\'' | '"' | '\\' => vec![c],
            c => c.escape_debug().collect(),
        })
        .collect()
}

/// An error of the OpenPGP library as one printable line.
pub fn one_line(error: anyhow::Error) -> anyhow::Error {
    anyhow::Error::msg(printable(&format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sequoia_openpgp::serialize::SerializeInto;
    use sequoia_openpgp::types::ReasonForRevocation;

    use super::super::testing::{DAY, builder, key, now, revoked};
    use super::*;

    #[test]
    fn fingerprints() {
        let text = "0123456789abcdef0123456789abcdef01234567";
        let fingerprint = Fingerprint::parse(text).unwrap();
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(
            fingerprint.spaced(),
            "0123 4567 89AB CDEF 0123 4567 89AB CDEF 0123 4567"
        );
        Fingerprint::parse(&"ab".repeat(32)).unwrap();
        for bad in [
            "",
            &text[1..],
            &text.to_uppercase(),
            &text.replace('0', "g"),
        ] {
            assert!(Fingerprint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_one_after_the_other() {
        let (one, two) = (key("one"), key("two"));
        let public = |key: &Cert| key.clone().strip_secret_key_material();
        let armored = |key: &Cert| public(key).armored().to_vec().unwrap();
        let binary = |key: &Cert| public(key).to_vec().unwrap();
        for content in [
            [armored(&one), armored(&two)].concat(),
            [binary(&one), binary(&two)].concat(),
        ] {
            let found: Vec<_> = parse(&content)
                .unwrap()
                .iter()
                .map(Fingerprint::of)
                .collect();
            assert_eq!(found, [Fingerprint::of(&one), Fingerprint::of(&two)]);
        }
        let secret = one.as_tsk().armored().to_vec().unwrap();
        let cases: [(Vec<u8>, &str); 5] = [
            (Vec::new(), "no OpenPGP key"),
            (b"garbage".to_vec(), "no OpenPGP key"),
            (armored(&one)[..200].to_vec(), ""),
            (binary(&one)[..40].to_vec(), ""),
            (secret, "the secret key"),
        ];
        for (content, part) in cases {
            let error = format!("{:#}", parse(&content).unwrap_err());
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn keys_of_no_use() {
        let later = now() + 100 * DAY;
        let short = builder("short")
            .set_validity_period(20 * DAY)
            .generate()
            .unwrap()
            .0;
        let mute = builder("mute");
        let mute = sequoia_openpgp::cert::CertBuilder::new()
            .set_creation_time(mute.creation_time())
            .add_userid("mute")
            .generate()
            .unwrap()
            .0;
        let retired = revoked(&key("retired"), ReasonForRevocation::KeyRetired, now());
        let stolen = revoked(&key("stolen"), ReasonForRevocation::KeyCompromised, now());
        check_usable(&key("good"), later).unwrap();
        check_usable(&short, now()).unwrap();
        for (key, part) in [
            (&short, "expired"),
            (&mute, "no key that may sign"),
            (&retired, "revoked"),
            (&stolen, "revoked"),
        ] {
            let error = format!("{:#}", check_usable(key, later).unwrap_err());
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        assert!(check_usable(&key("unborn"), now() - 100 * DAY).is_err());
        assert!(is_compromised(&stolen));
        assert!(!is_compromised(&retired));
    }

    #[test]
    fn a_description_is_printable() {
        let (key, _) = builder("Zoë \u{1b}[2J\n<z@example.com>")
            .set_validity_period(DAY)
            .generate()
            .unwrap();
        let description = describe(&key, now());
        assert_eq!(description.user_ids, ["Zoë \\u{1b}[2J\\n<z@example.com>"]);
        assert_eq!(
            description.expires,
            Some(description.created + Duration::from_secs(86400))
        );
    }
}
