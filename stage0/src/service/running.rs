//! The pod that a service runs now.

use anyhow::Result;
use stage1_skim::pod::PodPlan;
use stage1_skim::{names, pod_dir};

use super::versions::Version;
use crate::pod::directory::{Found, Pods};
use crate::pod::state::{Stage, State};

/// A pod that runs as a service.
#[derive(Clone, Debug)]
pub struct Running {
    /// Where it is.
    pub found: Found,
    /// Its plan.
    pub plan: PodPlan,
}

impl Running {
    /// The pod that the service `name` runs now, if any.
    ///
    /// # Errors
    /// Where the pods cannot be listed.
    pub fn find(pods: &Pods, name: &str) -> Result<Option<Self>> {
        let running = pods_of(pods, name, |state| state == State::Running)?;
        let first = running.into_iter().next();
        Ok(first.map(|(found, plan)| Self { found, plan }))
    }

    /// Whether it runs from the images of a version.
    pub fn is_of(&self, version: &Version) -> bool {
        let apps = &self.plan.apps;
        apps.len() == version.apps.len()
            && apps.iter().all(|app| {
                let pin = version.apps.get(&app.name);
                pin.is_some_and(|pin| pin.image.as_str() == app.image.id)
            })
    }

    /// Whether all its apps are up.
    pub fn is_ready(&self) -> bool {
        self.found.path.join(names::READY_FILE).exists()
    }
}

/// The pods of the service `name` in the states that are meant, and their plans.
///
/// # Errors
/// Where the pods cannot be listed.
pub fn pods_of(
    pods: &Pods,
    name: &str,
    is_meant: impl Fn(State) -> bool,
) -> Result<Vec<(Found, PodPlan)>> {
    let mut all = Vec::new();
    for found in pods.list()? {
        if !is_meant(found.state) {
            continue;
        }
        match pod_dir::read_plan(&found.path) {
            Ok(plan) => {
                let service = plan.service.as_ref();
                if service.is_some_and(|service| service.name == name) {
                    all.push((found, plan));
                }
            }
            // It went meanwhile, or is another version's: skim gc knows what to do with it.
            Err(error) => log::debug!("pod {}: {error:#}", found.uuid),
        }
    }
    Ok(all)
}

/// Takes a pod away that was prepared and never run.
///
/// # Errors
/// Where the file system refuses.
pub fn discard_prepared(pods: &Pods, uuid: &str) -> Result<()> {
    let Some(found) = pods.look(uuid)? else {
        return Ok(());
    };
    if found.state != State::Prepared {
        return Ok(());
    }
    // Where somebody else has it, it is in good hands.
    if let Some(mut pod) = pods.try_lock(&found)? {
        pods.move_to(&mut pod, Stage::Garbage)?;
        pods.delete(&pod)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::image::id::ImageId;
    use crate::pod::uses;
    use crate::service::versions::{Pin, Pins, Versions};
    use stage1_skim::pod::ServicePlan;

    const A: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    const B: &str = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";

    #[test]
    fn the_running_pod_of_a_service_is_found() {
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let id = ImageId::from_digest(&[1; 64]);
        let make = |uuid: &str, name: &str| {
            let mut plan = uses::plan(uuid, &id, Path::new("/t"));
            plan.service = Some(ServicePlan {
                name: name.into(),
                unit: format!("{name}.service"),
                after: Vec::new(),
            });
            let mut pod = pods.create(uuid).unwrap();
            pod.fill(&plan).unwrap();
            pods.move_to(&mut pod, Stage::Run).unwrap();
            pod
        };
        let mut web = make(A, "web");
        let _db = make(B, "db");
        let running = Running::find(&pods, "web").unwrap().unwrap();
        assert_eq!(running.found.uuid, A);
        assert!(!running.is_ready());
        let pin = |id| Pin {
            reference: "r".into(),
            image: id,
        };
        for (app, id, expected) in [
            ("app", id.clone(), true),
            ("other", id.clone(), false),
            ("app", ImageId::from_digest(&[2; 64]), false),
        ] {
            let mut versions = Versions::default();
            versions.started(Pins::from([(app.to_owned(), pin(id))]), 1);
            assert_eq!(running.is_of(versions.current().unwrap()), expected);
        }
        pods.move_to(&mut web, Stage::ExitedGarbage).unwrap();
        assert!(Running::find(&pods, "web").unwrap().is_none());
    }

    #[test]
    fn what_was_prepared_is_discarded_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let pods = Pods::new(root.path());
        let mut pod = pods.create(A).unwrap();
        pods.move_to(&mut pod, Stage::Prepared).unwrap();
        drop(pod);
        let mut other = pods.create(B).unwrap();
        pods.move_to(&mut other, Stage::Run).unwrap();
        discard_prepared(&pods, A).unwrap();
        discard_prepared(&pods, B).unwrap();
        assert!(pods.look(A).unwrap().is_none());
        assert!(pods.look(B).unwrap().is_some());
        discard_prepared(&pods, A).unwrap();
    }
}
