//! Archives for tests, built in memory; hostile ones too.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::aci::{self, Unpacked};
use super::archive::ArchiveReader;
use super::archive::compression::Decoder;
use super::archive::pipeline::{self, Algorithm, Measured, Source};
use super::blob::Blob;
use super::limits::Limits;
use super::manifest::host_arch;
use super::oci::layer::unpack_layer;
use super::unpack::{LeftOut, Unpacker};
use crate::progress::Silent;

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

/// Unpacks an archive, plain or compressed, into the directory `root`.
pub fn unpack(archive: &[u8], root: &Path, limits: Limits) -> Result<Unpacked> {
    unpack_measured(archive, root, limits).map(|(unpacked, _)| unpacked)
}

/// Unpacks an archive, and says what it came to.
pub fn unpack_measured(
    archive: &[u8],
    root: &Path,
    limits: Limits,
) -> Result<(Unpacked, Measured)> {
    let root = OwnedFd::from(std::fs::File::open(root).unwrap());
    let blob = blob(archive);
    let source = Source {
        blob: &blob,
        copy: None,
        algorithm: Algorithm::Sha512,
        limit: limits.expanded_bytes,
        bar: &Silent,
    };
    pipeline::run(&source, |pipe| aci::unpack(pipe, root, limits))
}

/// A file with this content.
pub fn blob(content: &[u8]) -> Blob {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    Blob {
        file: Arc::new(file),
        offset: 0,
        size: content.len() as u64,
    }
}

/// Unpacks the layers of an OCI image into the directory `root`, directory times and all.
pub fn unpack_layers(layers: &[Vec<u8>], root: &Path, limits: Limits) -> Result<LeftOut> {
    let root = OwnedFd::from(std::fs::File::open(root).unwrap());
    let mut unpacker = Unpacker::new(root.try_clone().unwrap(), limits);
    for layer in layers {
        let decoder = BufReader::new(Decoder::new(layer.as_slice())?);
        let mut archive = ArchiveReader::new(decoder, limits);
        unpack_layer(&mut archive, &mut unpacker)?;
        archive.finish()?;
    }
    let (directories, left_out) = unpacker.finish();
    directories.set_times(root.as_fd())?;
    Ok(left_out)
}

/// An empty root to unpack into, and beside it what hostile archives aim at.
pub struct Cell {
    dir: TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Cell {
    /// Makes both.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        std::fs::create_dir_all(dir.path().join("outside/a/b")).unwrap();
        for file in ["passwd", "a/a", "a/b/c"] {
            std::fs::write(dir.path().join("outside").join(file), file).unwrap();
        }
        let before = outside(dir.path());
        Self { dir, before }
    }

    /// The root.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The directory outside.
    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    /// Fails if anything outside of the root is not as it was.
    pub fn check(&self) {
        assert_eq!(outside(self.dir.path()), self.before);
    }
}

/// All files but those beneath `root`: what they are, their content and when they changed.
fn outside(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        if path == top.join("root") {
            found.insert(path, format!("{}", stat.ino()));
            continue;
        }
        let mut text = format!(
            "{:o} {} {} {} {}.{}",
            stat.mode(),
            stat.uid(),
            stat.ino(),
            stat.nlink(),
            stat.ctime(),
            stat.ctime_nsec()
        );
        if stat.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        } else {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
        found.insert(path, text);
    }
    found
}

/// The whole message of an error, which must be one line.
pub fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let text = format!("{:#}", result.unwrap_err());
    assert!(!text.contains('\n'), "{text}");
    text
}
