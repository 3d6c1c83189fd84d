//! An appc image: an archive of a `manifest` and a `rootfs`.

mod place;

use std::io::Read;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};

use self::place::Place;
use super::archive::{ArchiveReader, Digest, Entry, Kind};
use super::limits::Limits;
use super::manifest::{ImageManifest, host_arch};
use super::unpack::{Directories, LeftOut, Unpacker};

/// What an image's archive came to; its `rootfs` is unpacked.
#[derive(Debug)]
pub struct Unpacked {
    /// ID and size of the archive.
    pub digest: Digest,
    /// The manifest, checked.
    pub manifest: ImageManifest,
    /// The manifest as it stands in the archive.
    pub manifest_json: Vec<u8>,
    /// What was not unpacked.
    pub left_out: LeftOut,
    /// The directories, whose times are to be set when nothing changes any more.
    pub directories: Directories,
}

/// Reads an image from `input` to its end, and unpacks its `rootfs` into the directory `root`.
pub fn unpack(input: impl Read, root: OwnedFd, limits: Limits) -> Result<Unpacked> {
    let mut archive = ArchiveReader::new(input, limits)?;
    let mut unpacker = Unpacker::new(root, limits);
    let mut manifest = None;
    while let Some(entry) = archive.next_entry()? {
        match Place::of(&entry.name)? {
            Place::Top => ensure!(
                entry.kind == Kind::Directory,
                "the archive's top is no directory"
            ),
            Place::Manifest => {
                ensure!(manifest.is_none(), "the archive has two manifests");
                manifest = Some(read_manifest(&mut archive, &entry, limits)?);
            }
            Place::Rootfs(path) => add(&mut unpacker, &mut archive, &path, entry)?,
        }
    }
    let digest = archive.finish()?;
    let (manifest, manifest_json) = manifest.context("missing manifest: the archive has none")?;
    let (directories, left_out) = unpacker.finish();
    ensure!(
        directories.has_root(),
        "missing rootfs: the archive has no entry for the directory \"rootfs\""
    );
    Ok(Unpacked {
        digest,
        manifest,
        manifest_json,
        left_out,
        directories,
    })
}

/// Unpacks an entry at or beneath `rootfs`.
fn add<R: Read>(
    unpacker: &mut Unpacker,
    archive: &mut ArchiveReader<R>,
    path: &[u8],
    mut entry: Entry,
) -> Result<()> {
    let shown = entry.name.escape_ascii().to_string();
    let context = || format!("cannot unpack \"{shown}\"");
    ensure!(
        entry.kind == Kind::Directory || !entry.name.ends_with(b"/"),
        "\"{shown}\" is named as a directory, but is none"
    );
    // A hard link names another entry of the archive, so its target has a place as well.
    if let Kind::HardLink(target) = &mut entry.kind {
        match Place::of(target).with_context(context)? {
            Place::Rootfs(path) => *target = path,
            _ => anyhow::bail!("\"{shown}\" is a hard link to what is not beneath rootfs/"),
        }
    }
    unpacker.add(path, &entry, archive).with_context(context)
}

/// Reads the manifest, and refuses at once what could not be run.
fn read_manifest<R: Read>(
    archive: &mut ArchiveReader<R>,
    entry: &Entry,
    limits: Limits,
) -> Result<(ImageManifest, Vec<u8>)> {
    let Kind::File { size, segments } = &entry.kind else {
        anyhow::bail!("the manifest is no regular file");
    };
    let most = limits.manifest;
    ensure!(
        *size <= most,
        "the manifest has {size} bytes; at most {most} are read"
    );
    let whole = segments.iter().map(|segment| segment.length).sum::<u64>() == *size;
    ensure!(whole, "the manifest is a sparse file");
    let mut json = vec![0; usize::try_from(*size)?];
    let mut filled = 0;
    while filled < json.len() {
        filled += archive.read_data(&mut json[filled..])?;
    }
    let manifest = ImageManifest::parse(&json)?;
    manifest.check_supported(host_arch())?;
    Ok((manifest, json))
}

#[cfg(test)]
#[path = "aci/tests.rs"]
mod tests;
