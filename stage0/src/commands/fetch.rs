//! `skim fetch`: imports images into the store.

use anyhow::{Context, Result};
use clap::Args;
use stage1_skim::stdio;

use super::image_flags::{Fetching, ImageFlags};
use crate::fetch::PullPolicy;
use crate::host::Host;
use crate::image::reference::Reference;
use crate::store::Store;

const HELP: &str = "\
Examples:
  skim fetch docker://registry.example.com/app:1.2  from a registry
  skim fetch docker.aci saved.tar                   files: appc's, OCI's or Docker's
  skim fetch oci:layout:1.2 docker-archive:saved.tar:app:1.2
                                                    one of several images
  skim fetch https://example.com/app.aci            checked against app.aci.asc, if there is one
  skim fetch --insecure-options=http docker://localhost:5000/app
                                                    from a registry without TLS

An image is named by:
  FILE, DIR                          an image's file or an OCI layout; the content tells which
  oci:DIR[:TAG]                      a directory in OCI's image layout
  oci-archive:FILE[:TAG]             such a directory in a tar archive
  docker-archive:FILE[:NAME[:TAG]]   what `docker save` writes
  docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]
                                     an image in a registry; credentials are those of
                                     `podman login` or `docker login`
                                     (root's, where skim is run by sudo)
  https://HOST/PATH                  an appc image on a web server
  sha512-HEX, sha256-HEX             an image in the store, by the beginning of its ID
  NAME[:VERSION]                     an image in the store, or else a file of this name";

/// Arguments of `skim fetch`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct FetchArguments {
    /// How images are fetched.
    #[command(flatten)]
    pub flags: ImageFlags,
    /// Print the whole IDs
    #[arg(long)]
    pub full: bool,
    /// What to import, see below
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Imports the images and prints their IDs.
///
/// # Errors
/// Where one cannot be imported; those before it are.
pub fn run(host: &Host, arguments: &FetchArguments) -> Result<u8> {
    host.check_caller()?;
    let store = Store::open(&host.directory)?;
    let flags = &arguments.flags;
    flags.with_fetcher(
        host,
        &store,
        Fetching::AsNeeded(PullPolicy::Update),
        |fetcher| {
            for image in &arguments.images {
                let image = Reference::parse(image)
                    .and_then(|reference| fetcher.fetch(&reference))
                    .with_context(|| format!("image {image}"))?;
                if arguments.full {
                    stdio::print(&format!("{}\n", image.id))?;
                } else {
                    stdio::print(&format!("{}\n", image.id.short()))?;
                }
            }
            Ok(0)
        },
    )
}
