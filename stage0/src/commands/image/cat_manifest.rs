//! `skim image cat-manifest`: what an image says of itself.

use anyhow::{Context, Result};
use clap::Args;

use super::pretty::PrettyPrint;
use crate::store::Store;

const HELP: &str = "\
Examples:
  skim image cat-manifest example.com/docker
  skim image cat-manifest --config docker.io/library/busybox   an OCI image's configuration
  skim image cat-manifest --pretty-print=false sha256-1a2b     byte for byte as it came

An image of docker save has no manifest; its configuration is printed.";

/// Arguments of `skim image cat-manifest`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct CatManifestArguments {
    /// How it is printed.
    #[command(flatten)]
    pub print: PrettyPrint,
    /// Print the configuration of an OCI image instead
    #[arg(long)]
    pub config: bool,
    /// The image's ID, the beginning of it, or its name
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// Prints the manifest.
///
/// # Errors
/// Where there is no such image, or it has no such document.
pub fn run(store: &Store, arguments: &CatManifestArguments) -> Result<u8> {
    let image = super::find(store, &arguments.image)?;
    let documents = &image.documents;
    let document = match arguments.config {
        true => documents.config.as_ref(),
        false => documents.manifest.as_ref().or(documents.config.as_ref()),
    };
    let document = document.with_context(|| {
        format!(
            "image {:?} has no configuration: it is an appc image",
            arguments.image
        )
    })?;
    arguments.print.print(document)?;
    Ok(0)
}
