//! The making of a pod: from what describes it to a directory that stage1 can run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use stage1_skim::bus::BlockingBus;
use stage1_skim::pod::{PodPlan, ServicePlan};
use stage1_skim::scope::RuntimeScope;
use stage1_skim::systemd::Systemd;
use stage1_skim::unit::Setting;

use super::app_arguments::AppArguments;
use super::app_flags::AppFlags;
use super::image_flags::{Fetching, ImageFlags};
use crate::fetch::{Fetcher, PullPolicy};
use crate::host::Host;
use crate::image::reference::Reference;
use crate::mounting;
use crate::pod::directory::{LockedPod, Pods};
use crate::pod::isolators::controllers;
use crate::pod::manifest::PodManifest;
use crate::pod::plan;
use crate::pod::request::{AppRequest, PodRequest};
use crate::pod::state::Stage;
use crate::pod::user_scope;
use crate::store::{Image, Store};
use crate::{gc, store};

/// No pod manifest is larger, in bytes.
const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

/// A pod that is to be made.
pub struct Making<'a> {
    /// This host.
    pub host: &'a Host,
    /// How images are fetched.
    pub images: &'a ImageFlags,
    /// Flags of all apps.
    pub common: &'a AppFlags,
    /// Where the apps are described.
    pub source: Source,
    /// What kind of pod it is.
    pub kind: PodKind,
    /// `--uuid-file-save`.
    pub uuid_file: Option<&'a Path>,
}

/// What kind of pod is made.
#[derive(Clone, Debug, Default)]
pub struct PodKind {
    /// Its one app has the caller's standard streams.
    pub interactive: bool,
    /// The service of systemd that it runs as.
    pub service: Option<ServicePlan>,
    /// Settings of its slice.
    pub slice_settings: Vec<Setting>,
    /// Annotations of the pod; they win over a pod manifest's.
    pub annotations: BTreeMap<String, String>,
}

/// Where the apps of a pod are described.
pub enum Source {
    /// App by app, as on the command line.
    Images(Vec<AppArguments>),
    /// The same, with the image that each of them runs from.
    Known(Vec<(AppArguments, Image)>),
    /// In appc's pod manifest.
    Manifest(Box<PodManifest>),
}

impl Source {
    /// The pod manifest in `file`.
    ///
    /// # Errors
    /// Where it cannot be read, or is none.
    pub fn manifest(file: &Path) -> Result<Self> {
        let context = || format!("pod manifest {}", file.display());
        let mut json = Vec::new();
        File::open(file)
            .and_then(|file| file.take(MANIFEST_MAX + 1).read_to_end(&mut json))
            .with_context(context)?;
        ensure!(
            json.len() as u64 <= MANIFEST_MAX,
            "pod manifest {}: it is larger than {MANIFEST_MAX} bytes",
            file.display()
        );
        let manifest = PodManifest::parse(&json).with_context(context)?;
        Ok(Self::Manifest(Box::new(manifest)))
    }
}

impl Making<'_> {
    /// Makes the pod in `stage`, [`Stage::Prepared`] or [`Stage::Run`]; in the latter it is
    /// mounted, too. Where that fails, nothing of it is left.
    ///
    /// # Errors
    /// Whatever is wrong with the pod, its images or this host.
    pub fn prepare(self, pods: &Pods, stage: Stage) -> Result<LockedPod> {
        let (host, uuid_file) = (self.host, self.uuid_file);
        host.check_caller()?;
        let stage1 = host.stage1()?;
        let store = Store::open(&host.directory)?;
        let fetching = Fetching::AsNeeded(PullPolicy::New);
        let request = self.request(&store, fetching)?;
        // From here on nobody takes an image away, until it shows that the pod uses it.
        let hold = store.hold()?;
        note_use(&store, &request)?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let plan = plan::plan(&uuid, &pods.run_path(&uuid), &stage1, &request)?;
        controllers::warn(&plan, &control_group(host)?)?;
        if let Some(file) = uuid_file {
            std::fs::write(file, &uuid)
                .with_context(|| format!("cannot write the UUID to {}", file.display()))?;
        }
        let pod = make(pods, &plan, stage, &stage1)?;
        drop(hold);
        Ok(pod)
    }

    /// The plan of the pod, of images that are in the store. Nothing is changed.
    ///
    /// # Errors
    /// Whatever is wrong with the pod.
    pub fn plan(self) -> Result<PodPlan> {
        let host = self.host;
        host.check_caller()?;
        let stage1 = host.stage1()?;
        ensure!(
            host.directory.join(store::DIRECTORY).is_dir(),
            "there is no store in {}: fetch the images first (skim fetch)",
            host.directory.display()
        );
        let store = Store::open(&host.directory)?;
        let request = self.request(&store, Fetching::Never)?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let path = Pods::new(&host.directory).run_path(&uuid);
        plan::plan(&uuid, &path, &stage1, &request)
    }

    fn request(self, store: &Store, fetching: Fetching) -> Result<PodRequest> {
        let (host, common) = (self.host, self.common);
        let source = self.source;
        let request = self
            .images
            .with_fetcher(host, store, fetching, |fetcher| match source {
                Source::Images(apps) => {
                    let fetch = |app: AppArguments| {
                        let reference = Reference::parse(&app.image)?;
                        let image = fetcher
                            .fetch(&reference)
                            .with_context(|| format!("image {}", app.image))?;
                        Ok((app, image))
                    };
                    let apps = apps.into_iter().map(fetch).collect::<Result<_>>()?;
                    of_images(host, common, apps)
                }
                Source::Known(apps) => of_images(host, common, apps),
                Source::Manifest(manifest) => of_manifest(fetcher, *manifest),
            })?;
        let mut annotations = request.annotations;
        annotations.extend(self.kind.annotations);
        let request = PodRequest {
            interactive: self.kind.interactive,
            service: self.kind.service,
            slice_settings: self.kind.slice_settings,
            annotations,
            ..request
        };
        match host.caller() {
            None => Ok(request),
            Some(caller) => user_scope::adapt(request, &caller),
        }
    }
}

fn of_images(
    host: &Host,
    common: &AppFlags,
    apps: Vec<(AppArguments, Image)>,
) -> Result<PodRequest> {
    let (caller, left_out) = host.environment();
    let inherits = common.inherit_env || apps.iter().any(|(app, _)| app.flags.inherit_env);
    if inherits && !left_out.is_empty() {
        log::warn!(
            "--inherit-env leaves out {}: no service can have them",
            left_out.join(", ").escape_debug()
        );
    }
    let volumes = apps.iter().flat_map(|(app, _)| &app.flags.volume);
    let volumes = common.volume.iter().chain(volumes).cloned().collect();
    let apps: Result<Vec<_>> = apps
        .into_iter()
        .map(|(app, image)| {
            let request = AppRequest {
                arguments: app.arguments,
                // A copy of the rootfs is made for whom asks for one.
                read_only_rootfs: host.scope.is_user(),
                ..AppRequest::new(image)
            };
            app.flags.apply(request, common, &caller)
        })
        .collect();
    Ok(PodRequest {
        apps: apps?,
        volumes,
        ..PodRequest::default()
    })
}

fn of_manifest(fetcher: &Fetcher<'_>, manifest: PodManifest) -> Result<PodRequest> {
    let notes = (manifest.user_annotations, manifest.user_labels);
    let apps: Result<Vec<_>> = manifest
        .apps
        .into_iter()
        .map(|app| {
            let name = app.name.clone();
            let image = fetcher.fetch(&app.image.reference);
            image
                .and_then(|image| {
                    app.image.check(&image)?;
                    app.into_request(image, &notes.0, &notes.1)
                })
                .with_context(|| format!("app {name}"))
        })
        .collect();
    Ok(PodRequest {
        apps: apps?,
        volumes: manifest.volumes,
        isolators: manifest.isolators,
        annotations: manifest.annotations,
        ..PodRequest::default()
    })
}

/// The control group that all units are beneath.
fn control_group(host: &Host) -> Result<PathBuf> {
    match host.scope {
        RuntimeScope::System => Ok("/".into()),
        RuntimeScope::User => {
            let manager = host.manager()?;
            // A pod may be prepared where none can run.
            match manager.check_running() {
                Ok(()) => BlockingBus::connect(&manager)?.control_group(),
                Err(_) => Ok("/".into()),
            }
        }
    }
}

/// Notes that the images are used, if they are still there.
fn note_use(store: &Store, request: &PodRequest) -> Result<()> {
    let now = SystemTime::now();
    request.apps.iter().try_for_each(|app| {
        let image = &app.image;
        let there = store.find_id(&image.id)?;
        ensure!(
            there.is_some_and(|there| there.key == image.key),
            "image {} was removed from the store just now, or replaced: try again",
            image.name()
        );
        store.note_use(image, now)
    })
}

/// Makes the pod in `stage`; where that fails, nothing of it is left.
fn make(pods: &Pods, plan: &PodPlan, stage: Stage, stage1: &Path) -> Result<LockedPod> {
    let mut pod = pods.create(&plan.uuid)?;
    let made = pod.fill(plan).and_then(|()| {
        if stage == Stage::Prepared {
            // It may be run after the next boot.
            pod.sync()?;
        }
        pods.move_to(&mut pod, stage)?;
        match stage {
            Stage::Run => mounting::mount(plan, &pod, stage1),
            _ => Ok(()),
        }
    });
    match made {
        Ok(()) => Ok(pod),
        Err(error) => {
            gc::report(gc::undo(pods, &pod));
            Err(error)
        }
    }
}
