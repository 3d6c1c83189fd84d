//! `skim image render`: an image with all that it depends on, in a directory.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::extract::{self, Unpacking};
use crate::host::Host;
use crate::store::Store;

const HELP: &str = "\
Examples:
  skim image render example.com/docker docker
  skim image render --overwrite example.com/docker docker

The directory gets the image's manifest and, as rootfs, the files of the image laid over those
that it depends on, without what its pathWhitelist leaves out. Programs and links are not made
to run from there.";

/// Arguments of `skim image render`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct RenderArguments {
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

/// Renders the image.
///
/// # Errors
/// Where there is no such image, or the directory cannot be made: then there is none.
pub fn run(host: &Host, store: &Store, arguments: &RenderArguments) -> Result<u8> {
    let unpacking = Unpacking {
        image: &arguments.image,
        whole: true,
        rootfs_only: false,
        overwrite: arguments.overwrite,
    };
    extract::unpack(host, store, &unpacking, &arguments.directory)
}
