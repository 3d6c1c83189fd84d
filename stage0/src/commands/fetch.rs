//! `skim fetch`: imports images into the store.

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::stdio;

use crate::host::Host;
use crate::image::limits::Limits;
use crate::image::reference::Reference;
use crate::store::Store;

/// Arguments of `skim fetch`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  skim fetch docker.aci containerd.aci")]
pub struct FetchArguments {
    /// Print the whole IDs
    #[arg(long)]
    pub full: bool,
    /// ACI files
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Imports the images and prints their IDs.
///
/// # Errors
/// Where one cannot be imported; those before it are.
pub fn run(host: &Host, arguments: &FetchArguments) -> Result<u8> {
    host.need_root()?;
    let store = Store::open(&host.directory)?;
    for image in &arguments.images {
        let image = Reference::parse(image)
            .and_then(|reference| store.fetch(&reference, Limits::default()))
            .with_context(|| format!("image {image}"))?;
        if arguments.full {
            stdio::print(&format!("{}\n", image.id))?;
        } else {
            stdio::print(&format!("{}\n", image.id.short()))?;
        }
    }
    Ok(0)
}
