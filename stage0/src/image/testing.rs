//! Archives for tests, built in memory; hostile ones too.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Result;
use tar::{Builder, EntryType, Header};

use super::aci::{self, Unpacked};
use super::limits::Limits;
use super::manifest::host_arch;

/// A manifest that is accepted.
pub fn manifest(name: &str, version: &str) -> String {
    let arch = host_arch();
    format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}","labels":[{{"name":"os","value":"linux"}},{{"name":"arch","value":"{arch}"}},{{"name":"version","value":"{version}"}}]}}"#
    )
}

/// An archive under construction.
pub struct Archive(Builder<Vec<u8>>);

impl Archive {
    /// Without any entry.
    pub fn empty() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// With a manifest and the entry of an empty `rootfs`.
    pub fn new() -> Self {
        Self::empty()
            .file("manifest", manifest("example.com/app", "1").as_bytes())
            .directory("rootfs/")
    }

    /// A header with this name, byte for byte, the checksum not yet right.
    pub fn header(name: &[u8], kind: EntryType, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header
    }

    /// Adds a header as it is, but for its checksum, and data.
    pub fn raw(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    /// A regular file.
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        let header = Self::header(name.as_bytes(), EntryType::Regular, data.len());
        self.raw(header, data)
    }

    /// A directory.
    pub fn directory(self, name: &str) -> Self {
        let mut header = Self::header(name.as_bytes(), EntryType::Directory, 0);
        header.set_mode(0o755);
        self.raw(header, &[])
    }

    /// A link of either kind.
    pub fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(name.as_bytes(), kind, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, &[])
    }

    /// A symbolic link.
    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    /// A hard link.
    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    /// PAX records for the next entry.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    /// The archive with its end mark.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    /// Unpacks it into the directory `root`.
    pub fn unpack(self, root: &Path) -> Result<Unpacked> {
        unpack(&self.finish(), root, Limits::default())
    }
}

/// Unpacks an archive into the directory `root`.
pub fn unpack(archive: &[u8], root: &Path, limits: Limits) -> Result<Unpacked> {
    let root = OwnedFd::from(std::fs::File::open(root).unwrap());
    aci::unpack(archive, root, limits)
}

/// The whole message of an error, which must be one line.
pub fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let text = format!("{:#}", result.unwrap_err());
    assert!(!text.contains('\n'), "{text}");
    text
}
