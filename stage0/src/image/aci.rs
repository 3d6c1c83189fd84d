//! An appc image: an archive of a `manifest` and a `rootfs`.

mod place;

use std::io::BufRead;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};

use self::place::Place;
use super::archive::{ArchiveReader, Entry, Kind};
use super::limits::Limits;
use super::manifest::{ImageManifest, host_arch};
use super::unpack::{Directories, LeftOut, LowerLinks, Unpacker};
use super::whitelist::Whitelist;

/// What an image's archive came to; its `rootfs` is unpacked.
#[derive(Debug)]
pub struct Unpacked {
    /// The manifest, checked.
    pub manifest: ImageManifest,
    /// The manifest as it stands in the archive.
    pub manifest_json: Vec<u8>,
    /// What was not unpacked.
    pub left_out: LeftOut,
    /// The directories, whose times are to be set when nothing changes any more.
    pub directories: Directories,
}

/// What an archive says of its image; its `rootfs` is unpacked.
#[derive(Debug)]
pub struct AciContents {
    /// The manifest, checked.
    pub manifest: ImageManifest,
    /// The manifest as it stands in the archive.
    pub manifest_json: Vec<u8>,
}

/// Reads an image that depends on no other from the uncompressed `input` to its end, and
/// unpacks its `rootfs` into the directory `root`.
pub fn unpack(input: impl BufRead, root: OwnedFd, limits: Limits) -> Result<Unpacked> {
    let mut unpacker = Unpacker::new(root, limits);
    let mut archive = ArchiveReader::new(input, limits);
    let contents = unpack_onto(&mut archive, &mut unpacker, limits, &[])?;
    archive.finish()?;
    let AciContents {
        manifest,
        manifest_json,
    } = contents;
    if let Some(dependency) = manifest.dependencies.first() {
        bail!(
            "the image depends on {:?}, which is not at hand",
            dependency.image_name
        );
    }
    if let Some(whitelist) = Whitelist::new(&manifest.path_whitelist)? {
        unpacker.keep_only(&whitelist)?;
    }
    let (directories, left_out) = unpacker.finish();
    Ok(Unpacked {
        manifest,
        manifest_json,
        left_out,
        directories,
    })
}

/// Reads an image up to its archive's end mark, and unpacks its `rootfs` onto the images before
/// it, on which it depends.
///
/// Later images override earlier ones path by path, as in appc's own renderer: what stands above
/// a path of a later image becomes a directory, whatever it was in an earlier one. Nothing is
/// hidden: a file called `.wh.x` is a file.
///
/// Only what all of `whitelists` have is unpacked: for an image that others depend on, its own
/// white list and those of the images that led to it. The list of the topmost image can as well
/// be given to [`Unpacker::keep_only`] in the end, as it counts for the whole tree.
pub fn unpack_onto<R: BufRead>(
    archive: &mut ArchiveReader<R>,
    unpacker: &mut Unpacker,
    limits: Limits,
    whitelists: &[&Whitelist],
) -> Result<AciContents> {
    unpacker.begin_layer(LowerLinks::Replaced);
    let mut contents = None;
    while let Some(entry) = archive.next_entry()? {
        match Place::of(&entry.name)? {
            Place::Top => ensure!(
                entry.kind == Kind::Directory,
                "the archive's top is no directory"
            ),
            Place::Manifest => {
                ensure!(contents.is_none(), "the archive has two manifests");
                contents = Some(read_manifest(archive, &entry, limits)?);
            }
            Place::Rootfs(path) => {
                let is_directory = entry.kind == Kind::Directory;
                if whitelists
                    .iter()
                    .all(|list| list.keeps(&path, is_directory))
                {
                    add(unpacker, archive, &path, entry)?;
                }
            }
        }
    }
    ensure!(
        unpacker.describes_root(),
        "missing rootfs: the archive has no entry for the directory \"rootfs\""
    );
    contents.context("missing manifest: the archive has none")
}

/// Unpacks an entry at or beneath `rootfs`.
fn add<R: BufRead>(
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
            _ => bail!("\"{shown}\" is a hard link to what is not beneath rootfs/"),
        }
    }
    unpacker.add(path, &entry, archive).with_context(context)
}

/// Reads the manifest, and refuses at once what could not be run.
fn read_manifest<R: BufRead>(
    archive: &mut ArchiveReader<R>,
    entry: &Entry,
    limits: Limits,
) -> Result<AciContents> {
    let Kind::File { size, segments } = &entry.kind else {
        bail!("the manifest is no regular file");
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
    Whitelist::new(&manifest.path_whitelist)?;
    Ok(AciContents {
        manifest,
        manifest_json: json,
    })
}

#[cfg(test)]
#[path = "aci/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "aci/onto_tests.rs"]
mod onto_tests;
