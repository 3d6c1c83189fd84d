//! `skim image rm`: removes images.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use stage1_skim::stdio;

use crate::commands::output::for_each;
use crate::host::Host;
use crate::image::reference::Reference;
use crate::pod::directory::Pods;
use crate::pod::uses::Uses;
use crate::store::garbage::Scope;
use crate::store::{Image, Store};

const HELP: &str = "\
Examples:
  skim image rm example.com/docker:28.0
  skim image rm sha512-1a2b sha256-3c4d
  skim image rm --force sha512-1a2b       also if a pod uses it

With an image goes what it alone needs: its unpacked tree and its archives. Pods that use an
image that was removed by force keep its tree until they are removed themselves.";

/// Arguments of `skim image rm`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct RmArguments {
    /// Remove images that pods use, too; the pods keep what they run from
    #[arg(long)]
    pub force: bool,
    /// The images' IDs, the beginnings of them, or names
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Removes the images and prints their IDs.
///
/// # Errors
/// Where there is no such image, or a pod uses it; the others are removed.
pub fn run(host: &Host, store: &Store, arguments: &RmArguments) -> Result<u8> {
    let pods = Pods::new(&host.directory);
    for_each(&arguments.images, |text| {
        let removal = store.removal()?;
        let target = choose(store, text).with_context(|| format!("image {text:?}"))?;
        let uses = Uses::read(&pods)?;
        if !arguments.force {
            check_unused(&target, &uses).with_context(|| format!("image {text:?}"))?;
        }
        let contents = store.contents()?;
        let garbage = contents.garbage(&uses, &[target.directory], Scope::OfTheirs);
        removal
            .remove(&garbage)
            .with_context(|| format!("image {text:?}"))?;
        stdio::print(&format!("removed {}\n", target.shown))
    })
}

/// An image that is to go.
struct Target {
    directory: String,
    /// How it is called when it is gone.
    shown: String,
}

impl Target {
    fn of(image: &Image) -> Self {
        let name = image.names.first().map(ToString::to_string);
        Self {
            directory: image.id.directory().to_owned(),
            shown: format!("{} {}", image.id.short(), name.unwrap_or_default()),
        }
    }
}

/// The one image that is meant. One that cannot be read can be removed by the beginning of its ID.
fn choose(store: &Store, text: &str) -> Result<Target> {
    match Reference::parse(text)? {
        Reference::Id(prefix) => match store.get(&prefix) {
            Ok(image) => Ok(Target::of(&image)),
            Err(error) => {
                let damaged = store.contents()?.damaged;
                let mut matching = damaged
                    .iter()
                    .filter(|name| prefix.may_match_directory(name));
                match (matching.next(), matching.next()) {
                    (Some(directory), None) => Ok(Target {
                        directory: directory.clone(),
                        shown: format!("{}, which was damaged", &directory[..19]),
                    }),
                    _ => Err(error),
                }
            }
        },
        Reference::Name(name) => {
            let mut images = store.list()?;
            images.retain(|image| {
                let mut names = image.names.iter();
                names.any(|known| name.fits(&known.name, known.version.as_deref()))
            });
            match &images[..] {
                [] => bail!("no image of this name is in the store; see skim image list"),
                [image] => Ok(Target::of(image)),
                several => {
                    let ids: Vec<_> = several.iter().map(|image| image.id.short()).collect();
                    bail!(
                        "ambiguous image name: {} are called so; give the version, or one of these IDs",
                        ids.join(", ")
                    )
                }
            }
        }
        _ => Ok(Target::of(&super::find(store, text)?)),
    }
}

/// Refuses where a pod or a service uses the image.
fn check_unused(target: &Target, uses: &Uses) -> Result<()> {
    let pods = uses.of_directory(&target.directory);
    let versions = uses.versions_of_directory(&target.directory);
    ensure!(
        pods.is_empty(),
        "in use by pod {}: stop it and remove it first (skim stop, skim rm), or give --force",
        pods.join(", ")
    );
    ensure!(
        versions.is_empty(),
        "in use by {}: the service starts from it, or can be rolled back to it (skim rollback --list); give --force to remove it all the same",
        versions.join(", ")
    );
    ensure!(
        uses.unknown().is_empty(),
        "{} cannot be read, and may use it: remove that first (skim rm), or give --force",
        uses.unknown().join(", ")
    );
    Ok(())
}
