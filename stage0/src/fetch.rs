//! From what a user calls an image to an image in the store.
//!
//! - `file`: files and directories, told apart by their content
//! - `network`: registries and web servers
//!
//! Whatever the way, the image is admitted by the policy each time it is asked for: also one
//! that is in the store already.

mod file;
mod network;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::image::blob::Sha256;
use crate::image::id::{IdPrefix, ImageId};
use crate::image::reference::{NameReference, Reference};
use crate::registry::client::Network;
use crate::registry::credentials::CredentialFiles;
use crate::registry::options::NetworkOptions;
use crate::store::{Image, ImageName, Import, LayerContent, Store};
use crate::trust::{Evidence, Trust, source};

/// Why a signature is refused that nothing would check.
const ONLY_ACIS: &str =
    "only an appc image in a file or on a web server has a signature: give none with this image";

/// When the network is asked for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PullPolicy {
    /// Only if the store does not have an image of that name and tag, or address.
    New,
    /// Always, to fetch what has changed.
    Update,
    /// Never.
    Never,
}

/// How images are fetched.
pub struct Fetcher<'a> {
    /// Where they go.
    pub store: &'a Store,
    /// What is accepted.
    pub trust: &'a Trust,
    /// How they are imported.
    pub import: Import<'a>,
    /// When the network is asked.
    pub pull: PullPolicy,
    /// Whether the image must be in the store already: nothing is imported or noted.
    pub only_known: bool,
    /// How it is asked.
    pub network: NetworkOptions,
    /// As whom.
    pub credentials: CredentialFiles,
    /// The signature of an appc image that is not found beside it.
    pub signature: Option<PathBuf>,
}

impl Fetcher<'_> {
    /// The image that `reference` means; it is imported if it is new.
    ///
    /// # Errors
    /// Where there is none, it cannot be imported, or the policy does not accept it.
    pub fn fetch(&self, reference: &Reference) -> Result<Image> {
        let in_file = matches!(
            reference,
            Reference::File(_) | Reference::Url(_) | Reference::Name(_)
        );
        ensure!(in_file || self.signature.is_none(), ONLY_ACIS);
        self.find(reference)
            .map_err(|error| self.store.explain(error))
    }

    /// The image `id` of the store, admitted as the one that `reference` means; `None` where it is
    /// gone. Nobody is asked what `reference` means now.
    ///
    /// # Errors
    /// Where the policy does not accept it, or the store cannot be read.
    pub fn pinned(&self, reference: &Reference, id: &ImageId) -> Result<Option<Image>> {
        let Some(image) = self.store.find_id(id)? else {
            return Ok(None);
        };
        let (asked, pinned) = match reference {
            Reference::Registry(reference) => (Some(reference.name()), reference.digest.is_some()),
            Reference::Id(prefix) => (None, prefix.is_whole(id)),
            Reference::Name(name) => {
                let fits = |known: &&ImageName| name.fits(&known.name, known.version.as_deref());
                let known = image.names.iter().find(fits);
                (known.map(|known| known.name.clone()), false)
            }
            _ => (None, false),
        };
        self.admit(image, asked.as_deref(), pinned).map(Some)
    }

    /// The ID of the image that `reference` means now; nothing is imported. `None` where that
    /// shows only when it is: a file on a web server.
    ///
    /// # Errors
    /// As [`Fetcher::fetch`].
    pub fn identify(&self, reference: &Reference) -> Result<Option<ImageId>> {
        match reference {
            Reference::Url(_) => Ok(None),
            Reference::Registry(reference) => self.identify_in_registry(reference).map(Some),
            _ => match self.find(reference) {
                Ok(image) => Ok(Some(image.id)),
                Err(error) => match error.downcast_ref::<NotInStore>() {
                    Some(NotInStore(id)) => Ok(Some(id.clone())),
                    None => Err(error),
                },
            },
        }
    }

    fn find(&self, reference: &Reference) -> Result<Image> {
        match reference {
            Reference::File(path) => self.file(path),
            Reference::OciDirectory { path, tag } => self.directory(path, tag.as_deref()),
            Reference::OciArchive { path, tag } => self.oci_archive(path, tag.as_deref()),
            Reference::DockerArchive { path, name } => self.docker_archive(path, name.as_ref()),
            Reference::Registry(reference) => self.registry(reference),
            Reference::Url(url) => self.url(url),
            Reference::Id(prefix) => self.by_id(prefix),
            Reference::Name(name) => self.by_name(name),
        }
    }

    /// An image of the store, by its ID.
    fn by_id(&self, prefix: &IdPrefix) -> Result<Image> {
        let image = self.store.get(prefix)?;
        let pinned = prefix.is_whole(&image.id);
        self.admit(image, None, pinned)
    }

    /// An image of the store by its name, or else a file that is called so.
    fn by_name(&self, name: &NameReference) -> Result<Image> {
        if let Some(image) = self.store.find(name)? {
            ensure!(self.signature.is_none(), ONLY_ACIS);
            let fits = |known: &&ImageName| name.fits(&known.name, known.version.as_deref());
            let asked = image.names.iter().find(fits).map(|name| name.name.clone());
            return self.admit(image, asked.as_deref(), false);
        }
        let text = name.to_string();
        // It may have been meant as a path.
        if Path::new(&text).exists() {
            return self.file(Path::new(&text));
        }
        bail!(
            "no image {name} is in the store {}, and there is no such file; docker://{name} would be fetched from a registry",
            self.store.path().display()
        )
    }

    /// Refuses an image of the store that the policy does not accept under the name that was
    /// asked for; under any of its names where none was.
    fn admit(&self, image: Image, asked: Option<&str>, pinned: bool) -> Result<Image> {
        let ids = ids(&image.id, image.digest);
        let evidence = Evidence {
            ids: &ids,
            pinned,
            signature: image.signature.as_ref(),
        };
        match asked {
            Some(name) => self.trust.admit(name, &evidence)?,
            None => self.admit_names(&image.names, &evidence)?,
        }
        for layer in &image.layers {
            match &layer.content {
                LayerContent::Image(below) if *below != image.id => self.admit_dependency(below)?,
                _ => (),
            }
        }
        Ok(image)
    }

    /// Refuses an image that the policy does not accept under one of these names.
    fn admit_names(&self, names: &[ImageName], evidence: &Evidence<'_>) -> Result<()> {
        let names: BTreeSet<_> = names.iter().map(|name| name.name.as_str()).collect();
        let mut names = names.into_iter();
        names.try_for_each(|name| self.trust.admit(name, evidence))
    }

    /// Refuses an image that another one is laid over, where the policy does not accept it. One
    /// that is not in the store any more was accepted when the other was laid over it.
    fn admit_dependency(&self, id: &ImageId) -> Result<()> {
        let Some(image) = self.store.find_id(id)? else {
            return Ok(());
        };
        let evidence = Evidence {
            ids: std::slice::from_ref(id),
            pinned: false,
            signature: image.signature.as_ref(),
        };
        let admitted = self.trust.admit(image.name(), &evidence);
        admitted.with_context(|| format!("its dependency {}", image.name()))
    }

    /// The signature that the user gave, or else what `find` finds.
    fn signature(&self, find: impl FnOnce() -> Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
        let Some(path) = &self.signature else {
            return find();
        };
        let signature = source::read(path)?;
        signature
            .with_context(|| format!("there is no signature {}", path.display()))
            .map(Some)
    }

    fn network(&self) -> Result<Network> {
        Network::new(self.network.clone()).context("cannot use the network")
    }
}

/// That an image must be in the store already, and is not.
#[derive(Debug)]
struct NotInStore(ImageId);

impl std::fmt::Display for NotInStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is not in the store: fetch it first (skim fetch)")
    }
}

impl std::error::Error for NotInStore {}

/// What an image may be pinned by: its ID, and the digest of the index that led to it.
fn ids(id: &ImageId, digest: Option<Sha256>) -> Vec<ImageId> {
    let mut ids = vec![id.clone()];
    ids.extend(digest.map(|digest| ImageId::of_oci(&digest)));
    ids.dedup();
    ids
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
#[path = "fetch/tests.rs"]
mod tests;
