//! How the verbs are told which pods they are for: UUIDs, or a file that holds one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

/// Most bytes that are read of a file with a UUID, which has 36 and perhaps blanks around it.
const UUID_FILE_MAX: u64 = 4096;

/// Several pods.
#[derive(Args, Debug)]
pub struct ManyPods {
    /// Take the pod's UUID from this file, as run --uuid-file-save writes it
    #[arg(long, value_name = "FILE", conflicts_with = "pods")]
    pub uuid_file: Option<PathBuf>,
    /// The pods' UUIDs, or the beginnings of them
    #[arg(value_name = "UUID", required_unless_present = "uuid_file")]
    pub pods: Vec<String>,
}

/// One pod.
#[derive(Args, Debug)]
pub struct OnePod {
    /// Take the pod's UUID from this file, as run --uuid-file-save writes it
    #[arg(long, value_name = "FILE", conflicts_with = "pod")]
    pub uuid_file: Option<PathBuf>,
    /// The pod's UUID, or the beginning of it
    #[arg(value_name = "UUID", required_unless_present = "uuid_file")]
    pub pod: Option<String>,
}

impl ManyPods {
    /// The UUIDs, or beginnings of them, as they were given.
    ///
    /// # Errors
    /// Where the file cannot be read or holds no UUID.
    pub fn prefixes(&self) -> Result<Vec<String>> {
        match &self.uuid_file {
            Some(file) => Ok(vec![read_uuid(file)?]),
            None => Ok(self.pods.clone()),
        }
    }
}

impl OnePod {
    /// The UUID, or the beginning of it, as it was given.
    ///
    /// # Errors
    /// As [`ManyPods::prefixes`].
    pub fn prefix(&self) -> Result<String> {
        match &self.uuid_file {
            Some(file) => read_uuid(file),
            None => Ok(self.pod.clone().unwrap_or_default()),
        }
    }
}

/// The UUID that a file holds, blanks around it left out.
///
/// # Errors
/// Where the file cannot be read or holds something else.
pub fn read_uuid(file: &Path) -> Result<String> {
    let failed = || format!("cannot take a pod's UUID from {}", file.display());
    let mut text = Vec::new();
    File::open(file)
        .and_then(|file| file.take(UUID_FILE_MAX).read_to_end(&mut text))
        .with_context(failed)?;
    let uuid = text.trim_ascii();
    let fits = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    ensure!(
        !uuid.is_empty() && uuid.len() <= 36 && uuid.iter().all(fits),
        "{}: it holds no UUID (run --uuid-file-save writes such a file)",
        failed()
    );
    Ok(String::from_utf8_lossy(uuid).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_from_a_file_and_nothing_else_is() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("uuid");
        let uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        for text in [
            uuid.to_owned(),
            format!("{uuid}\n"),
            format!(" \t{uuid} \n\n"),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_uuid(&file).unwrap(), uuid);
        }
        for bad in ["", "\n", "a b", "no-uuid", "6ba7\n6ba8", &uuid.repeat(2)] {
            std::fs::write(&file, bad).unwrap();
            let error = format!("{:#}", read_uuid(&file).unwrap_err());
            assert!(error.contains("holds no UUID"), "{bad:?}: {error}");
        }
        std::fs::write(&file, [b'a'; 100_000]).unwrap();
        assert!(read_uuid(&file).is_err());
        let error = format!("{:#}", read_uuid(&root.path().join("none")).unwrap_err());
        assert!(
            error.contains("none") && error.contains("No such file"),
            "{error}"
        );
    }
}
