//! From what a pod file says to the images of a version.

use anyhow::{Context, Result, bail, ensure};

use super::versions::{Pin, Pins, Version, Versions};
use crate::fetch::Fetcher;
use crate::image::id::ImageId;
use crate::image::reference::Reference;
use crate::store::Image;

/// An app of the pod file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub app: String,
    /// How the file calls its image.
    pub reference: String,
}

/// The images that a start runs from, in the order of the apps: those of the current version,
/// without asking anybody; of what the file calls otherwise than before, what that means now.
///
/// # Errors
/// Where an image cannot be had.
pub fn for_start(
    fetcher: &Fetcher<'_>,
    versions: &Versions,
    apps: &[Wanted],
) -> Result<Vec<Image>> {
    each(apps, |wanted, reference| {
        match versions.pinned(&wanted.app, &wanted.reference) {
            Some(id) => pinned(fetcher, reference, id, versions.current()),
            None => fetcher.fetch(reference),
        }
    })
}

/// The images that the file's references mean now, by the fetcher's pull policy.
///
/// # Errors
/// Where an image cannot be had.
pub fn anew(fetcher: &Fetcher<'_>, apps: &[Wanted]) -> Result<Vec<Image>> {
    each(apps, |_, reference| fetcher.fetch(reference))
}

/// The IDs of the images that the file's references mean now; nothing is imported. `None` where
/// that shows only when it is.
///
/// # Errors
/// Where somebody who must be asked does not say.
pub fn identify(fetcher: &Fetcher<'_>, apps: &[Wanted]) -> Result<Vec<Option<ImageId>>> {
    each(apps, |_, reference| fetcher.identify(reference))
}

/// The images of a version.
///
/// # Errors
/// Where one is gone, and its reference means another one.
pub fn of_version(fetcher: &Fetcher<'_>, version: &Version, apps: &[Wanted]) -> Result<Vec<Image>> {
    each(apps, |wanted, _| {
        let pin = version.apps.get(&wanted.app);
        let pin = pin.with_context(|| format!("version {} has no image for it", version.number))?;
        let reference = Reference::parse(&pin.reference)?;
        pinned(fetcher, &reference, &pin.image, Some(version))
    })
}

/// Which image each app runs from.
pub fn pins(apps: &[Wanted], images: &[Image]) -> Pins {
    let pairs = apps.iter().zip(images);
    pairs
        .map(|(wanted, image)| {
            let pin = Pin {
                reference: wanted.reference.clone(),
                image: image.id.clone(),
            };
            (wanted.app.clone(), pin)
        })
        .collect()
}

/// The image `id` of the store; where it is gone, the one that its reference means, if it is the
/// same.
fn pinned(
    fetcher: &Fetcher<'_>,
    reference: &Reference,
    id: &ImageId,
    version: Option<&Version>,
) -> Result<Image> {
    if let Some(image) = fetcher.pinned(reference, id)? {
        return Ok(image);
    }
    let number = version.map_or(0, |version| version.number);
    let gone = || {
        format!(
            "the image {} of version {number} is gone from the store, and must be fetched again",
            id.short()
        )
    };
    let image = fetcher.fetch(reference).with_context(gone)?;
    if image.id != *id {
        bail!(
            "the image {} of version {number} is gone from the store, and what is there under its name now is {}: skim update takes that, or import the old one again (skim fetch)",
            id.short(),
            image.id.short()
        );
    }
    Ok(image)
}

fn each<T>(apps: &[Wanted], find: impl Fn(&Wanted, &Reference) -> Result<T>) -> Result<Vec<T>> {
    ensure!(!apps.is_empty(), "the pod has no apps");
    let apps = apps.iter().map(|wanted| {
        Reference::parse(&wanted.reference)
            .and_then(|reference| find(wanted, &reference))
            .with_context(|| format!("image {}", wanted.reference))
    });
    apps.collect()
}
