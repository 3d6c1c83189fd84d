//! `skim image`: the images of the store, one verb each.

mod cat_manifest;
mod export;
mod extract;
mod gc;
mod inspect;
mod list;
pub(super) mod place;
pub(super) mod pretty;
mod relocations;
mod render;
mod rm;
mod verify;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::host::Host;
use crate::image::limits::Limits;
use crate::image::reference::Reference;
use crate::progress::Silent;
use crate::store::{Image, Import, Store};

/// What stands below the list of the verbs.
pub const HELP: &str = "\
Examples:
  skim image list                                    the images there are
  skim image rm example.com/docker:28.0              take one away
  skim image gc --grace-period=720h                  take away what was not used for 30 days
  skim image verify                                  are the unpacked trees what they were?
  skim image export docker.io/library/busybox busybox.tar

An image of the store is named by its ID, the beginning of it, or its name; skim fetch brings
images there.";

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// List the images of the store
    #[command(visible_alias = "ls")]
    List(list::ListArguments),
    /// Remove images
    Rm(rm::RmArguments),
    /// Remove what no image needs, and images that have not been used for a while
    Gc(gc::GcArguments),
    /// Print an image's manifest
    CatManifest(cat_manifest::CatManifestArguments),
    /// Compare images' unpacked trees with what the images hold
    Verify(verify::VerifyArguments),
    /// Write an image to a file
    Export(export::ExportArguments),
    /// Unpack an image into a directory
    Extract(extract::ExtractArguments),
    /// Unpack an image with all that it depends on into a directory
    Render(render::RenderArguments),
    /// Print what is known of images
    Inspect(inspect::InspectArguments),
    /// Show what was changed in an image to make it run from its path in the store
    Relocations(relocations::RelocationsArguments),
}

/// Carries out the verb.
///
/// # Errors
/// Where the store cannot be read, or there is no such image.
pub fn run(host: &Host, verb: &ImageVerb) -> Result<u8> {
    host.check_caller()?;
    let store = Store::open(&host.directory)?;
    match verb {
        ImageVerb::List(arguments) => list::run(&store, arguments),
        ImageVerb::Rm(arguments) => rm::run(host, &store, arguments),
        ImageVerb::Gc(arguments) => gc::run(host, &store, arguments),
        ImageVerb::CatManifest(arguments) => cat_manifest::run(&store, arguments),
        ImageVerb::Verify(arguments) => verify::run(&store, arguments),
        ImageVerb::Export(arguments) => export::run(&store, arguments),
        ImageVerb::Extract(arguments) => extract::run(host, &store, arguments),
        ImageVerb::Render(arguments) => render::run(host, &store, arguments),
        ImageVerb::Inspect(arguments) => inspect::run(host, &store, arguments),
        ImageVerb::Relocations(arguments) => relocations::run(host, &store, arguments),
    }
}

/// The image of the store that `text` names, by its ID, the beginning of it, or its name.
fn find(store: &Store, text: &str) -> Result<Image> {
    let find = || match Reference::parse(text)? {
        Reference::Id(prefix) => store.get(&prefix),
        Reference::Name(name) => store
            .find(&name)?
            .context("no image of this name is in the store; see skim image list"),
        Reference::Registry(reference) => {
            match store.find_origin(&format!("docker://{reference}"))? {
                Some(image) => Ok(image),
                None => bail!("no image that came from there is in the store; see skim image list"),
            }
        }
        _ => bail!("give the ID or the name of an image in the store; see skim image list"),
    };
    find().with_context(|| format!("image {text:?}"))
}

/// How an image of the store is unpacked once more: as its archives are checked by their digests,
/// what its import was allowed need not be known.
pub(super) fn unbounded() -> Import<'static> {
    Import {
        limits: Limits {
            expanded_bytes: u64::MAX,
            entries: u64::MAX,
            ..Limits::default()
        },
        progress: &Silent,
    }
}
