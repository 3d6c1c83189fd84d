//! Images from registries and web servers.

use anyhow::{Context, Result, bail, ensure};

use super::{Fetcher, PullPolicy, ids};
use crate::image::id::ImageId;
use crate::image::oci::OciImage;
use crate::image::oci::platform::Platform;
use crate::image::reference::{NameReference, RegistryReference};
use crate::registry::Damaged;
use crate::registry::client::Network;
use crate::registry::resolve::Resolved;
use crate::registry::session::Registry;
use crate::registry::url::{Fetched, without_secrets};
use crate::registry::version::Validators;
use crate::store::{Downloads, Image, ImageName, Origin, blob_of_file};
use crate::trust::verify::MAX_SIGNATURE;
use crate::trust::{Evidence, source};

impl Fetcher<'_> {
    /// An image in a registry.
    pub(super) fn registry(&self, reference: &RegistryReference) -> Result<Image> {
        let known = self.known_reference(reference)?;
        let pinned = reference.digest.is_some();
        let name = reference.name();
        match (known, self.pull) {
            (Some(image), PullPolicy::New | PullPolicy::Never) => {
                self.admit(image, Some(&name), pinned)
            }
            // What is named by its digest cannot change.
            (Some(image), PullPolicy::Update) if pinned => self.admit(image, Some(&name), true),
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

    /// The ID of what a reference means in its registry: its documents are asked for, and none of
    /// its layers.
    pub(super) fn identify_in_registry(&self, reference: &RegistryReference) -> Result<ImageId> {
        if reference.digest.is_some()
            && let Some(known) = self.known_reference(reference)?
        {
            return Ok(known.id);
        }
        let network = self.network()?;
        let resolved = self
            .open_registry(&network, reference)?
            .resolve(&Platform::host())?;
        Ok(self.described(reference, &resolved)?.1)
    }

    fn open_registry<'n>(
        &self,
        network: &'n Network,
        reference: &RegistryReference,
    ) -> Result<Registry<'n>> {
        let auth = self
            .credentials
            .lookup(&reference.registry, &reference.repository)?;
        network.registry(reference, auth)
    }

    /// The image of these documents, without its layers, and its ID. What is refused is refused
    /// before megabytes are fetched.
    fn described(
        &self,
        reference: &RegistryReference,
        resolved: &Resolved,
    ) -> Result<(OciImage, ImageId)> {
        let image = OciImage {
            manifest: Some((resolved.found.digest, resolved.found.bytes.clone())),
            config: resolved.config.clone(),
            names: vec![reference.to_name()],
            layers: Vec::new(),
        };
        let id = self.store.describe(&image)?.0;
        let evidence = Evidence {
            ids: &ids(&id, Some(resolved.digest)),
            pinned: reference.digest.is_some(),
            signature: None,
        };
        self.trust.admit(&reference.name(), &evidence)?;
        Ok((image, id))
    }

    /// Asks the registry, and fetches what the store does not have.
    fn pull(&self, reference: &RegistryReference) -> Result<Image> {
        let network = self.network()?;
        let registry = self.open_registry(&network, reference)?;
        let resolved = registry.resolve(&Platform::host())?;
        let origin = Origin {
            text: format!("docker://{reference}"),
            digest: Some(resolved.digest),
            ..Origin::default()
        };
        let (mut image, _) = self.described(reference, &resolved)?;
        let downloads = self.store.downloads();
        // A tree that is there now stays until the image uses it.
        let hold = self.store.hold()?;
        if !self.store.has_tree_of(&image)? {
            drop(hold);
            image = self.fetch_layers(&registry, &resolved, &downloads)?;
        }
        let admitted = |_: &ImageId, _: &[ImageName]| Ok(());
        let imported =
            self.store
                .import_oci(&image, &origin, self.import, Some(&downloads), admitted);
        downloads.discard().and(imported)
    }

    /// Downloads what the store does not have of an image's layers.
    fn fetch_layers(
        &self,
        registry: &Registry<'_>,
        resolved: &Resolved,
        downloads: &Downloads<'_>,
    ) -> Result<OciImage> {
        let layers = resolved.found.manifest.layers.iter();
        let size = layers.fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        let most = self.import.limits.expanded_bytes;
        ensure!(
            size <= most,
            "its layers have {size} bytes; at most {most} are fetched (--max-image-size)"
        );
        registry
            .fetch(resolved, downloads, self.import.progress)
            .or_else(|error| match error.is::<Damaged>() {
                // No use to go on with what came of it.
                true => downloads.discard().and(Err(error)),
                false => Err(error),
            })
    }

    /// The appc image in a file on a web server.
    pub(super) fn url(&self, url: &str) -> Result<Image> {
        let shown = without_secrets(url)?;
        match (self.known_url(url)?, self.pull) {
            (Some(image), PullPolicy::New | PullPolicy::Never) => self.admit(image, None, false),
            (None, PullPolicy::Never) => bail!(
                "{shown} is not in the store, and --pull-policy=never keeps it from being fetched"
            ),
            _ => self
                .download(url)
                .with_context(|| format!("cannot import {shown}")),
        }
    }

    /// The image of the store that was fetched from `url`. Whoever gives a signature wants it to be
    /// checked over the file.
    fn known_url(&self, url: &str) -> Result<Option<Image>> {
        match &self.signature {
            Some(_) => Ok(None),
            None => self.store.find_origin(url),
        }
    }

    fn download(&self, url: &str) -> Result<Image> {
        let network = self.network()?;
        let download = self.store.download(url)?;
        // Only now, as another process may have brought it meanwhile.
        let known = self.known_url(url)?;
        let validators = known.as_ref().and_then(|image| image.validators.clone());
        let get = |validators: Option<&Validators>| {
            let limit = self.import.limits.expanded_bytes;
            network.fetch_url(
                url,
                validators,
                &download.files,
                limit,
                self.import.progress,
            )
        };
        let mut fetched = get(validators.as_ref())?;
        if let (Fetched::Unchanged, Some(image)) = (&fetched, known) {
            match self.admit(image, None, false) {
                Ok(image) => return Ok(image),
                // A signature may have been put beside it since.
                Err(error) => log::debug!("fetched again: {error:#}"),
            }
            fetched = get(None)?;
        }
        let Fetched::File(file) = fetched else {
            bail!("the server says that nothing has changed since nothing was there");
        };
        let signature = self.signature(|| {
            network
                .fetch_small(&source::url(url), MAX_SIGNATURE)
                .context("cannot fetch its signature")
        })?;
        let origin = Origin {
            text: url.to_owned(),
            validators: Some(file.validators),
            ..Origin::default()
        };
        let copy = download.files.file.try_clone()?;
        let image = self.import_aci(&blob_of_file(copy)?, origin, signature.as_deref());
        // Whole and of no further use, also where it was refused.
        download.remove()?;
        image
    }
}
