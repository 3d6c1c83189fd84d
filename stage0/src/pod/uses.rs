//! Which images and trees pods use, and the versions of services.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use stage1_skim::pod::PodPlan;

use super::directory::{Found, Pods};
use super::info::PodInfo;
use crate::image::id::ImageId;
use crate::service::directory::{self, ServiceDirectory};
use crate::service::versions::Versions;

/// How often the pods are listed anew, as one was moved while it was read.
const MOST_TRIES: usize = 100;

/// What the pods use whose directories are still there, whatever their state: an app's overlay
/// may be mounted until its pod is deleted. And what services start from, or can be rolled back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// The UUIDs of pods, by the image that an app of theirs runs from.
    images: HashMap<ImageId, Vec<String>>,
    trees: HashSet<PathBuf>,
    /// The versions of services, by the image that an app runs from in them: `version 3 of web`.
    versions: HashMap<ImageId, Vec<String>>,
    /// What cannot be understood: `pod UUID`, `service NAME`.
    unknown: Vec<String>,
}

impl Uses {
    /// Reads the plans of all pods and the versions of all services. Nobody may make a pod
    /// meanwhile: the store must be locked.
    ///
    /// # Errors
    /// Where the pods or the services cannot be listed.
    pub fn read(pods: &Pods) -> Result<Self> {
        for _ in 0..MOST_TRIES {
            if let Some(mut uses) = Self::of(&pods.list()?) {
                uses.add_services(pods.skim_directory())?;
                return Ok(uses);
            }
        }
        bail!("pods come and go too fast to see which images they use; try again")
    }

    /// What these pods use; `None` where one has been moved or deleted since it was found.
    fn of(found: &[Found]) -> Option<Self> {
        let mut uses = Self::default();
        for pod in found {
            match PodInfo::read(pod) {
                Ok(PodInfo {
                    plan: Some(plan), ..
                }) => uses.add(&plan),
                // A pod that was not given a plan while the store was not locked gets none.
                Ok(_) if pod.path.exists() => (),
                Err(error) if pod.path.exists() => {
                    log::warn!("pod {}: {error:#}", pod.uuid);
                    uses.unknown.push(format!("pod {}", pod.uuid));
                }
                Ok(_) | Err(_) => return None,
            }
        }
        Some(uses)
    }

    fn add(&mut self, plan: &PodPlan) {
        for app in &plan.apps {
            self.trees.insert(app.image.tree.clone());
            let Ok(id) = ImageId::parse(&app.image.id) else {
                self.unknown.push(format!("pod {}", plan.uuid));
                continue;
            };
            let pods = self.images.entry(id).or_default();
            if !pods.contains(&plan.uuid) {
                pods.push(plan.uuid.clone());
            }
        }
    }

    fn add_services(&mut self, skim_directory: &Path) -> Result<()> {
        for name in directory::names(skim_directory)? {
            match ServiceDirectory::peek(skim_directory, &name) {
                Ok(versions) => self.add_versions(&name, &versions),
                Err(error) => {
                    log::warn!("{error:#}");
                    self.unknown.push(format!("service {name}"));
                }
            }
        }
        Ok(())
    }

    fn add_versions(&mut self, name: &str, versions: &Versions) {
        for (number, image) in versions.images() {
            let all = self.versions.entry(image.clone()).or_default();
            let version = format!("version {number} of {name}");
            if !all.contains(&version) {
                all.push(version);
            }
        }
    }

    /// The UUIDs of the pods that use an image.
    pub fn of_image(&self, id: &ImageId) -> &[String] {
        self.images.get(id).map_or(&[], Vec::as_slice)
    }

    /// The UUIDs of the pods that use the image in the directory of this name.
    pub fn of_directory(&self, directory: &str) -> &[String] {
        let mut images = self.images.iter();
        let found = images.find(|(id, _)| id.directory() == directory);
        found.map_or(&[], |(_, pods)| pods.as_slice())
    }

    /// The versions of services that use the image in the directory of this name:
    /// `version 3 of web`.
    pub fn versions_of_directory(&self, directory: &str) -> &[String] {
        let mut images = self.versions.iter();
        let found = images.find(|(id, _)| id.directory() == directory);
        found.map_or(&[], |(_, versions)| versions.as_slice())
    }

    /// Whether anybody uses the image in the directory of this name.
    pub fn has_directory(&self, directory: &str) -> bool {
        !self.of_directory(directory).is_empty()
            || !self.versions_of_directory(directory).is_empty()
    }

    /// Whether a pod uses the tree at this path.
    pub fn has_tree(&self, tree: &Path) -> bool {
        self.trees.contains(tree)
    }

    /// What may use anything, as it cannot be understood: `pod UUID`, `service NAME`.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }
}

/// The plan of a pod with one app, for tests.
#[cfg(test)]
pub fn plan(uuid: &str, id: &ImageId, tree: &Path) -> PodPlan {
    let app = serde_json::json!({
        "name": "app",
        "image": {"name": "a", "version": null, "id": id, "tree": tree},
        "rootfs": "/r", "exec": {"path": "/x", "argv": ["x"]},
        "pre_start": null, "post_stop": null, "working_directory": "/",
        "credentials": {"uid": 0, "gid": 0, "supplementary_gids": []},
        "environment": [], "requires": [], "notify": false,
        "image_settings": [], "user_settings": []
    });
    serde_json::from_value(serde_json::json!({
        "version": stage1_skim::pod::CONTRACT_VERSION, "uuid": uuid, "apps": [app]
    }))
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::state::Stage;
    use stage1_skim::names::PLAN_FILE;

    const A: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    const B: &str = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";
    const C: &str = "6ba7b812-9dad-11d1-80b4-00c04fd430c8";

    #[test]
    fn pods_of_every_state_use_their_images() {
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let ids = [1, 2].map(|byte| ImageId::from_digest(&[byte; 64]));
        assert_eq!(Uses::read(&pods).unwrap(), Uses::default());
        let mut made = [A, B].map(|uuid| pods.create(uuid).unwrap());
        made[0].fill(&plan(A, &ids[0], Path::new("/t/1"))).unwrap();
        made[1].fill(&plan(B, &ids[0], Path::new("/t/1"))).unwrap();
        let _without_plan = pods.create(C).unwrap();
        pods.move_to(&mut made[1], Stage::Run).unwrap();
        pods.move_to(&mut made[1], Stage::ExitedGarbage).unwrap();
        let uses = Uses::read(&pods).unwrap();
        assert_eq!(uses.of_image(&ids[0]), [A, B]);
        assert_eq!(uses.of_directory(ids[0].directory()), [A, B]);
        assert_eq!(uses.of_image(&ids[1]), [""; 0]);
        assert!(uses.has_tree(Path::new("/t/1")) && !uses.has_tree(Path::new("/t/2")));
        assert_eq!(uses.unknown(), [""; 0]);
    }

    #[test]
    fn versions_of_services_use_their_images() {
        use crate::service::versions::{Pin, Pins};
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let ids = [1, 2].map(|byte| ImageId::from_digest(&[byte; 64]));
        let service = ServiceDirectory::open(root.path(), "web").unwrap();
        let pin = Pin {
            reference: "r".into(),
            image: ids[0].clone(),
        };
        let pins = Pins::from([("a".to_owned(), pin.clone()), ("b".to_owned(), pin)]);
        service
            .change(|versions| Ok(versions.started(pins, 1)))
            .unwrap();
        let uses = Uses::read(&pods).unwrap();
        let directory = ids[0].directory();
        assert_eq!(uses.versions_of_directory(directory), ["version 1 of web"]);
        assert!(uses.has_directory(directory) && !uses.has_directory(ids[1].directory()));
        std::fs::write(root.path().join("services/web/versions.json"), "{").unwrap();
        assert_eq!(Uses::read(&pods).unwrap().unknown(), ["service web"]);
    }

    #[test]
    fn a_plan_that_cannot_be_read_may_mean_anything() {
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let pod = pods.create(A).unwrap();
        std::fs::write(pod.path.join(PLAN_FILE), "{").unwrap();
        assert_eq!(Uses::read(&pods).unwrap().unknown(), [format!("pod {A}")]);
        let mut gone = pods.list().unwrap();
        gone[0].path = root.path().join("gone");
        assert_eq!(Uses::of(&gone), None);
    }
}
