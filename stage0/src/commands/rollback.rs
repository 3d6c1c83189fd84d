//! `skim rollback`: images that ran before.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::Args;
use stage1_skim::stdio;

use super::output;
use super::updating::{self, Done, Interrupt, Report, Subject};
use crate::cli::Format;
use crate::fetch::PullPolicy;
use crate::host::Host;
use crate::service::directory::ServiceDirectory;
use crate::service::images;
use crate::service::running::Running;
use crate::service::versions::{Versions, Why};

const HELP: &str = "\
Examples:
  skim rollback web          the version before the current one
  skim rollback --list web   the versions that there are
  skim rollback --to=3 web   one of them

The version is switched to as by skim update, and left again if it does not come up; the exit
codes are the same. It holds over restarts and against skim update --all, until the pod file names
other images or their tags mean new ones; skim update NAME takes what was rolled back from again.
KeepVersions= of [Pod] says how many versions are kept, the current one among them: 3.";

/// Arguments of `skim rollback`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct RollbackArguments {
    /// The version [default: the newest before the current one that was not rejected]
    #[arg(long, value_name = "VERSION", conflicts_with = "list")]
    pub to: Option<u64>,
    /// List the versions, and do nothing
    #[arg(long)]
    pub list: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How long the version may take to be ready [default: UpdateTimeoutSec=]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// The name of the pod file: docker of docker.skim
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Rolls the pod back.
///
/// # Errors
/// Where there is no such version, or something is wrong with its pod.
pub fn run(host: &Host, arguments: &RollbackArguments) -> Result<u8> {
    host.need_root()?;
    if arguments.list {
        return list(host, arguments);
    }
    host.need_systemd()?;
    let report = roll_back(host, arguments)?;
    report.tell(arguments.format == Format::Json)?;
    if arguments.format == Format::Json {
        stdio::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    }
    Ok(report.code())
}

fn roll_back(host: &Host, arguments: &RollbackArguments) -> Result<Report> {
    let name = &arguments.name;
    let subject = Subject::load(host, name, "a rollback")?;
    let _work = subject.service.begin("skim rollback")?;
    let running = Running::find(&subject.pods, name)?;
    subject.settle(running.as_ref())?;
    let versions = subject.service.read()?;
    let wanted = subject.wanted();
    let references = updating::file_references(&wanted);
    let target = versions.rollback_target(arguments.to, &references)?;
    let number = target.number;
    let images = subject.with_fetcher(PullPolicy::New, |fetcher| {
        images::of_version(fetcher, target, &wanted)
    })?;
    let current = versions.current().map(|version| version.number);
    let mut report = Report {
        name: name.clone(),
        result: Done::MadeCurrent,
        version: Some(number),
        before: current,
        reason: None,
        apps: updating::app_reports(&versions, &wanted, |at| Some(images[at].id.clone())),
    };
    let Some(running) = running else {
        subject.making(images, None).plan()?;
        subject.service.change(|versions| {
            versions.stage_known(number, references, "")?;
            versions.switch()?;
            versions.accept(subject.keep())
        })?;
        return Ok(report);
    };
    let interrupt = Interrupt::watch()?;
    let bounds = subject.bounds(arguments.timeout);
    let (number, outcome) =
        subject.switch(&running, images, bounds, &interrupt, |versions, pod| {
            versions.stage_known(number, references, pod)?;
            Ok(number)
        })?;
    report.conclude(number, &outcome);
    Ok(report)
}

fn list(host: &Host, arguments: &RollbackArguments) -> Result<u8> {
    let versions = ServiceDirectory::peek(&host.directory, &arguments.name)?;
    let text = match arguments.format {
        Format::Text => table(&versions),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&json(&versions))?),
    };
    stdio::print(&text)?;
    Ok(0)
}

/// The versions, for people. Pure.
fn table(versions: &Versions) -> String {
    let header = ["VERSION", "MADE", "BY", "APP", "ID", "IMAGE", "NOTE"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let current = versions.current().map(|version| version.number);
    for version in versions.all() {
        let note = match (&version.rejected, Some(version.number) == current) {
            (_, true) => "current".to_owned(),
            (Some(reason), false) => format!("rejected: {}", output::printable(reason)),
            (None, false) => String::new(),
        };
        let mut first = vec![
            version.number.to_string(),
            made(version.time),
            by(version.why).to_owned(),
        ];
        let mut note = Some(note);
        for (app, pin) in &version.apps {
            let mut row = std::mem::replace(&mut first, vec![String::new(); 3]);
            row.extend([
                app.clone(),
                pin.image.short().to_owned(),
                output::printable(&pin.reference),
                note.take().unwrap_or_default(),
            ]);
            rows.push(row);
        }
    }
    output::table(&rows)
}

/// The versions, for scripts. Pure.
fn json(versions: &Versions) -> serde_json::Value {
    let current = versions.current().map(|version| version.number);
    let all = versions.all().iter().map(|version| {
        serde_json::json!({
            "version": version.number,
            "created_at": version.time,
            "by": by(version.why),
            "current": Some(version.number) == current,
            "rejected": version.rejected,
            "apps": version.apps.iter().map(|(app, pin)| serde_json::json!({
                "app": app,
                "reference": pin.reference,
                "image_id": pin.image,
            })).collect::<Vec<_>>(),
        })
    });
    all.collect()
}

fn by(why: Why) -> &'static str {
    match why {
        Why::Start => "start",
        Why::Update => "update",
    }
}

fn made(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    time.map(output::absolute).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::id::ImageId;
    use crate::service::versions::{Pin, Pins};

    fn versions() -> Versions {
        let pins = |byte| {
            let pin = Pin {
                reference: "docker://r/web:1".into(),
                image: ImageId::from_digest(&[byte; 64]),
            };
            Pins::from([("db".to_owned(), pin.clone()), ("web".to_owned(), pin)])
        };
        let mut versions = Versions::default();
        versions.started(pins(1), 1);
        versions.stage(pins(2), "", 2).unwrap();
        versions.switch().unwrap();
        versions.go_back(Some("it was\nlate"), 3);
        versions
    }

    #[test]
    fn versions_are_listed_app_by_app() {
        let expected = "\
VERSION  MADE                               BY      APP  ID                   IMAGE             NOTE
1        1970-01-01 00:00:01.000 +0000 UTC  start   db   sha512-010101010101  docker://r/web:1  current
                                                    web  sha512-010101010101  docker://r/web:1
2        1970-01-01 00:00:02.000 +0000 UTC  update  db   sha512-020202020202  docker://r/web:1  rejected: it was\\nlate
                                                    web  sha512-020202020202  docker://r/web:1
";
        assert_eq!(table(&versions()), expected);
        let json = json(&versions());
        assert_eq!(
            (&json[0]["current"], &json[1]["version"]),
            (&true.into(), &2.into())
        );
    }
}
