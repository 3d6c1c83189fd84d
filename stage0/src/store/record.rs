//! What the store knows of an image, and how it is read again.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::directory;
use super::tree::TreeKey;
use crate::image::blob::Sha256;
use crate::image::id::ImageId;
use crate::image::limits::Limits;
use crate::image::manifest::ImageManifest;
use crate::image::oci::config;
use crate::image::oci::document::{self, Document};
use crate::registry::version::Validators;
use crate::trust::verify::Signature;

const RECORD: &str = "image";
const MANIFEST: &str = "manifest";
const CONFIG: &str = "config";
/// Its time of change is the time of the image's last use.
const USED: &str = "used";

/// Most bytes of a record: it holds an ID, names and paths.
const MAX_RECORD: u64 = 1 << 20;
/// Most names of an image that are kept, the newest.
pub const MAX_NAMES: usize = 100;

/// The file `image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image's whole ID.
    pub id: ImageId,
    /// What it is called; the name that it was imported by last comes first.
    pub names: Vec<ImageName>,
    /// When it was imported, in nanoseconds since 1970.
    pub imported: u64,
    /// Where it came from last.
    pub origin: String,
    /// The digest that an OCI image is known by where it comes from: of an index, or of its
    /// manifest.
    pub digest: Option<Sha256>,
    /// What tells whether the file of a web server has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validators: Option<Validators>,
    /// Whose signature an appc image has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The tree that it is unpacked to.
    pub tree: TreeKey,
}

/// What an image is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName {
    /// An AC Identifier, or a repository with its registry.
    pub name: String,
    /// The value of the label `version`, or the tag.
    pub version: Option<String>,
}

/// The documents of an image, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    /// The image manifest; an image out of a `docker save` archive has none.
    pub manifest: Option<Vec<u8>>,
    /// An OCI image's configuration.
    pub config: Option<Vec<u8>>,
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(formatter, "{}:{version}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// Nanoseconds since 1970, 0 for a clock that stands before.
pub fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

impl Record {
    /// Takes in what a later import of the same image says.
    pub fn renew(&mut self, new: Self) {
        let mut names = new.names;
        for name in std::mem::take(&mut self.names) {
            if !names.contains(&name) && names.len() < MAX_NAMES {
                names.push(name);
            }
        }
        // A good signature stays good, also where the same image came without it this time.
        let signature = match (new.signature, self.signature.take()) {
            (Some(Signature::Good(signers)), _) => Some(Signature::Good(signers)),
            (_, Some(Signature::Good(signers))) => Some(Signature::Good(signers)),
            (new, old) => new.or(old),
        };
        *self = Self {
            names,
            signature,
            digest: new.digest.or(self.digest),
            ..new
        };
    }

    /// When it was imported.
    pub fn imported(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.imported)
    }

    /// Writes the record into a new image's directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, dir: BorrowedFd<'_>) -> Result<()> {
        directory::write_private(dir, RECORD, &self.to_json()?)
    }

    /// The record as it is written: what cannot be read again is not.
    fn to_json(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec_pretty(self)?;
        ensure!(
            json.len() as u64 <= MAX_RECORD,
            "what is to be kept of the image has more than {MAX_RECORD} bytes"
        );
        Ok(json)
    }

    /// Writes the record in the place of an older one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn replace(&self, dir: BorrowedFd<'_>) -> Result<()> {
        directory::replace(dir, RECORD, &self.to_json()?)
    }

    /// Reads the record in the directory `name`.
    ///
    /// # Errors
    /// Where there is none, or it is none of that image's.
    pub fn read(dir: BorrowedFd<'_>, name: &str) -> Result<Self> {
        let record: Self = serde_json::from_slice(&directory::required(dir, RECORD, MAX_RECORD)?)
            .context(
            "its record is damaged; remove the image (skim image rm) and import it again",
        )?;
        ensure!(
            record.id.directory() == name,
            "it holds another image, {}",
            record.id
        );
        ensure!(!record.names.is_empty(), "its record has no name");
        Ok(record)
    }
}

impl Documents {
    /// Writes what there is of them.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, dir: BorrowedFd<'_>) -> Result<()> {
        for (name, content) in [(MANIFEST, &self.manifest), (CONFIG, &self.config)] {
            if let Some(content) = content {
                directory::write(dir, name, content)?;
            }
        }
        Ok(())
    }

    /// Reads what there is of them.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn read(dir: BorrowedFd<'_>) -> Result<Self> {
        let limit = Limits::default().manifest;
        Ok(Self {
            manifest: directory::read(dir, MANIFEST, limit)?,
            config: directory::read(dir, CONFIG, limit)?,
        })
    }

    /// What the image says of itself, called by `name`.
    ///
    /// # Errors
    /// Where the documents are none of an image's.
    pub fn parse(&self, name: &ImageName) -> Result<ImageManifest> {
        match (&self.config, &self.manifest) {
            (Some(config), manifest) => {
                let annotations = match manifest.as_deref().map(document::parse).transpose()? {
                    Some(Document::Manifest(manifest)) => manifest.annotations,
                    Some(Document::Index(_)) => bail!("its manifest is an index"),
                    None => BTreeMap::new(),
                };
                config::to_manifest(config, &annotations, &name.name, name.version.as_deref())
            }
            (None, Some(manifest)) => ImageManifest::parse(manifest),
            (None, None) => bail!("the file {MANIFEST:?} is missing"),
        }
    }
}

/// Notes that the image in `dir` is used now.
///
/// # Errors
/// Where the file system fails.
pub fn note_use(dir: BorrowedFd<'_>, now: SystemTime) -> Result<()> {
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: i64::try_from(since.as_secs())?,
            tv_nsec: since.subsec_nanos().into(),
        },
    };
    let set = || rustix::fs::utimensat(dir, USED, &times, AtFlags::SYMLINK_NOFOLLOW);
    if set() == Err(Errno::NOENT) {
        directory::write(dir, USED, b"")?;
    }
    set().with_context(|| format!("cannot set the time of {USED:?}"))
}

/// When the image in `dir` was used last.
///
/// # Errors
/// Where the file system fails.
pub fn last_use(dir: BorrowedFd<'_>) -> Result<Option<SystemTime>> {
    match rustix::fs::statat(dir, USED, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
            let rest = Duration::from_nanos(stat.st_mtime_nsec);
            Ok(Some(SystemTime::UNIX_EPOCH + seconds + rest))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {USED:?}")),
    }
}
