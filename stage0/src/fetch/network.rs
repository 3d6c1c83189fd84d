//! Images from registries and web servers.

use anyhow::{Context, Result, bail};

use super::{Fetcher, PullPolicy, ids};
use crate::image::id::ImageId;
use crate::image::manifest::ImageManifest;
use crate::image::oci::OciImage;
use crate::image::oci::platform::Platform;
use crate::image::reference::{NameReference, RegistryReference};
use crate::registry::Damaged;
use crate::registry::url::Fetched;
use crate::store::{Image, Origin, blob_of_file};
use crate::trust::verify::MAX_SIGNATURE;
use crate::trust::{Evidence, source};

impl Fetcher<'_> {
    /// An image in a registry.
    pub(super) fn registry(&self, reference: &RegistryReference) -> Result<Image> {
        let known = self.known_reference(reference)?;
        let pinned = reference.digest.is_some();
        match (known, self.pull) {
            (Some(image), PullPolicy::New | PullPolicy::Never) => self.admit(image, pinned),
            // What is named by its digest cannot change.
            (Some(image), PullPolicy::Update) if pinned => self.admit(image, true),
            (None, PullPolicy::Never) => bail!(
                "docker://{reference} is not in the store, and --pull-policy=never keeps it from being fetched"
            ),
            _ => self.pull(reference),
        }
    }

    /// The image of the store that was fetched as `reference`.
    fn known_reference(&self, reference: &RegistryReference) -> Result<Option<Image>> {
        if let Some(digest) = &reference.digest {
            return self.store.find_digest(digest);
        }
        self.store.find(&NameReference {
            name: reference.name(),
            version: reference.tag.clone(),
        })
    }

    /// Asks the registry, and fetches what the store does not have.
    fn pull(&self, reference: &RegistryReference) -> Result<Image> {
        let network = self.network()?;
        let auth = self
            .credentials
            .lookup(&reference.registry, &reference.repository)?;
        let registry = network.registry(reference, auth)?;
        let resolved = registry.resolve(&Platform::host())?;
        let origin = Origin {
            text: format!("docker://{reference}"),
            digest: Some(resolved.digest),
            ..Origin::default()
        };
        let check = |id: &ImageId, manifest: &ImageManifest| {
            let evidence = Evidence {
                ids: &ids(id, origin.digest),
                pinned: reference.digest.is_some(),
                signature: None,
            };
            self.trust.admit(&manifest.name, &evidence)
        };
        let downloads = self.store.downloads();
        let mut image = OciImage {
            manifest: Some((resolved.found.digest, resolved.found.bytes.clone())),
            config: resolved.config.clone(),
            names: vec![reference.to_name()],
            layers: Vec::new(),
        };
        if !self.store.has_tree_of(&image)? {
            // What is refused is refused before megabytes are fetched.
            let (id, manifest) = self.store.describe(&image)?;
            check(&id, &manifest)?;
            image = registry
                .fetch(&resolved, &downloads, self.import.progress)
                .or_else(|error| match error.is::<Damaged>() {
                    // No use to go on with what came of it.
                    true => downloads.discard().and(Err(error)),
                    false => Err(error),
                })?;
        }
        let imported = self
            .store
            .import_oci(&image, &origin, self.import, Some(&downloads), check);
        downloads.discard().and(imported)
    }

    /// The appc image in a file on a web server.
    pub(super) fn url(&self, url: &str) -> Result<Image> {
        let known = self.store.find_origin(url)?;
        match (known, self.pull) {
            (Some(image), PullPolicy::New | PullPolicy::Never) => self.admit(image, false),
            (None, PullPolicy::Never) => bail!(
                "{url} is not in the store, and --pull-policy=never keeps it from being fetched"
            ),
            (known, _) => self.download(url, known),
        }
    }

    fn download(&self, url: &str, known: Option<Image>) -> Result<Image> {
        let network = self.network()?;
        let download = self.store.download(url)?;
        let validators = known.as_ref().and_then(|image| image.validators.as_ref());
        let limit = self.import.limits.expanded_bytes;
        let progress = self.import.progress;
        let fetched = network.fetch_url(url, validators, &download.files, limit, progress)?;
        let file = match (fetched, known) {
            (Fetched::File(file), _) => file,
            (Fetched::Unchanged, Some(image)) => return self.admit(image, false),
            (Fetched::Unchanged, None) => {
                bail!("{url}: the server says that nothing has changed since nothing was there")
            }
        };
        let signature = match &self.signature {
            Some(path) => source::read(path)?,
            None => network
                .fetch_small(&source::url(url), MAX_SIGNATURE)
                .with_context(|| format!("cannot fetch the signature of {url}"))?,
        };
        let origin = Origin {
            text: url.to_owned(),
            validators: Some(file.validators),
            ..Origin::default()
        };
        let copy = download.files.file.try_clone()?;
        let image = self
            .import_aci(&blob_of_file(copy)?, origin, signature.as_deref())
            .with_context(|| format!("cannot import {url}"));
        // Whole and of no further use, also where it was refused.
        download.remove()?;
        image
    }
}
