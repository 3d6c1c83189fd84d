//! What is known of a file at an address: its version, and how much of it is on the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

/// Bytes of a [`Note`].
const NOTE: u64 = 16 << 10;
/// Bytes of a validator.
const VALIDATOR: usize = 1024;

/// What tells one version of a file from another (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// The header `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The header `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

impl Validators {
    /// Those of an answer.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name)?.to_str().ok()?;
            (!value.is_empty() && value.len() <= VALIDATOR).then(|| value.to_owned())
        };
        Self {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        }
    }

    /// The one that tells versions apart to the byte; a weak `ETag` does not (RFC 9110, 13.1.5).
    pub(super) fn strong(&self) -> Option<&String> {
        let etag = self.etag.as_ref().filter(|etag| !etag.starts_with("W/"));
        etag.or(self.last_modified.as_ref())
    }
}

/// What is kept beside a file that is being downloaded.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    /// What they are the beginning of.
    pub(super) validators: Validators,
    /// So many bytes are known to be on the disk.
    pub(super) safe: u64,
}

/// Reads what is noted; nothing where there is no note, or none that can be read.
pub(super) fn read_note(file: &File) -> Result<Note> {
    let size = file.metadata()?.len();
    let mut content = vec![0; usize::try_from(size.min(NOTE))?];
    file.read_exact_at(&mut content, 0)?;
    Ok(serde_json::from_slice(&content).unwrap_or_default())
}

/// Notes it.
pub(super) fn write_note(file: &File, note: &Note) -> Result<()> {
    let context = "cannot note what is downloaded";
    let content = serde_json::to_vec(note).context(context)?;
    file.set_len(0).context(context)?;
    file.write_all_at(&content, 0).context(context)
}
