//! `skim update`: other images under the same names, and back where they do not come up.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use stage1_skim::stdio;

use super::output;
use super::updating::{self, Done, Interrupt, Report, Subject};
use crate::cli::Format;
use crate::fetch::PullPolicy;
use crate::host::Host;
use crate::image::id::ImageId;
use crate::pod_file::{Faults, SearchPath};
use crate::service::directory::ServiceDirectory;
use crate::service::images;
use crate::service::running::Running;
use crate::service::versions::{Candidate, Why};
use crate::store;

const HELP: &str = "\
Examples:
  skim update web             fetch what the images' tags mean now, and run that
  skim update --dry-run web   say what would be fetched
  skim update --all           all pods with AutoUpdate=yes, as skim-update.timer does

The new pod is made while the old one runs. Then its unit is restarted; the new images stay if
the unit becomes ready within UpdateTimeoutSec= of [Pod], 90s, and then runs on for
UpdateSettleSec=, 5s, without a restart of itself or of an app. Else the images before run again,
and --all does not try the same ones any more. Sockets of the pod file stay open. A pod that does
not run gets its new images at its next start.

Exit codes: 1 where new images did not come up, and those before run again; 3 where those do not
come up, either; 254 for any other error.";

/// Arguments of `skim update`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct UpdateArguments {
    /// Update the pods whose files say AutoUpdate=yes, and run
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Say what would be updated, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Say only what goes wrong
    #[arg(long, short)]
    pub quiet: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How long new images may take to be ready [default: UpdateTimeoutSec=]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// The names of pod files: docker of docker.skim
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
}

/// Updates the pods; one that fails keeps no other from it.
///
/// # Errors
/// Where this host has no systemd, or is nobody's to change.
pub fn run(host: &Host, arguments: &UpdateArguments) -> Result<u8> {
    host.need_root()?;
    host.need_systemd()?;
    let mut reports = Vec::new();
    let names = match arguments.all {
        true => of_all(host, &mut reports)?,
        false => arguments.names.clone(),
    };
    let interrupt = Interrupt::watch()?;
    for name in &names {
        let report = match arguments.dry_run {
            true => look(host, name),
            false => update(host, name, arguments, &interrupt),
        };
        reports.push(report.unwrap_or_else(|error| Report::failed(name, &error)));
        if interrupt.is_asked() {
            break;
        }
    }
    for report in &reports {
        report.tell(arguments.quiet || arguments.format == Format::Json)?;
    }
    match arguments.format {
        Format::Json => stdio::print(&format!("{}\n", serde_json::to_string_pretty(&reports)?))?,
        Format::Text if arguments.dry_run && !arguments.quiet => stdio::print(&table(&reports))?,
        Format::Text => (),
    }
    Ok(updating::worst(&reports))
}

/// The names of the pods that are updated by themselves.
fn of_all(host: &Host, reports: &mut Vec<Report>) -> Result<Vec<String>> {
    let path = SearchPath::new(&host.config);
    let mut names = Vec::new();
    for (name, _) in path.names().map_err(Faults::from)? {
        match path.load(&name) {
            Ok(Some(file)) if file.pod.auto_update => names.push(name),
            Ok(_) => (),
            Err(faults) => reports.push(Report::failed(&name, &faults.into())),
        }
    }
    Ok(names)
}

fn update(
    host: &Host,
    name: &str,
    arguments: &UpdateArguments,
    interrupt: &Interrupt,
) -> Result<Report> {
    let subject = Subject::load(host, name, "an update")?;
    let _work = subject.service.begin("skim update")?;
    let running = Running::find(&subject.pods, name)?;
    subject.settle(running.as_ref())?;
    let before = subject.service.read()?;
    let mut report = Report {
        name: name.to_owned(),
        result: Done::UpToDate,
        version: before.current().map(|version| version.number),
        before: before.current().map(|version| version.number),
        reason: None,
        apps: Vec::new(),
    };
    let skipped = |reason: String, report: Report| Report {
        result: Done::Skipped,
        reason: Some(reason),
        ..report
    };
    if arguments.all && running.is_none() {
        let reason = format!("it does not run, and is not updated unasked (skim update {name})");
        return Ok(skipped(reason, report));
    }
    let wanted = subject.wanted();
    let images =
        subject.with_fetcher(PullPolicy::Update, |fetcher| images::anew(fetcher, &wanted))?;
    let found = images::pins(&wanted, &images);
    report.apps = updating::app_reports(&before, &wanted, |at| Some(images[at].id.clone()));
    match before.candidate(&found) {
        Candidate::Current => {
            // The file may call them otherwise now.
            subject
                .service
                .change(|versions| Ok(versions.started(found, updating::now())))?;
            let current = before.current();
            if let (Some(running), Some(current)) = (&running, current)
                && !running.is_of(current)
            {
                log::warn!(
                    "{name} runs other images than those of version {}: restart its unit",
                    current.number
                );
            }
            return Ok(report);
        }
        Candidate::Rejected(version) if arguments.all => {
            let reason = format!(
                "version {} is not tried again unasked: {} (skim update {name})",
                version.number,
                version.rejected.as_deref().unwrap_or_default()
            );
            return Ok(skipped(reason, report));
        }
        Candidate::Rejected(_) | Candidate::New => (),
    }
    let Some(running) = running else {
        // What is wrong with the file shows now, and not at the next start.
        subject.making(images, None).plan()?;
        let (now, keep) = (updating::now(), subject.keep());
        let number = subject
            .service
            .change(|versions| Ok(versions.make_current(found, Why::Update, now, keep)))?;
        (report.result, report.version) = (Done::MadeCurrent, Some(number));
        return Ok(report);
    };
    let bounds = subject.bounds(arguments.timeout);
    let (number, outcome) =
        subject.switch(&running, images, bounds, interrupt, |versions, pod| {
            versions.stage(found, pod, updating::now())
        })?;
    report.conclude(number, &outcome);
    Ok(report)
}

/// What an update would do. Nothing is changed.
fn look(host: &Host, name: &str) -> Result<Report> {
    let path = SearchPath::new(&host.config);
    let file = path.load(name)?;
    let file = file.with_context(|| {
        format!("there is no pod file {name}.skim; a pod manifest names its images by their IDs")
    })?;
    ensure!(
        host.directory.join(store::DIRECTORY).is_dir(),
        "there is no store in {}: start the pod first",
        host.directory.display()
    );
    let store = store::Store::open(&host.directory)?;
    let versions = ServiceDirectory::peek(&host.directory, name)?;
    let wanted = updating::wanted(&file);
    let flags = &file.pod.images;
    let ids = flags.with_fetcher(
        host,
        &store,
        super::image_flags::Fetching::Never,
        |fetcher| images::identify(fetcher, &wanted),
    )?;
    let apps = updating::app_reports(&versions, &wanted, |at| ids[at].clone());
    let number = versions.current().map(|version| version.number);
    let is_same = apps
        .iter()
        .all(|app| app.new.is_some() && app.new == app.current)
        && versions
            .current()
            .is_some_and(|version| version.apps.len() == apps.len());
    Ok(Report {
        name: name.to_owned(),
        result: if is_same {
            Done::UpToDate
        } else {
            Done::Available
        },
        version: number,
        before: number,
        reason: None,
        apps,
    })
}

/// What would be updated. Pure.
fn table(reports: &[Report]) -> String {
    let header = ["NAME", "APP", "CURRENT", "NEW", "IMAGE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let shown = |id: &Option<ImageId>, none: &str| {
        id.as_ref()
            .map_or(none.to_owned(), |id| id.short().to_owned())
    };
    for report in reports {
        for app in &report.apps {
            let new = match app.new == app.current && app.new.is_some() {
                true => "-".to_owned(),
                false => shown(&app.new, "once fetched"),
            };
            rows.push(vec![
                report.name.clone(),
                app.app.clone(),
                shown(&app.current, "-"),
                new,
                output::printable(&app.reference),
            ]);
        }
    }
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::updating::AppReport;

    #[test]
    fn the_table_tells_what_is_new() {
        let id = |byte| Some(ImageId::from_digest(&[byte; 64]));
        let app = |app: &str, current, new| AppReport {
            app: app.into(),
            reference: format!("docker://r/{app}:1"),
            current,
            new,
        };
        let report = Report {
            apps: vec![
                app("same", id(1), id(1)),
                app("new", id(1), id(2)),
                app("first", None, id(2)),
                app("web", id(1), None),
            ],
            ..Report::failed("pod", &anyhow::anyhow!("no"))
        };
        let expected = "\
NAME  APP    CURRENT              NEW                  IMAGE
pod   same   sha512-010101010101  -                    docker://r/same:1
pod   new    sha512-010101010101  sha512-020202020202  docker://r/new:1
pod   first  -                    sha512-020202020202  docker://r/first:1
pod   web    sha512-010101010101  once fetched         docker://r/web:1
";
        assert_eq!(table(&[report]), expected);
    }
}
