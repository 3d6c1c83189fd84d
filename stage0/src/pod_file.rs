//! Pod files: `NAME.skim`, from which systemd runs a pod as `NAME.service`.
//!
//! - [`find`]: where they are, and the drop-ins that go with one
//! - [`lines`](mod@lines): their assignments, merged, section by section
//! - [`keys`]: which keys the sections have; [`grammar`]: from keys to the flags of the command line
//! - [`app`], [`pod`], [`unit`], [`install`], [`socket`]: one kind of section each
//! - [`span`]: spans of time; [`fault`]: what is wrong, and where
//!
//! All but [`find`] is pure.

pub mod app;
pub mod fault;
pub mod find;
pub mod grammar;
pub mod install;
pub mod keys;
pub mod lines;
pub mod name;
pub mod pod;
pub mod socket;
pub mod span;
pub mod unit;

use std::path::PathBuf;

use stage1_skim::unit::Setting;

pub use self::app::AppSection;
pub use self::fault::{Fault, Faults};
pub use self::find::{Partial, SearchPath, Text};
pub use self::install::Install;
pub use self::pod::PodSection;
pub use self::socket::SocketUnit;

use self::lines::Sections;

/// Most apps of a pod, as of a pod manifest.
const APPS_MAX: usize = 1024;

/// A pod file with its drop-ins.
#[derive(Clone, Debug)]
pub struct PodFile {
    /// What the pod is called: `docker` of `docker.skim`.
    pub name: String,
    /// The pod file.
    pub path: PathBuf,
    /// The files that were read: the pod file, then its drop-ins.
    pub sources: Vec<PathBuf>,
    /// `[Pod]`.
    pub pod: PodSection,
    /// `[App NAME]`, in the order in which they stand.
    pub apps: Vec<AppSection>,
    /// `[Slice]`: settings of the pod's slice.
    pub slice: Vec<Setting>,
    /// `[Unit]`: settings of the pod's service.
    pub unit: Vec<Setting>,
    /// `[Service]`, likewise.
    pub service: Vec<Setting>,
    /// `[Install]`.
    pub install: Install,
    /// The units that listen for the apps.
    pub sockets: Vec<SocketUnit>,
}

impl PodFile {
    /// Parses the pod file `name`: `texts` are its own text and those of its drop-ins.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(name: &str, texts: &[Text]) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let sections = Sections::read(texts, &mut faults);
        let path = texts.first().map(|text| text.path.clone());
        let path = path.unwrap_or_default();
        let apps = app::sections(&sections.apps, name, &mut faults);
        if apps.is_empty() && sections.apps.is_empty() && faults.is_empty() {
            let what = "it has no app: give an [App NAME] section with Image=";
            faults.push(Fault::of_file(&path, what));
        }
        if sections.apps.len() > APPS_MAX {
            let what = format!("it has over {APPS_MAX} apps");
            faults.push(Fault::of_file(&path, what));
        }
        let file = Self {
            name: name.to_string(),
            sources: texts.iter().map(|text| text.path.clone()).collect(),
            pod: pod::section(&sections.pod, &mut faults),
            slice: unit::slice(&sections.slice, &mut faults),
            unit: unit::unit(&sections.unit, &mut faults),
            service: unit::service(&sections.service, &mut faults),
            install: install::section(&sections.install, &mut faults),
            sockets: apps.iter().filter_map(|app| app.socket.clone()).collect(),
            apps,
            path,
        };
        match Faults::new(faults) {
            Some(faults) => Err(faults),
            None => Ok(file),
        }
    }
}

#[cfg(test)]
#[path = "pod_file/tests.rs"]
mod tests;
