//! `skim check`: what is wrong with pod files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use stage1_skim::names::EXIT_ERROR;
use stage1_skim::notify::notify;
use stage1_skim::{stdio, units};

use super::image_flags::Fetching;
use super::making::{Making, PodKind, Source};
use super::output::printable;
use crate::cli::Format;
use crate::generator::{self, Output};
use crate::host::Host;
use crate::image::reference::Reference;
use crate::pod_file::find::Described;
use crate::pod_file::{Faults, PodFile, SearchPath};
use crate::store::{self, Store};

const HELP: &str = "\
Examples:
  skim check                        all pod files
  skim check docker                 /etc/skim/docker.skim or what takes its place, with its drop-ins
  skim check ./web.skim             a file that is not installed yet
  skim check --dry-run docker       the units that the generator makes of it

Each fault is one line, FILE:LINE: what is wrong, what to do. What is right is told with the
images that are not in the store yet. Pod files are NAME.skim in /etc/skim, /run/skim and
/usr/lib/skim: see skim.pod(5). After a change: systemctl daemon-reload.
Exit code: 254 where one is faulty.";

/// Where systemd has the generator write.
const GENERATED: &str = "/run/systemd/generator";

/// What the units run, for a look at them.
const SKIM: &str = "/usr/bin/skim";

/// Arguments of `skim check`.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub struct CheckArguments {
    /// Print the units that would be made, and nothing else of what is right
    #[arg(long, visible_alias = "print")]
    pub dry_run: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t, conflicts_with = "dry_run")]
    pub format: Format,
    /// Fail, and tell systemd why: what the unit of a faulty pod file does
    #[arg(long, hide = true)]
    pub status: bool,
    /// Pod files: their names, or paths with a / or ending in .skim [default: all]
    #[arg(value_name = "NAME")]
    pub files: Vec<String>,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    path: Option<PathBuf>,
    /// The files that were read.
    sources: Vec<PathBuf>,
    faults: Vec<FaultReport>,
    /// What is worth knowing, and not wrong.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FaultReport {
    path: PathBuf,
    line: Option<usize>,
    what: String,
}

/// What the generator makes of the installed pod files that are right, by the names of those.
struct Installed(Vec<(String, Vec<Output>)>);

impl Installed {
    fn read(search: &SearchPath) -> Self {
        let names = search.names().unwrap_or_else(|partial| partial.read);
        let outputs = |name: &str| {
            let file = search.load(name).ok()??;
            generator::outputs(&file, Path::new(SKIM)).ok()
        };
        let made = names.into_iter().map(|(name, _)| name);
        let made = made.filter_map(|name| outputs(&name).map(|outputs| (name, outputs)));
        Self(made.collect())
    }

    /// What a pod file shares with another one, in words. Pure.
    fn shared(&self, name: &str, outputs: &[Output]) -> Option<String> {
        let others = self.0.iter().filter(|(other, _)| other != name);
        let mut others = others.flat_map(|(other, made)| made.iter().map(move |one| (other, one)));
        let (other, output) =
            others.find(|(_, one)| outputs.iter().any(|own| own.path() == one.path()))?;
        // The generator goes by the names.
        let (first, second) = (name.min(other), name.max(other));
        Some(format!(
            "{} is made of the pod file {other}, too: {first} gets it, and {second} fails; rename one, or its app",
            output.path()
        ))
    }
}

/// Checks pod files; returns 254 where one is faulty.
///
/// # Errors
/// Where the directories of pod files cannot be read, or there is no such file.
pub fn run(host: &Host, arguments: &CheckArguments) -> Result<u8> {
    ensure!(
        !host.scope.is_user(),
        "pod files are root's: leave --user out"
    );
    let search = SearchPath::new(&host.config);
    if arguments.status {
        return tell(&search, &arguments.files);
    }
    let mut files = arguments.files.clone();
    if files.is_empty() {
        let names = search.names().map_err(Faults::from)?;
        files.extend(names.into_iter().map(|(name, _)| name));
    }
    let mut reports = Vec::new();
    let installed = Installed::read(&search);
    for file in &files {
        match load(&search, file)? {
            Ok(Described::File(file)) if arguments.dry_run => {
                reports.extend(print_units(&installed, &file)?);
            }
            checked => reports.push(report(host, &installed, file, checked)),
        }
    }
    match arguments.format {
        Format::Json => stdio::print(&(serde_json::to_string_pretty(&reports)? + "\n"))?,
        Format::Text => print(&reports, arguments.dry_run)?,
    }
    let is_faulty = reports.iter().any(|report| !report.faults.is_empty());
    Ok(if is_faulty { EXIT_ERROR } else { 0 })
}

/// Fails in any case: where nothing is wrong any more, systemd has yet to make the true unit.
fn tell(search: &SearchPath, names: &[String]) -> Result<u8> {
    let name = names.first().context("no pod file is named")?;
    let loaded = match search.names() {
        Ok(_) => load(search, name)?,
        // No pod file is used while another one may stand before it.
        Err(partial) => Err(partial.faults),
    };
    let what = match loaded {
        Ok(_) => "the pod file is right now: systemctl daemon-reload, then start it".to_string(),
        Err(faults) => faults.to_string(),
    };
    notify(&format!("STATUS={what}"));
    bail!("{name}: {what}");
}

/// The pod file that `text` names; or what is wrong with it.
fn load(search: &SearchPath, text: &str) -> Result<Result<Described, Faults>> {
    if text.contains('/') || text.ends_with(".skim") {
        let file = search.load_file(Path::new(text));
        return Ok(file.map(|file| Described::File(Box::new(file))));
    }
    match search.load(text) {
        Ok(Some(file)) => Ok(Ok(Described::File(Box::new(file)))),
        // A pod manifest, or nothing.
        Ok(None) => Ok(Ok(search.describe(text)?)),
        Err(faults) => Ok(Err(faults)),
    }
}

fn report(
    host: &Host,
    installed: &Installed,
    name: &str,
    checked: Result<Described, Faults>,
) -> Report {
    let mut report = Report::new(name);
    match checked {
        Ok(Described::File(file)) => {
            report.name.clone_from(&file.name);
            report.path = Some(file.path.clone());
            report.sources.clone_from(&file.sources);
            report.look_further(host, installed, *file);
        }
        Ok(Described::Manifest { path, .. }) => {
            report.sources.push(path.clone());
            report.path = Some(path);
            let how = format!("it is a pod manifest: skim-pod@{name}.service runs it");
            report.notes.push(how);
        }
        Err(faults) => {
            report.path = faults.list().first().map(|fault| fault.path.clone());
            let faults = faults.list().iter().map(|fault| FaultReport {
                path: fault.path.clone(),
                line: fault.line,
                what: fault.what.clone(),
            });
            report.faults.extend(faults);
        }
    }
    report
}

impl Report {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
            path: None,
            sources: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn fault(&mut self, what: String) {
        let path = self.path.clone().unwrap_or_default();
        let line = None;
        self.faults.push(FaultReport { path, line, what });
    }

    /// What the units and the images tell of a pod file that is right by itself.
    fn look_further(&mut self, host: &Host, installed: &Installed, file: PodFile) {
        match generator::outputs(&file, Path::new(SKIM)) {
            Ok(outputs) => {
                if let Some(shared) = installed.shared(&file.name, &outputs) {
                    self.fault(shared);
                }
            }
            Err(error) => self.fault(format!("{error:#}")),
        }
        let has_store = host.directory.join(store::DIRECTORY).is_dir();
        if host.need_root().is_err() {
            self.notes
                .push("its images are not looked at: only root may".to_string());
            return;
        }
        let missing: Vec<_> = match has_store {
            true => missing(host, &file),
            false => file
                .apps
                .iter()
                .map(|app| app.arguments.image.clone())
                .collect(),
        };
        let is_complete = missing.is_empty();
        let notes = missing.into_iter().map(|image| {
            format!("image {image} is not in the store: it is fetched when the pod starts (or now: skim fetch)")
        });
        self.notes.extend(notes);
        if is_complete && let Err(error) = plan(host, file) {
            self.fault(format!("{error:#}"));
        }
    }
}

/// The images that are not in the store.
fn missing(host: &Host, file: &PodFile) -> Vec<String> {
    let images = file.apps.iter().map(|app| app.arguments.image.clone());
    let is_there = |image: &str| -> Result<()> {
        let store = Store::open(&host.directory)?;
        let reference = Reference::parse(image)?;
        let never = Fetching::Never;
        file.pod
            .images
            .with_fetcher(host, &store, never, |fetcher| {
                fetcher.fetch(&reference).map(drop)
            })
    };
    images.filter(|image| is_there(image).is_err()).collect()
}

/// Plans the pod, as far as that goes without making it.
fn plan(host: &Host, file: PodFile) -> Result<()> {
    let making = Making {
        host,
        images: &file.pod.images,
        common: &file.pod.common,
        source: Source::Images(file.apps.into_iter().map(|app| app.arguments).collect()),
        kind: PodKind {
            slice_settings: file.slice,
            annotations: file.pod.annotations,
            ..PodKind::default()
        },
        uuid_file: None,
    };
    let plan = making.plan()?;
    units::units(&plan, &host.stage1()?)?;
    Ok(())
}

fn print(reports: &[Report], only_faults: bool) -> Result<()> {
    for report in reports {
        for fault in &report.faults {
            let line = fault
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            let text = format!("{}{line}: {}", fault.path.display(), fault.what);
            stdio::print(&format!("{}\n", printable(&text)))?;
        }
        if !report.faults.is_empty() || only_faults {
            continue;
        }
        let files = report.sources.iter().map(|path| path.display().to_string());
        let files: Vec<_> = files.collect();
        let text = format!("{}: right ({})", report.name, files.join(", "));
        stdio::print(&format!("{}\n", printable(&text)))?;
        for note in &report.notes {
            let text = format!("{}: note: {note}", report.name);
            stdio::print(&format!("{}\n", printable(&text)))?;
        }
    }
    Ok(())
}

/// Prints the units as `systemctl cat` does; or returns why there would be none.
fn print_units(installed: &Installed, file: &PodFile) -> Result<Option<Report>> {
    let own = std::env::current_exe().unwrap_or_else(|_| SKIM.into());
    let outputs = generator::outputs(file, &own)?;
    if let Some(shared) = installed.shared(&file.name, &outputs) {
        let mut report = Report::new(&file.name);
        report.path = Some(file.path.clone());
        report.fault(shared);
        return Ok(Some(report));
    }
    let mut blocks = Vec::new();
    for output in outputs {
        blocks.push(match output {
            Output::File(name, text) => format!("# {GENERATED}/{name}\n{text}"),
            Output::Link(path, to) => format!("# {GENERATED}/{path} -> {to}\n"),
        });
    }
    if blocks.is_empty() {
        let path = file.path.display();
        blocks.push(format!("# {path}: Generate=no, no unit is made of it\n"));
    }
    stdio::print(&(blocks.join("\n") + "\n"))?;
    Ok(None)
}
