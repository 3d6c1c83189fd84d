//! A detached OpenPGP signature over a file (RFC 9580, 10.4).
//!
//! The signature of an ACI is over the file as it is, compressed as it came (appc, aci.md,
//! "Image Archives": compressed, then signed). The file is read once, in small pieces.
//!
//! The rules are those of sequoia's standard policy, at the time at which the signature says
//! that it was made: the key was neither expired nor revoked, may sign, and nothing rests on a
//! digest that is broken. A key that its owner reports as stolen is bad at any time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use sequoia_openpgp::packet::Tag;
use sequoia_openpgp::parse::stream::{
    DetachedVerifierBuilder, GoodChecksum, MessageLayer, MessageStructure, VerificationError,
    VerificationHelper,
};
use sequoia_openpgp::parse::{PacketParser, PacketParserResult, Parse};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::SignatureType;
use sequoia_openpgp::{Cert, KeyHandle};
use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::key::{self, Fingerprint, one_line};
use super::keyring::Keyring;
use crate::image::blob::Sha256;

/// Most bytes of a file with signatures.
pub const MAX_SIGNATURE: u64 = 1 << 20;
/// Most packets in it: each may need a digest of its own over the whole file.
const MAX_PACKETS: usize = 16;

/// What became of a signature that is not bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The digest of the bytes that were verified. What is imported must have it, too.
    pub digest: Sha256,
    /// How many bytes they are.
    pub size: u64,
    /// Whose signature it is.
    pub signature: Signature,
}

/// Whose signature it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// A good one of keys in the keyring, at least one. For which images they are trusted is
    /// another question, see [`super::Trust::admit`].
    Good(Vec<Signer>),
    /// One of keys that are not in the keyring: their fingerprints or key IDs, as far as the
    /// signature tells.
    UnknownKey(Vec<String>),
}

/// A key that made a good signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Signer {
    /// The fingerprint of the primary key.
    pub fingerprint: Fingerprint,
    /// Its primary user ID, printable.
    pub user_id: Option<String>,
}

/// Verifies a detached signature, armored or binary, over the whole of `file`, by all keys of
/// the keyring. The file's offset is left alone.
///
/// # Errors
/// Where the signature is bad, or is none; where the file cannot be read. No policy may pass
/// over this.
pub fn verify(
    signature: &[u8],
    file: &File,
    keyring: &Keyring,
    now: SystemTime,
) -> Result<Verdict> {
    verify_stream(signature, FromStart { file, at: 0 }, keyring, now)
}

/// As [`verify`], over what `content` gives until its end.
///
/// # Errors
/// As [`verify`].
pub fn verify_stream(
    signature: &[u8],
    content: impl Read + Send + Sync,
    keyring: &Keyring,
    now: SystemTime,
) -> Result<Verdict> {
    check_packets(signature).context("what is given as its signature is none")?;
    let policy = StandardPolicy::new();
    let helper = Helper {
        keyring,
        now,
        findings: Findings::default(),
    };
    let mut hashed = Hashed {
        content,
        hash: sha2::Sha256::new(),
        size: 0,
    };
    let mut verifier = DetachedVerifierBuilder::from_bytes(signature)
        .and_then(|builder| builder.with_policy(&policy, now, helper))
        .map_err(one_line)
        .context("its signature cannot be read")?;
    verifier
        .verify_reader(&mut hashed)
        .map_err(one_line)
        .context("its signature cannot be checked")?;
    io::copy(&mut hashed, &mut io::sink()).context("cannot read the image")?;
    Ok(Verdict {
        signature: verifier.into_helper().findings.conclude()?,
        digest: Sha256::new(hashed.hash.finalize().into()),
        size: hashed.size,
    })
}

/// Refuses anything but a few signatures.
fn check_packets(signature: &[u8]) -> Result<()> {
    let size = signature.len() as u64;
    ensure!(
        size <= MAX_SIGNATURE,
        "it has {size} bytes; at most {MAX_SIGNATURE} are read"
    );
    let mut count = 0;
    let mut rest = PacketParser::from_bytes(signature)
        .map_err(one_line)
        .context("it holds nothing of OpenPGP, or is cut short")?;
    while let PacketParserResult::Some(packet) = rest {
        let (packet, next) = packet.next().map_err(one_line).context("it is damaged")?;
        match packet.tag() {
            Tag::Signature => (),
            // Without meaning (RFC 9580, 5.8 and 5.14).
            Tag::Marker | Tag::Padding => (),
            Tag::PublicKey => bail!("it is a public key; skim trust takes keys"),
            _ => bail!("it is no detached signature, as gpg --detach-sign makes"),
        }
        count += 1;
        ensure!(
            count <= MAX_PACKETS,
            "it holds more than {MAX_PACKETS} signatures"
        );
        rest = next;
    }
    ensure!(count > 0, "it is empty");
    Ok(())
}

/// What the library asks of us, and tells.
struct Helper<'a> {
    keyring: &'a Keyring,
    now: SystemTime,
    findings: Findings,
}

/// What was found out of each signature.
#[derive(Default)]
struct Findings {
    good: Vec<Signer>,
    unknown: Vec<String>,
    /// Signatures of unknown kinds: another one beside them may be good.
    unreadable: usize,
    bad: Option<Error>,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> Result<Vec<Cert>> {
        Ok(self.keyring.keys_of(ids).cloned().collect())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> Result<()> {
        for layer in structure {
            // A detached signature has this layer alone.
            if let MessageLayer::SignatureGroup { results } = layer {
                for result in results {
                    match result {
                        Ok(good) => self.findings.add_good(&good, self.now),
                        Err(error) => self.findings.add_other(error),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Findings {
    fn add_good(&mut self, good: &GoodChecksum<'_>, now: SystemTime) {
        let cert = good.ka.cert();
        let fingerprint = Fingerprint::of(cert);
        // One over text does not tell CR LF from LF, so it is not over the very bytes.
        if good.sig.typ() != SignatureType::Binary {
            self.add_bad(anyhow!(
                "the signature by {fingerprint} is over text or nothing: it does not cover the file's bytes as they are"
            ));
            return;
        }
        let user_id = key::describe(cert, now).user_ids.into_iter().next();
        if self
            .good
            .iter()
            .all(|signer| signer.fingerprint != fingerprint)
        {
            self.good.push(Signer {
                fingerprint,
                user_id,
            });
        }
    }

    fn add_other(&mut self, error: VerificationError<'_>) {
        use VerificationError as E;
        match error {
            E::MissingKey { sig } => {
                // Fingerprints come before key IDs, which are their last digits.
                let key = sig.get_issuers().first().map(|key| format!("{key:x}"));
                self.unknown.extend(key);
            }
            E::UnknownSignature { .. } => self.unreadable += 1,
            E::BadSignature { ka, error, .. } => {
                let key = Fingerprint::of(ka.cert());
                self.add_bad(error.context(format!("the signature by {key}")));
            }
            E::BadKey { ka, error, .. } => {
                let key = Fingerprint::of(ka.cert());
                self.add_bad(error.context(format!("the signature by {key} does not count")));
            }
            E::UnboundKey { cert, error, .. } => {
                let key = Fingerprint::of(cert);
                self.add_bad(error.context(format!("the signature by {key} does not count")));
            }
            E::MalformedSignature { error, .. } => self.add_bad(error),
            other => self.add_bad(anyhow!("{other}")),
        }
    }

    fn add_bad(&mut self, error: Error) {
        self.bad.get_or_insert(error);
    }

    /// One bad signature spoils the others; one that nobody here can judge does not.
    fn conclude(self) -> Result<Signature> {
        if let Some(error) = self.bad {
            return Err(one_line(error).context("its signature is bad"));
        }
        if !self.good.is_empty() {
            return Ok(Signature::Good(self.good));
        }
        ensure!(
            self.unreadable == 0,
            "its signature is of a kind that skim does not know"
        );
        Ok(Signature::UnknownKey(self.unknown))
    }
}

/// Reads a file by position.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// Takes the digest of what is read.
struct Hashed<R> {
    content: R,
    hash: sha2::Sha256,
    size: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        self.hash.update(&buffer[..length]);
        self.size += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
