//! What the store knows of an image, and how it is read again.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Image, directory};
use crate::image::id::ImageId;
use crate::image::limits::Limits;
use crate::image::manifest::ImageManifest;
use crate::image::relocate::Report;
use crate::image::unpack::LeftOut;

/// The image's unpacked tree.
pub const ROOTFS: &str = "rootfs";
const RECORD: &str = "image";
const MANIFEST: &str = "manifest";
const RELOCATIONS: &str = "relocations";

/// Most bytes of a record: it holds an ID, a name and paths.
const MAX_RECORD: u64 = 1 << 20;
/// Most bytes of a relocation report: some hundred for each entry of the largest image.
const MAX_RELOCATIONS: u64 = 512 << 20;

/// The file `image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image's whole ID.
    pub id: ImageId,
    /// The image's name.
    pub name: String,
    /// The value of its label `version`.
    pub version: Option<String>,
    /// When it was imported, in nanoseconds since 1970.
    pub imported: u64,
    /// Where it came from.
    pub origin: String,
    /// The size of its uncompressed archive.
    pub size: u64,
    /// The path that its tree was relocated to.
    pub tree: PathBuf,
    /// What it holds and the tree does not.
    pub left_out: LeftOut,
}

/// Nanoseconds since 1970, 0 for a clock that stands before.
pub fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

/// Writes all that stands beside an image's tree into its directory.
pub fn write(
    dir: BorrowedFd<'_>,
    record: &Record,
    manifest: &[u8],
    relocations: &Report,
) -> Result<()> {
    directory::write(dir, MANIFEST, manifest)?;
    directory::write(dir, RELOCATIONS, &serde_json::to_vec(relocations)?)?;
    directory::write(dir, RECORD, &serde_json::to_vec_pretty(record)?)
}

/// Reads the image in the directory `name`, whose tree stands at `tree`.
pub fn load(images: BorrowedFd<'_>, name: &str, tree: &Path) -> Result<Image> {
    let dir = directory::open(images, name)?;
    let record: Record = serde_json::from_slice(&required(dir.as_fd(), RECORD, MAX_RECORD)?)
        .context("its record is damaged; remove the directory and import the image again")?;
    let manifest = required(dir.as_fd(), MANIFEST, Limits::default().manifest)?;
    directory::open(dir.as_fd(), ROOTFS)?;
    ensure!(
        record.id.directory() == name,
        "it holds another image, {}",
        record.id
    );
    ensure!(
        record.tree == tree,
        "it was made to run from {}, but stands at {}; move the store back, or remove the directory and import the image again",
        record.tree.display(),
        tree.display()
    );
    Ok(Image {
        id: record.id,
        name: record.name,
        version: record.version,
        manifest: ImageManifest::parse(&manifest)?,
        tree: record.tree,
        origin: record.origin,
        imported: SystemTime::UNIX_EPOCH + Duration::from_nanos(record.imported),
        size: record.size,
        left_out: record.left_out,
    })
}

/// Reads what relocation did to the image in the directory `name`.
pub fn read_relocations(images: BorrowedFd<'_>, name: &str) -> Result<Report> {
    let dir = directory::open(images, name)?;
    let json = required(dir.as_fd(), RELOCATIONS, MAX_RELOCATIONS)?;
    serde_json::from_slice(&json).context("the report is damaged")
}

fn required(dir: BorrowedFd<'_>, name: &str, limit: u64) -> Result<Vec<u8>> {
    directory::read(dir, name, limit)?.with_context(|| format!("the file {name:?} is missing"))
}
