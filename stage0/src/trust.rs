//! Which images may be imported and run: signatures, the keys that are trusted, the policy.
//!
//! - [`verify`]: a detached OpenPGP signature over an image's file; [`source`]: where it is found
//! - [`key`], [`prefix`]: keys, and what they are trusted for
//! - [`keyring`]: the directories of trusted keys; [`edit`]: changes to them
//! - [`policy`]: what an image of some name must have
//!
//! An image's name stands in its manifest, and is known only once the image is read. So there
//! are two steps: [`Trust::verify`] checks the signature over the file by all trusted keys,
//! before anything is made of the file; [`Trust::admit`] decides with the name, before the
//! image is published.
//!
//! A bad signature is an error of the first step, which nothing passes over. The second step
//! refuses as follows, unless the user says `--insecure-options=image`:
//!
//! | the image has                                | no rule, or `any` | `signature` | `pinned`, `digests` |
//! |----------------------------------------------|-------------------|-------------|---------------------|
//! | no signature                                 | accepted          | refused     | by its digest       |
//! | a good one by a key that is for its name     | accepted          | accepted    | by its digest       |
//! | one by an unknown key, or not for its name   | refused           | refused     | by its digest       |
//!
//! A signature by a key that is not trusted for the name is refused even where none is asked
//! for, as by rkt: whoever put it there wants it to be checked.

pub mod edit;
pub mod key;
pub mod keyring;
pub mod policy;
pub mod prefix;
pub mod source;
pub mod verify;

#[cfg(test)]
pub(crate) mod testing;

use std::fs::File;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Result, bail, ensure};

use self::keyring::Keyring;
use self::policy::{Demand, Policy};
use self::prefix::Prefix;
use self::verify::{Signature, Signer, Verdict};
use crate::config::Directories;
use crate::image::id::ImageId;

/// The policy, and the keys once they are needed.
#[derive(Debug)]
pub struct Trust {
    directories: Directories,
    policy: Policy,
    keyring: OnceLock<Keyring>,
    /// `--insecure-options=image`.
    insecure: bool,
    now: SystemTime,
}

/// What speaks for an image.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its ID first, then other digests by which it was checked: of an OCI index, say.
    pub ids: &'a [ImageId],
    /// Whether the user named it by one of these, in whole.
    pub pinned: bool,
    /// What became of its signature, if it has one.
    pub signature: Option<&'a Signature>,
}

impl Trust {
    /// Reads the policy.
    ///
    /// # Errors
    /// Where a file of the policy cannot be used, also if it would be passed over.
    pub fn open(directories: &Directories, insecure: bool, now: SystemTime) -> Result<Self> {
        Ok(Self {
            directories: directories.clone(),
            policy: Policy::load(directories)?,
            keyring: OnceLock::new(),
            insecure,
            now,
        })
    }

    /// Verifies an image's signature over its file; see [`verify::verify`].
    ///
    /// # Errors
    /// Where the signature is bad or is none, or the keys that are trusted cannot be read.
    pub fn verify(&self, signature: &[u8], file: &File) -> Result<Verdict> {
        verify::verify(signature, file, self.keyring()?, self.now)
    }

    /// Decides whether the image of this name may be imported and run.
    ///
    /// # Errors
    /// Where it may not: says why, and what to do.
    pub fn admit(&self, name: &str, evidence: &Evidence<'_>) -> Result<()> {
        let demand = self.policy.demands(name);
        let standing = match evidence.signature {
            None => Standing::None,
            Some(Signature::UnknownKey(keys)) => Standing::Unknown(keys.clone()),
            Some(Signature::Good(signers)) => standing(name, signers, self.keyring()?)?,
        };
        match check(name, &demand, evidence, &standing) {
            Err(error) if self.insecure => {
                log::warn!("--insecure-options=image passes over this: image {name}: {error:#}");
                Ok(())
            }
            result => result,
        }
    }

    fn keyring(&self) -> Result<&Keyring> {
        if let Some(keyring) = self.keyring.get() {
            return Ok(keyring);
        }
        let keyring = Keyring::load(&self.directories)?;
        Ok(self.keyring.get_or_init(|| keyring))
    }
}

/// How an image's signature stands to its name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It has none.
    None,
    /// It is by keys that are not trusted at all.
    Unknown(Vec<String>),
    /// It is by a key that is trusted, and not for this name: the key, for what, and its file.
    Elsewhere(Box<Elsewhere>),
    /// It is by a key that is trusted for this name.
    Trusted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Elsewhere {
    signer: Signer,
    scopes: String,
    file: String,
}

/// How a good signature by these keys stands to an image's name, by what is trusted now.
fn standing(name: &str, signers: &[Signer], keyring: &Keyring) -> Result<Standing> {
    let mut elsewhere = None;
    for signer in signers {
        let fingerprint = &signer.fingerprint;
        let entries: Vec<_> = keyring.entries_of(fingerprint).collect();
        let Some(first) = entries.first() else {
            continue;
        };
        ensure!(
            !keyring.key(fingerprint).is_some_and(key::is_compromised),
            "its signature is bad: the key {fingerprint} was revoked by its owner, as others may hold it"
        );
        if entries.iter().any(|entry| entry.scope.covers(name)) {
            return Ok(Standing::Trusted);
        }
        let scopes: Vec<_> = entries
            .iter()
            .map(|entry| entry.scope.to_string())
            .collect();
        elsewhere.get_or_insert_with(|| Elsewhere {
            signer: signer.clone(),
            scopes: scopes.join(", "),
            file: first.path.display().to_string(),
        });
    }
    Ok(match elsewhere {
        Some(elsewhere) => Standing::Elsewhere(Box::new(elsewhere)),
        // Trusted when it was verified, and not any more.
        None => Standing::Unknown(
            signers
                .iter()
                .map(|signer| signer.fingerprint.to_string())
                .collect(),
        ),
    })
}

/// The table in the head of the module. Pure.
fn check(name: &str, demand: &Demand, evidence: &Evidence<'_>, standing: &Standing) -> Result<()> {
    let listed = |id| demand.digests.contains(id);
    if evidence.ids.iter().any(listed) || (demand.pinned && evidence.pinned) {
        return Ok(());
    }
    match standing {
        Standing::None if demand.any => return Ok(()),
        Standing::Trusted if demand.any || demand.signature => return Ok(()),
        _ => (),
    }
    if demand.any || demand.signature {
        let hint = trust_hint(name);
        match standing {
            Standing::Unknown(keys) => {
                let keys = match keys.as_slice() {
                    [] => "a key that it does not name".to_owned(),
                    keys => format!("the key {}", keys.join(", the key ")),
                };
                bail!(
                    "it is signed by {keys}, which is not trusted here: get the key from somebody whom you trust, and run {hint} KEYFILE; or give --insecure-options=image to do without the signature"
                );
            }
            Standing::Elsewhere(elsewhere) => {
                let Elsewhere {
                    signer,
                    scopes,
                    file,
                } = elsewhere.as_ref();
                let user_id = signer.user_id.as_deref().unwrap_or("without a user ID");
                bail!(
                    "it is signed by the key {} ({user_id}), which is trusted for {scopes}, and not for {name}: to trust it for that as well, run {hint} {file}",
                    signer.fingerprint
                );
            }
            Standing::None | Standing::Trusted => (),
        }
    }
    refuse(demand, standing)
}

/// What the policy says against an image.
fn refuse(demand: &Demand, standing: &Standing) -> Result<()> {
    let (pattern, file) = match &demand.rule {
        Some(rule) => (rule.pattern.to_string(), rule.file.display().to_string()),
        None => bail!("it is refused"),
    };
    let has = match standing {
        Standing::None => "it has no signature",
        _ => "its signature does not count",
    };
    let wants =
        format!("the policy {file} refuses it: the rule for the prefix {pattern} accepts {demand}");
    if demand.signature {
        bail!("{wants}, and {has} (an ACI has one in a file beside it, NAME.aci.asc)");
    }
    bail!("{wants}");
}

/// The beginning of the command that trusts a key for images of this name.
fn trust_hint(name: &str) -> String {
    match Prefix::parse(name) {
        Ok(prefix) => format!("skim trust --prefix={prefix}"),
        Err(_) => "skim trust --prefix=PREFIX".to_owned(),
    }
}

#[cfg(test)]
#[path = "trust/tests.rs"]
mod tests;
