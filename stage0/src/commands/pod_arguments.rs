//! The arguments of the verbs that make a pod, and the pod that they ask for.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use clap::Args;
use stage1_skim::pod::PodPlan;

use super::app_arguments::{self, AppArguments};
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
use crate::store::Store;
use crate::{gc, store};

/// No pod manifest is larger, in bytes.
const MANIFEST_MAX: u64 = 4 * 1024 * 1024;

/// How the apps of a pod are given.
#[derive(Args, Debug)]
pub struct PodArguments {
    /// How images are fetched.
    #[command(flatten)]
    pub images: ImageFlags,
    /// Make the pod that this appc pod manifest describes; its images are in the store
    #[arg(long, value_name = "FILE")]
    pub pod_manifest: Option<PathBuf>,
    /// Write the pod's UUID to this file
    #[arg(long, value_name = "FILE")]
    pub uuid_file_save: Option<PathBuf>,
    /// Flags of all apps.
    #[command(flatten)]
    pub common: AppFlags,
    /// An image (a file, docker://…, an ID, a name: see skim fetch --help) and its flags
    #[arg(
        value_name = "IMAGE",
        required_unless_present = "pod_manifest",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub apps: Vec<OsString>,
}

impl PodArguments {
    /// Makes the pod in `stage`, [`Stage::Prepared`] or [`Stage::Run`]; in the latter it is
    /// mounted, too. Where that fails, nothing of it is left.
    ///
    /// # Errors
    /// Whatever is wrong with the pod, its images or this host.
    pub fn prepare(
        &self,
        host: &Host,
        pods: &Pods,
        kind: &PodKind,
        stage: Stage,
    ) -> Result<LockedPod> {
        let source = self.source()?;
        host.need_root()?;
        let stage1 = host.stage1()?;
        let store = Store::open(&host.directory)?;
        let fetching = Fetching::AsNeeded(PullPolicy::New);
        let request = self.request(host, &store, fetching, source, kind)?;
        // From here on nobody takes an image away, until it shows that the pod uses it.
        let hold = store.hold()?;
        note_use(&store, &request)?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let plan = plan::plan(&uuid, &pods.run_path(&uuid), &stage1, &request)?;
        controllers::warn(&plan)?;
        if let Some(file) = &self.uuid_file_save {
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
    pub fn plan(&self, host: &Host, kind: &PodKind) -> Result<PodPlan> {
        let source = self.source()?;
        host.need_root()?;
        let stage1 = host.stage1()?;
        ensure!(
            host.directory.join(store::DIRECTORY).is_dir(),
            "there is no store in {}: fetch the images first (skim fetch)",
            host.directory.display()
        );
        let store = Store::open(&host.directory)?;
        let request = self.request(host, &store, Fetching::Never, source, kind)?;
        let uuid = uuid::Uuid::new_v4().to_string();
        let path = Pods::new(&host.directory).run_path(&uuid);
        plan::plan(&uuid, &path, &stage1, &request)
    }

    /// Where the apps are described.
    fn source(&self) -> Result<Source> {
        let Some(file) = &self.pod_manifest else {
            return Ok(Source::Images(app_arguments::parse(&self.apps)?));
        };
        ensure!(
            self.apps.is_empty()
                && self.common == AppFlags::default()
                && self.images.pull_policy.is_none(),
            "conflicting flags set with --pod-manifest (see --help)"
        );
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
        Ok(Source::Manifest(Box::new(manifest)))
    }

    fn request(
        &self,
        host: &Host,
        store: &Store,
        fetching: Fetching,
        source: Source,
        kind: &PodKind,
    ) -> Result<PodRequest> {
        let request = self
            .images
            .with_fetcher(host, store, fetching, |fetcher| match source {
                Source::Images(apps) => self.of_images(host, fetcher, apps),
                Source::Manifest(manifest) => of_manifest(fetcher, *manifest),
            })?;
        Ok(PodRequest {
            interactive: kind.interactive,
            ..request
        })
    }

    fn of_images(
        &self,
        host: &Host,
        fetcher: &Fetcher<'_>,
        apps: Vec<AppArguments>,
    ) -> Result<PodRequest> {
        let (caller, left_out) = host.environment();
        let inherits = self.common.inherit_env || apps.iter().any(|app| app.flags.inherit_env);
        if inherits && !left_out.is_empty() {
            log::warn!(
                "--inherit-env leaves out {}: no service can have them",
                left_out.join(", ").escape_debug()
            );
        }
        let volumes = apps.iter().flat_map(|app| &app.flags.volume);
        let volumes = self.common.volume.iter().chain(volumes).cloned().collect();
        let apps: Result<Vec<_>> = apps
            .into_iter()
            .map(|app| {
                let reference = Reference::parse(&app.image)?;
                let image = fetcher
                    .fetch(&reference)
                    .with_context(|| format!("image {}", app.image))?;
                let request = AppRequest {
                    arguments: app.arguments,
                    ..AppRequest::new(image)
                };
                app.flags.apply(request, &self.common, &caller)
            })
            .collect();
        Ok(PodRequest {
            apps: apps?,
            volumes,
            ..PodRequest::default()
        })
    }
}

/// Where the apps of a pod are described.
enum Source {
    Images(Vec<AppArguments>),
    Manifest(Box<PodManifest>),
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
        interactive: false,
    })
}

/// What kind of pod is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodKind {
    /// Its one app has the caller's standard streams.
    pub interactive: bool,
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
