//! What `skim service run`, `skim update` and `skim rollback` have in common: a service, from its
//! pod file to a pod of one of its versions.

mod interrupt;
mod report;

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use stage1_skim::bus::BlockingBus;
use stage1_skim::names::PodUnits;
use stage1_skim::pod::ServicePlan;
use stage1_skim::{journal, stdio};

use super::image_flags::{Fetching, ImageFlags};
use super::making::{Making, PodKind, Source};
use super::run_prepared;
use crate::fetch::{Fetcher, PullPolicy};
use crate::host::Host;
use crate::image::id::ImageId;
use crate::pod::directory::{LockedPod, Pods};
use crate::pod::state::{Stage, State};
use crate::pod_file::find::Described;
use crate::pod_file::{PodFile, SearchPath};
use crate::service::directory::ServiceDirectory;
use crate::service::images::{self, Wanted};
use crate::service::judge::{Bounds, Failure};
use crate::service::running::{Running, discard_prepared};
use crate::service::switch::{Outcome, Switch};
use crate::service::versions::{Pin, Pins, Versions};
use crate::store::{Image, Store};

pub(super) use self::interrupt::Interrupt;
#[cfg(test)]
pub(super) use self::report::AppReport;
pub(super) use self::report::{Done, Report, app_reports, worst};

/// How many lines of a failed pod's log are shown.
const LOG_LINES: &str = "--lines=15";

/// Where no time is given for it, a version has this one to come up.
const FOREVER: Duration = Duration::MAX;

/// A service.
pub(super) struct Subject<'a> {
    pub(super) host: &'a Host,
    pub(super) pods: Pods,
    pub(super) file: PodFile,
    pub(super) service: ServiceDirectory,
}

impl<'a> Subject<'a> {
    /// The service of the pod file `name`.
    ///
    /// # Errors
    /// Where there is none, or it is faulty.
    pub(super) fn load(host: &'a Host, name: &str, what: &str) -> Result<Self> {
        match SearchPath::new(&host.config).describe(name)? {
            Described::File(file) => Self::new(host, *file),
            Described::Manifest { path, .. } => bail!(
                "{} names its images by their IDs: {what} needs a pod file, {name}.skim",
                path.display()
            ),
        }
    }

    /// The service of a pod file.
    ///
    /// # Errors
    /// Where its directory cannot be used.
    pub(super) fn new(host: &'a Host, file: PodFile) -> Result<Self> {
        // It makes skim's directory, too.
        Store::open(&host.directory)?;
        Ok(Self {
            service: ServiceDirectory::open(&host.directory, &file.name)?,
            pods: Pods::new(&host.directory),
            host,
            file,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.file.name
    }

    /// The apps, and how the file calls their images.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        wanted(&self.file)
    }

    /// How many versions are kept.
    pub(super) fn keep(&self) -> usize {
        usize::try_from(self.file.pod.keep_versions).unwrap_or(usize::MAX)
    }

    /// Finds images.
    pub(super) fn with_fetcher<T>(
        &self,
        pull: PullPolicy,
        find: impl FnOnce(&Fetcher<'_>) -> Result<T>,
    ) -> Result<T> {
        let store = Store::open(&self.host.directory)?;
        let flags: &ImageFlags = &self.file.pod.images;
        flags.with_fetcher(self.host, &store, Fetching::AsNeeded(pull), find)
    }

    /// The pod of these images, in the order of the apps.
    pub(super) fn making(&self, images: Vec<Image>, service: Option<ServicePlan>) -> Making<'_> {
        let apps = self.file.apps.iter().map(|app| app.arguments.clone());
        Making {
            host: self.host,
            images: &self.file.pod.images,
            common: &self.file.pod.common,
            source: Source::Known(apps.zip(images).collect()),
            kind: PodKind {
                service,
                slice_settings: self.file.slice.clone(),
                annotations: self.file.pod.annotations.clone(),
                ..PodKind::default()
            },
            uuid_file: None,
        }
    }

    /// The pod that the service's unit is to run now: the one that an update has prepared, or
    /// else one of the current version.
    ///
    /// # Errors
    /// Whatever is wrong with the pod or its images.
    pub(super) fn start(&self, plan: ServicePlan) -> Result<LockedPod> {
        if let Some(trial) = self.service.clean_up(self.keep())? {
            log::warn!(
                "the switch to version {} was broken off before it was seen to come up: version {} runs; skim update tries again",
                trial.number,
                trial.before.number
            );
            self.discard(&trial.pod);
        }
        let versions = self.service.read()?;
        if let Some(trial) = versions.trial().filter(|trial| trial.switched)
            && let Some(pod) = self.take_prepared(&trial.pod, &plan)?
        {
            return Ok(pod);
        }
        let wanted = self.wanted();
        let images = self.with_fetcher(PullPolicy::New, |fetcher| {
            images::for_start(fetcher, &versions, &wanted)
        })?;
        let pins = images::pins(&wanted, &images);
        self.service.change(|known| {
            // An update that has gone back meanwhile has the say: what this start was told to run is
            // what did not come up, and the unit is about to be restarted.
            if *known == versions {
                known.started(pins, now());
                known.trim(self.keep());
            }
            Ok(())
        })?;
        self.making(images, Some(plan))
            .prepare(&self.pods, Stage::Run)
    }

    /// The prepared pod, where it is of this service.
    fn take_prepared(&self, uuid: &str, service: &ServicePlan) -> Result<Option<LockedPod>> {
        let found = self.pods.look(uuid)?;
        let Some(found) = found.filter(|found| found.state == State::Prepared) else {
            return Ok(None);
        };
        let plan = stage1_skim::pod_dir::read_plan(&found.path)?;
        let unit = plan.service.as_ref().map(|service| &service.unit);
        if unit != Some(&service.unit) {
            return Ok(None);
        }
        let Some(mut pod) = self.pods.try_lock(&found)? else {
            return Ok(None);
        };
        run_prepared::mount(self.host, &self.pods, &mut pod, &plan)?;
        Ok(Some(pod))
    }

    /// Ends what was broken off before, and takes in what runs. This process is at work.
    ///
    /// # Errors
    /// Where the versions or the pods cannot be read or written.
    pub(super) fn settle(&self, running: Option<&Running>) -> Result<()> {
        let (keep, name) = (self.keep(), self.name());
        let pod = self.service.change(|versions| {
            let Some(trial) = versions.trial().cloned() else {
                return Ok(None);
            };
            let is_up = versions.get(trial.number).is_some_and(|version| {
                running.is_some_and(|running| running.is_of(version) && running.is_ready())
            });
            if trial.switched && is_up {
                versions.accept(keep)?;
                log::warn!(
                    "{name}: the switch to version {} was broken off; it runs, and stays",
                    trial.number
                );
            } else {
                versions.go_back(None, keep);
                log::warn!(
                    "{name}: the switch to version {} was broken off",
                    trial.number
                );
            }
            Ok(Some(trial.pod))
        })?;
        if let Some(pod) = pod {
            self.discard(&pod);
        }
        if let Some(running) = running {
            self.service.change(|versions| {
                if versions.current().is_none() {
                    versions.started(pins_of(running, &self.wanted())?, now());
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Prepares a pod of a version, and switches to it.
    ///
    /// # Errors
    /// Whatever is wrong with the pod; where somebody stops the service or this process.
    pub(super) fn switch(
        &self,
        running: &Running,
        images: Vec<Image>,
        bounds: Bounds,
        interrupt: &Interrupt,
        stage: impl FnOnce(&mut Versions, &str) -> Result<u64>,
    ) -> Result<(u64, Outcome)> {
        let Some(service) = &running.plan.service else {
            bail!("the pod {} runs in no unit", running.found.uuid);
        };
        let after = BlockingBus::connect(&self.host.manager()?)?.after(&service.unit)?;
        let unit = service.unit.clone();
        let plan = ServicePlan {
            name: self.name().to_owned(),
            unit: unit.clone(),
            after,
        };
        let pod = self
            .making(images, Some(plan))
            .prepare(&self.pods, Stage::Prepared)?;
        let uuid = pod.uuid.clone();
        // Whoever runs it takes its lock.
        drop(pod);
        let _critical = interrupt.critical();
        let staged = self.service.change(|versions| stage(versions, &uuid));
        let number = staged.inspect_err(|_| self.discard(&uuid))?;
        let switch = Switch {
            service: &self.service,
            pods: &self.pods,
            unit: &unit,
            bounds,
            keep: self.keep(),
            is_interrupted: &|| interrupt.is_asked(),
        };
        let since = SystemTime::now();
        let mut until = since;
        let outcome = switch.run(|failure| {
            until = SystemTime::now();
            self.tell_failure(number, failure);
        })?;
        // It takes its time, which the service need not be down for.
        if let Outcome::Failed { pod, .. } = &outcome {
            show_log(&unit, pod, since, until);
        }
        Ok((number, outcome))
    }

    /// The bounds of a trial; `timeout` is the user's own.
    pub(super) fn bounds(&self, timeout: Option<Duration>) -> Bounds {
        Bounds {
            timeout: timeout.or(self.file.pod.update_timeout).unwrap_or(FOREVER),
            settle: self.file.pod.update_settle,
        }
    }

    fn tell_failure(&self, number: u64, failure: &Failure) {
        log::error!(
            "{}: version {number} did not come up: {failure}",
            self.name()
        );
    }

    fn discard(&self, uuid: &str) {
        if let Err(error) = discard_prepared(&self.pods, uuid) {
            log::warn!("{error:#}; skim gc will try again");
        }
    }
}

/// The apps of a pod file, and how it calls their images.
pub(super) fn wanted(file: &PodFile) -> Vec<Wanted> {
    let apps = file.apps.iter();
    apps.map(|app| Wanted {
        app: app.name.clone(),
        reference: app.arguments.image.clone(),
    })
    .collect()
}

/// Which images a pod runs from.
fn pins_of(running: &Running, wanted: &[Wanted]) -> Result<Pins> {
    let reference = |name: &str| wanted.iter().find(|wanted| wanted.app == name);
    let apps = running.plan.apps.iter();
    apps.map(|app| {
        let pin = Pin {
            reference: reference(&app.name)
                .map_or_else(|| app.image.id.clone(), |wanted| wanted.reference.clone()),
            image: ImageId::parse(&app.image.id)?,
        };
        Ok((app.name.clone(), pin))
    })
    .collect()
}

/// The end of what a failed pod and its unit have said, on standard error.
fn show_log(unit: &str, pod: &str, since: SystemTime, until: SystemTime) {
    let shown = journal::synchronize().and_then(|()| {
        let since = since.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        // What the version before says then is not asked for.
        let until = until.duration_since(SystemTime::UNIX_EPOCH)?.as_secs() + 1;
        let output = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--no-hostname", "--all", LOG_LINES])
            .args([format!("--since=@{since}"), format!("--until=@{until}")])
            .arg(format!("SKIM_POD_UUID={pod}"))
            .args(["+".to_owned(), format!("_SYSTEMD_UNIT={unit}")])
            .args(["+".to_owned(), format!("OBJECT_SYSTEMD_UNIT={unit}")])
            .args(["+".to_owned(), format!("UNIT={unit}"), "_UID=0".to_owned()])
            .args([
                "+".to_owned(),
                format!("_SYSTEMD_UNIT={}", PodUnits::new(pod).scope()),
            ])
            .stdin(Stdio::null())
            .output()
            .context("cannot run journalctl")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in text.lines() {
            stdio::complain(&format!("  {}", super::output::printable(line)));
        }
        Ok(())
    });
    if let Err(error) = shown {
        log::warn!("{error:#}");
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// How the pod file calls the images.
pub(super) fn file_references(wanted: &[Wanted]) -> crate::service::versions::References {
    let wanted = wanted.iter();
    wanted
        .map(|wanted| (wanted.app.clone(), wanted.reference.clone()))
        .collect()
}
