//! What `skim service run`, `skim update` and `skim rollback` have in common: a service, from its
//! pod file to a pod of one of its versions.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use stage1_skim::bus::BlockingBus;
use stage1_skim::names::PodUnits;
use stage1_skim::pod::ServicePlan;
use stage1_skim::{journal, signals, stdio};

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

/// How many lines of a failed pod's log are shown.
const LOG_LINES: &str = "--lines=15";

/// The exit code where a version did not come up, and the one before runs again.
pub(super) const EXIT_WENT_BACK: u8 = 1;

/// The exit code where neither the version nor the one before comes up.
pub(super) const EXIT_DOWN: u8 = 3;

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
        self.service.change(|versions| {
            versions.started(pins, now());
            versions.trim(self.keep());
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
        let outcome = switch.run(|failure, pod| {
            self.tell_failure(number, failure);
            show_log(&unit, pod, since);
        })?;
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
fn show_log(unit: &str, pod: &str, since: SystemTime) {
    let shown = journal::synchronize().and_then(|()| {
        let since = since.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let output = Command::new("journalctl")
            .args(["--quiet", "--no-pager", "--no-hostname", "--all", LOG_LINES])
            .arg(format!("--since=@{since}"))
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

/// Whether this process was asked to end. It does so at once, but for where it would leave a
/// version on trial; there a second signal does.
pub(super) struct Interrupt {
    is_critical: Arc<AtomicBool>,
    is_asked: Arc<AtomicBool>,
}

/// As long as it lasts, a signal does not end this process.
pub(super) struct Critical<'a>(&'a Interrupt);

impl Interrupt {
    /// From now on signals are watched for.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub(super) fn watch() -> Result<Self> {
        let is_critical = Arc::new(AtomicBool::new(false));
        let is_asked = Arc::new(AtomicBool::new(false));
        let (critical, asked) = (is_critical.clone(), is_asked.clone());
        signals::watch(move |signal| {
            if !critical.load(Ordering::SeqCst) || asked.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
        })?;
        Ok(Self {
            is_critical,
            is_asked,
        })
    }

    fn critical(&self) -> Critical<'_> {
        self.is_critical.store(true, Ordering::SeqCst);
        Critical(self)
    }

    /// Whether it was.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }
}

impl Drop for Critical<'_> {
    fn drop(&mut self) {
        self.0.is_critical.store(false, Ordering::SeqCst);
    }
}

/// What has become of a service, for scripts.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The service.
    pub(super) name: String,
    /// What was done.
    pub(super) result: Done,
    /// The version that is current now; `null` where there is none.
    pub(super) version: Option<u64>,
    /// The version that was current before.
    pub(super) before: Option<u64>,
    /// Why something was not done, or went wrong.
    pub(super) reason: Option<String>,
    /// The apps.
    pub(super) apps: Vec<AppReport>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Done {
    /// Nothing: it has the images that it should have.
    UpToDate,
    /// Nothing: it is not to be done unasked.
    Skipped,
    /// Nothing: it was only asked whether there is something to do, and there is.
    Available,
    /// The version runs.
    Switched,
    /// The version is what the next start takes.
    MadeCurrent,
    /// The version did not come up, and the one before runs again.
    WentBack,
    /// Neither comes up.
    Down,
    /// Nothing: something is wrong.
    Failed,
}

/// An app's image, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AppReport {
    /// The app.
    pub(super) app: String,
    /// How the pod file calls its image.
    pub(super) reference: String,
    /// The image that it has.
    pub(super) current: Option<ImageId>,
    /// The image that it would have, or has now; `null` where that shows only once it is fetched.
    pub(super) new: Option<ImageId>,
}

impl Report {
    /// Of a service of which no more is known.
    pub(super) fn failed(name: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_owned(),
            result: Done::Failed,
            version: None,
            before: None,
            reason: Some(format!("{error:#}")),
            apps: Vec::new(),
        }
    }

    /// The exit code of a command that did this.
    pub(super) fn code(&self) -> u8 {
        match self.result {
            Done::WentBack => EXIT_WENT_BACK,
            Done::Down => EXIT_DOWN,
            Done::Failed => stage1_skim::names::EXIT_ERROR,
            _ => 0,
        }
    }

    /// Takes in how a switch to `number` ended.
    pub(super) fn conclude(&mut self, number: u64, outcome: &Outcome) {
        (self.result, self.version, self.reason) = match outcome {
            Outcome::Switched => (Done::Switched, Some(number), None),
            Outcome::Failed { failure, again, .. } => match again {
                None => (Done::WentBack, self.before, Some(failure.to_string())),
                Some(again) => (
                    Done::Down,
                    self.before,
                    Some(format!("{failure}; the version before: {again}")),
                ),
            },
        };
    }

    /// What is said of it, to people.
    pub(super) fn tell(&self, quiet: bool) -> Result<()> {
        let name = &self.name;
        let reason = self.reason.as_deref().unwrap_or_default();
        let version = self.version.unwrap_or_default();
        match self.result {
            Done::Failed => log::error!("{name}: {reason}"),
            Done::WentBack => log::error!("{name}: version {version} runs again"),
            Done::Down => log::error!(
                "{name} IS DOWN: version {version} does not come up again, either: {reason}; see systemctl status and journalctl"
            ),
            Done::Skipped => log::info!("{name}: {reason}"),
            _ if quiet => (),
            Done::UpToDate => stdio::print(&format!("{name}: up to date (version {version})\n"))?,
            Done::Switched => stdio::print(&format!("{name}: version {version} runs\n"))?,
            Done::MadeCurrent => stdio::print(&format!(
                "{name} does not run: version {version} is what its next start takes\n"
            ))?,
            Done::Available => (),
        }
        Ok(())
    }
}

/// The exit code of several: the worst.
pub(super) fn worst(reports: &[Report]) -> u8 {
    let badness = |code: &u8| match *code {
        EXIT_DOWN => 3,
        EXIT_WENT_BACK => 1,
        0 => 0,
        _ => 2,
    };
    let codes = reports.iter().map(Report::code);
    codes.max_by_key(badness).unwrap_or(0)
}

/// What each app has, and gets.
pub(super) fn app_reports(
    versions: &Versions,
    wanted: &[Wanted],
    new: impl Fn(usize) -> Option<ImageId>,
) -> Vec<AppReport> {
    let current = |app: &str| Some(versions.current()?.apps.get(app)?.image.clone());
    let wanted = wanted.iter().enumerate();
    wanted
        .map(|(index, wanted)| AppReport {
            app: wanted.app.clone(),
            reference: wanted.reference.clone(),
            current: current(&wanted.app),
            new: new(index),
        })
        .collect()
}

/// How the pod file calls the images.
pub(super) fn file_references(wanted: &[Wanted]) -> crate::service::versions::References {
    let wanted = wanted.iter();
    wanted
        .map(|wanted| (wanted.app.clone(), wanted.reference.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(result: Done) -> Report {
        Report {
            result,
            ..Report::failed("web", &anyhow::anyhow!("no"))
        }
    }

    #[test]
    fn the_worst_counts() {
        use Done::{Down, Failed, Switched, UpToDate, WentBack};
        for (results, code) in [
            (vec![], 0),
            (vec![UpToDate, Switched], 0),
            (vec![WentBack, UpToDate], EXIT_WENT_BACK),
            (vec![WentBack, Failed, UpToDate], 254),
            (vec![Down, Failed, WentBack], EXIT_DOWN),
        ] {
            let reports: Vec<_> = results.iter().map(|result| report(*result)).collect();
            assert_eq!(worst(&reports), code, "{results:?}");
        }
    }

    #[test]
    fn a_failed_switch_names_both_reasons() {
        let mut report = report(Done::Failed);
        report.before = Some(3);
        let failed = |again: Option<&str>| Outcome::Failed {
            failure: Failure::Restarted,
            pod: String::new(),
            again: again.map(str::to_owned),
        };
        report.conclude(4, &failed(None));
        assert_eq!((report.result, report.version), (Done::WentBack, Some(3)));
        report.conclude(4, &failed(Some("never")));
        assert_eq!(report.result, Done::Down);
        assert!(report.reason.unwrap().ends_with("before: never"));
    }
}
