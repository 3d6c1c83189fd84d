//! `skim image extract`: an image's own files in a directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::place::{self, Target};
use crate::host::Host;
use crate::store::Store;

const HELP: &str = "\
Examples:
  skim image extract example.com/docker docker
  skim image extract --rootfs-only docker.io/library/busybox busybox

The directory gets the image's manifest (of an OCI image its configuration, too) and, as rootfs,
its files; with --rootfs-only the files alone. They are as the image's author made them: programs
and links are not made to run from the directory. Images that this one depends on are left out
(see skim image render).";

/// Arguments of `skim image extract`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct ExtractArguments {
    /// Only the image's files, without its manifest
    #[arg(long)]
    pub rootfs_only: bool,
    /// Replace the directory if it exists
    #[arg(long)]
    pub overwrite: bool,
    /// The image's ID, the beginning of it, or its name
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The directory, which is made
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Extracts the image.
///
/// # Errors
/// Where there is no such image, or the directory cannot be made: then there is none.
pub fn run(host: &Host, store: &Store, arguments: &ExtractArguments) -> Result<u8> {
    let unpacking = Unpacking {
        image: &arguments.image,
        whole: false,
        rootfs_only: arguments.rootfs_only,
        overwrite: arguments.overwrite,
    };
    unpack(host, store, &unpacking, &arguments.directory)
}

/// What is unpacked, and how.
pub struct Unpacking<'a> {
    /// The image.
    pub image: &'a str,
    /// Whether with all that it depends on.
    pub whole: bool,
    /// Whether without its documents.
    pub rootfs_only: bool,
    /// Whether in the place of a directory.
    pub overwrite: bool,
}

/// Unpacks an image into a directory.
///
/// # Errors
/// As [`run`].
pub fn unpack(
    host: &Host,
    store: &Store,
    unpacking: &Unpacking<'_>,
    directory: &Path,
) -> Result<u8> {
    let image = super::find(store, unpacking.image)?;
    let target = Target {
        path: directory,
        overwrite: unpacking.overwrite,
        forbidden: &host.directory,
    };
    let part = unpacking.rootfs_only.then_some("rootfs");
    place::directory(&target, part, |dir| {
        let left_out = store.extract(&image, unpacking.whole, dir, super::unbounded())?;
        if left_out.devices > 0 {
            log::warn!("left out {} device nodes", left_out.devices);
        }
        if left_out.xattrs > 0 {
            log::warn!("left out {} extended attributes", left_out.xattrs);
        }
        Ok(())
    })
    .with_context(|| format!("cannot unpack image {:?}", unpacking.image))?;
    Ok(0)
}
