//! Changes to the keys that are trusted, in the administrator's directory.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sequoia_openpgp::Cert;
use sequoia_openpgp::serialize::SerializeInto;

use super::key::{self, Fingerprint, MAX_KEY_FILE};
use super::keyring::directory;
use super::prefix::Scope;
use crate::config::{self, Directories, Node};

/// How trust was taken from a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Its file was removed.
    File(PathBuf),
    /// The vendor's file is masked by this one.
    Masked(PathBuf),
}

/// Trusts a key; returns its file. What stood in its place is replaced, a mask as well.
///
/// # Errors
/// Where the file cannot be written.
pub fn add(directories: &Directories, scope: &Scope, key: &Cert) -> Result<PathBuf> {
    let content = key
        .clone()
        .strip_secret_key_material()
        .armored()
        .to_vec()
        .map_err(key::one_line)?;
    if content.len() as u64 > MAX_KEY_FILE {
        bail!(
            "the key {} has more than {MAX_KEY_FILE} bytes: leave out what others signed (gpg --export-options export-minimal --export)",
            Fingerprint::of(key)
        );
    }
    let dir = directory(&directories.local, scope);
    config::write(&dir, Fingerprint::of(key).as_str(), &content)
}

/// Takes trust from a key: removes its file, and masks the vendor's.
///
/// # Errors
/// Where the key is not trusted in this place, or the files cannot be changed.
pub fn remove(
    directories: &Directories,
    scope: &Scope,
    fingerprint: &Fingerprint,
) -> Result<Removed> {
    let name = fingerprint.as_str();
    let above = directories.lowest_first();
    let others = above.filter(|base| **base != directories.local);
    let is_others = |base: &PathBuf| directory(base, scope).join(name).symlink_metadata().is_ok();
    let is_others = others.into_iter().any(is_others);
    let dir = directory(&directories.local, scope);
    let own = dir.join(name);
    let is_masked = matches!(config::read(&own, MAX_KEY_FILE), Ok(Node::Mask));
    if is_others {
        if is_masked {
            bail!("the key {fingerprint} is masked for {scope} already");
        }
        return config::write(&dir, name, b"").map(Removed::Masked);
    }
    match fs::remove_file(&own) {
        Ok(()) => Ok(Removed::File(own)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("the key {fingerprint} is not trusted for {scope}: see skim trust list")
        }
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", own.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keyring::{Keyring, scan};
    use super::super::prefix::Prefix;
    use super::super::testing::key;
    use super::*;

    #[test]
    fn keys_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let directories = Directories {
            administrator: None,
            system: root.path().join("system"),
            local: root.path().join("local"),
        };
        let as_vendor = Directories {
            administrator: None,
            system: root.path().join("none"),
            local: directories.system.clone(),
        };
        let (own, vendors) = (key("own"), key("vendor's"));
        let (of_own, of_vendors) = (Fingerprint::of(&own), Fingerprint::of(&vendors));
        let scope = Scope::Prefix(Prefix::parse("example.com/app").unwrap());
        let path = add(&directories, &scope, &own).unwrap();
        add(&as_vendor, &scope, &vendors).unwrap();
        let expected = format!("local/trustedkeys/prefix.d/example.com/app/{of_own}");
        assert_eq!(path, root.path().join(expected));
        assert!(!fs::read_to_string(&path).unwrap().contains("PRIVATE"));
        let trusted = |fingerprint: &Fingerprint| {
            let keyring = Keyring::load(&directories).unwrap();
            keyring.key(fingerprint).is_some()
        };
        assert!(trusted(&of_own) && trusted(&of_vendors));

        assert!(remove(&directories, &Scope::Root, &of_own).is_err());
        let removed = remove(&directories, &scope, &of_own).unwrap();
        assert_eq!(removed, Removed::File(path));
        assert!(remove(&directories, &scope, &of_own).is_err());
        let removed = remove(&directories, &scope, &of_vendors).unwrap();
        let mask = directory(&directories.local, &scope).join(of_vendors.as_str());
        assert_eq!(removed, Removed::Masked(mask.clone()));
        assert!(!trusted(&of_own) && !trusted(&of_vendors));
        assert_eq!(scan(&directories).entries[0].masked_by, Some(mask));
        assert!(remove(&directories, &scope, &of_vendors).is_err());

        add(&directories, &scope, &vendors).unwrap();
        assert!(trusted(&of_vendors));
    }
}
