//! What an appc image builds upon (appc spec, "Dependency Matching").

use anyhow::{Context, Result, bail, ensure};

use super::{Image, Store};
use crate::image::id::ImageId;
use crate::image::manifest::{Dependency, ImageManifest};

/// Most images that one may be laid over.
const MOST: usize = 256;
/// How deep dependencies may lie.
const DEPTH: usize = 32;

/// Finds images.
trait Images {
    /// The image that a dependency means.
    fn find(&self, dependency: &Dependency) -> Result<(ImageId, ImageManifest)>;
}

impl Images for [Image] {
    fn find(&self, dependency: &Dependency) -> Result<(ImageId, ImageManifest)> {
        let name = &dependency.image_name;
        // The newest import counts, as where the user names an image.
        let image = self.iter().rev().find(|image| matches(image, dependency));
        let image = image.with_context(|| {
            let wanted = match &dependency.image_id {
                Some(id) => format!("{name} ({id})"),
                None => name.clone(),
            };
            let labels: Vec<_> = dependency
                .labels
                .iter()
                .map(|label| format!(" {}={}", label.name, label.value))
                .collect();
            format!(
                "it depends on the image {wanted}{}, which is not in the store: fetch that one first",
                labels.concat()
            )
        })?;
        if let Some(size) = dependency.size {
            let found = image.archive().map_or(0, |layer| layer.size);
            ensure!(
                found == size || image.archive().is_some_and(|layer| layer.blob_size == size),
                "it depends on the image {name} with {size} bytes, but the one in the store has {found}"
            );
        }
        Ok((image.id.clone(), image.manifest.clone()))
    }
}

/// Whether an image is what a dependency means.
fn matches(image: &Image, dependency: &Dependency) -> bool {
    let labels = || {
        dependency
            .labels
            .iter()
            .all(|label| image.manifest.label(&label.name) == Some(&*label.value))
    };
    let id = || match &dependency.image_id {
        Some(id) => image.id.as_str().starts_with(id.as_str()),
        None => true,
    };
    !image.id.is_oci() && image.manifest.name == dependency.image_name && id() && labels()
}

impl Store {
    /// All images that the image `id` is laid over, the lowest first: each one's dependencies
    /// in their order before itself, so that later ones override earlier ones.
    ///
    /// # Errors
    /// Where one is not in the store, or the image depends on itself.
    pub(super) fn dependencies(
        &self,
        manifest: &ImageManifest,
        id: &ImageId,
    ) -> Result<Vec<Below>> {
        let mut order = Vec::new();
        let mut above = vec![Below {
            id: id.clone(),
            whitelists: Vec::new(),
        }];
        walk(&*self.list()?, manifest, &mut above, &mut order)?;
        Ok(order)
    }
}

/// An image that another one is laid over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The image's ID.
    pub id: ImageId,
    /// The lists of paths that alone are taken from it: its own and those of the images that
    /// led to it, but for the topmost, whose list counts for the whole.
    pub whitelists: Vec<Vec<String>>,
}

/// Adds what `manifest` depends on to `order`; `above` are the images on the way there.
fn walk<I: Images + ?Sized>(
    images: &I,
    manifest: &ImageManifest,
    above: &mut Vec<Below>,
    order: &mut Vec<Below>,
) -> Result<()> {
    for dependency in &manifest.dependencies {
        let (id, manifest) = images.find(dependency)?;
        if above.iter().any(|above| above.id == id) {
            bail!(
                "the image depends on itself, through {:?}: remove that dependency",
                dependency.image_name
            );
        }
        ensure!(
            above.len() < DEPTH,
            "its dependencies lie deeper than {DEPTH} images"
        );
        let mut whitelists = above
            .last()
            .map_or(Vec::new(), |above| above.whitelists.clone());
        if !manifest.path_whitelist.is_empty() {
            whitelists.push(manifest.path_whitelist.clone());
        }
        let below = Below { id, whitelists };
        above.push(below.clone());
        walk(images, &manifest, above, order)
            .with_context(|| format!("dependency {:?}", dependency.image_name))?;
        above.pop();
        order.push(below);
        ensure!(
            order.len() <= MOST,
            "it is laid over more than {MOST} images"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::image::testing;

    impl Images for HashMap<&str, Vec<&str>> {
        fn find(&self, dependency: &Dependency) -> Result<(ImageId, ImageManifest)> {
            let name = dependency.image_name.as_str();
            let below = self.get(name).context("not there")?;
            Ok((id(name), manifest(name, below)))
        }
    }

    fn id(name: &str) -> ImageId {
        ImageId::from_digest(&[name.as_bytes()[0]; 64])
    }

    fn manifest(name: &str, below: &[&str]) -> ImageManifest {
        let json = testing::manifest(name, "1");
        let mut manifest = ImageManifest::parse(json.as_bytes()).unwrap();
        manifest.dependencies = below
            .iter()
            .map(|name| Dependency {
                image_name: name.to_string(),
                image_id: None,
                labels: Vec::new(),
                size: None,
            })
            .collect();
        manifest
    }

    fn order(images: &[(&'static str, &[&'static str])]) -> Result<Vec<ImageId>> {
        let all: HashMap<_, _> = images
            .iter()
            .map(|(name, below)| (*name, below.to_vec()))
            .collect();
        let (name, below) = images[0];
        let mut found = Vec::new();
        let top = Below {
            id: id(name),
            whitelists: Vec::new(),
        };
        walk(&all, &manifest(name, below), &mut vec![top], &mut found)?;
        Ok(found.into_iter().map(|below| below.id).collect())
    }

    #[test]
    fn depth_comes_first_and_order_is_kept() {
        let images: [(_, &[_]); 4] = [("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])];
        let expected = ["d", "b", "d", "c"].map(id);
        assert_eq!(order(&images).unwrap(), expected);
    }

    #[test]
    fn cycles_are_refused() {
        let two: [(_, &[_]); 2] = [("a", &["b"]), ("b", &["a"])];
        let one: [(_, &[_]); 2] = [("a", &["b"]), ("b", &["b"])];
        for images in [&two, &one] {
            let error = format!("{:#}", order(images).unwrap_err());
            assert!(error.contains("depends on itself"), "{error}");
        }
    }

    #[test]
    fn explosions_are_refused() {
        // Each image twice beneath the next: 2^20 in all.
        let names: Vec<&'static str> = "abcdefghijklmnopqrstu"
            .split("")
            .filter(|name| !name.is_empty())
            .collect();
        let images: Vec<_> = names
            .windows(2)
            .map(|pair| (pair[0], vec![pair[1]; 2]))
            .collect();
        let mut borrowed: Vec<(&'static str, &[&'static str])> = images
            .iter()
            .map(|(name, below)| (*name, below.as_slice()))
            .collect();
        borrowed.push(("u", &[]));
        let error = format!("{:#}", order(&borrowed).unwrap_err());
        assert!(error.contains("more than 256"), "{error}");
    }
}
