//! The assignments of a pod file and its drop-ins, section by section. Pure.

use std::path::{Path, PathBuf};

use stage1_skim::unit_file::{self, Heading};

use super::fault::Fault;
use super::find::Text;
use super::keys;
use crate::image::name;

/// One assignment.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The file that it stands in.
    pub path: PathBuf,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// The section, as between the brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, neither unquoted nor expanded.
    pub value: String,
}

impl Assignment {
    /// What is wrong with it, and what to do.
    pub fn fault(&self, what: impl std::fmt::Display) -> Fault {
        let what = format!("[{}] {}=: {what}", self.section, self.key);
        Fault::of_line(&self.path, self.line, what)
    }
}

/// The lines of an `[App NAME]` section.
#[derive(Clone, Debug)]
pub struct AppLines {
    /// The app's name.
    pub name: String,
    /// The file in which the section begins.
    pub path: PathBuf,
    /// The line of its first heading.
    pub line: usize,
    /// Its assignments, those of drop-ins last.
    pub lines: Vec<Assignment>,
}

/// A pod file, section by section.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    /// `[Pod]`.
    pub pod: Vec<Assignment>,
    /// `[App NAME]`, in the order in which they begin.
    pub apps: Vec<AppLines>,
    /// `[Slice]`.
    pub slice: Vec<Assignment>,
    /// `[Unit]`.
    pub unit: Vec<Assignment>,
    /// `[Service]`.
    pub service: Vec<Assignment>,
    /// `[Install]`.
    pub install: Vec<Assignment>,
}

/// Sections that have no name of their own.
const PLAIN: [&str; 5] = ["Pod", "Slice", "Unit", "Service", "Install"];

impl Sections {
    /// Reads `texts` in their order. What is wrong is added to `faults`, and left out.
    pub fn read(texts: &[Text], faults: &mut Vec<Fault>) -> Self {
        let mut sections = Self::default();
        for text in texts {
            sections.add(text, faults);
        }
        sections
    }

    fn add(&mut self, text: &Text, faults: &mut Vec<Fault>) {
        let read = unit_file::headings(&text.text)
            .and_then(|headings| Ok((headings, unit_file::lex(&text.text)?)));
        let (headings, lines) = match read {
            Ok(read) => read,
            Err(error) => {
                faults.push(of_lexer(&text.path, &format!("{error:#}")));
                return;
            }
        };
        for heading in &headings {
            if let Err(what) = self.begin(&text.path, heading) {
                faults.push(Fault::of_line(&text.path, heading.number, what));
            }
        }
        for line in lines {
            let assignment = Assignment {
                path: text.path.clone(),
                line: line.number,
                section: line.section,
                key: line.key,
                value: line.value,
            };
            if let Some(section) = self.section(&assignment.section) {
                section.push(assignment);
            }
        }
    }

    /// Takes note of a section.
    fn begin(&mut self, path: &Path, heading: &Heading) -> Result<(), String> {
        let shown = heading.name.as_str();
        if PLAIN.contains(&shown) || shown.starts_with("X-") {
            return Ok(());
        }
        let Some(app) = app_of(shown) else {
            return Err(keys::unknown_section(shown));
        };
        if app.is_empty() {
            let what = "[App] needs the app's name: [App NAME]";
            return Err(what.to_string());
        }
        name::check_name(app).map_err(|error| format!("[{shown}]: {error:#}"))?;
        if !self.apps.iter().any(|known| known.name == app) {
            self.apps.push(AppLines {
                name: app.to_string(),
                path: path.to_path_buf(),
                line: heading.number,
                lines: Vec::new(),
            });
        }
        Ok(())
    }

    /// The section of this heading; `None` where it is none, which is told elsewhere, or is
    /// somebody else's (`X-…`).
    fn section(&mut self, heading: &str) -> Option<&mut Vec<Assignment>> {
        match heading {
            "Pod" => Some(&mut self.pod),
            "Slice" => Some(&mut self.slice),
            "Unit" => Some(&mut self.unit),
            "Service" => Some(&mut self.service),
            "Install" => Some(&mut self.install),
            _ => {
                let name = app_of(heading)?;
                let app = self.apps.iter_mut().find(|app| app.name == name);
                app.map(|app| &mut app.lines)
            }
        }
    }
}

/// The app's name in the heading of its section.
fn app_of(heading: &str) -> Option<&str> {
    let rest = heading.strip_prefix("App")?;
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then(|| rest.trim())
}

/// A message of the lexer, `line N: …`, as a fault.
fn of_lexer(path: &Path, message: &str) -> Fault {
    let parts = message
        .strip_prefix("line ")
        .and_then(|rest| rest.split_once(": "))
        .and_then(|(line, what)| Some((line.parse().ok()?, what)));
    match parts {
        Some((line, what)) => Fault::of_line(path, line, what),
        None => Fault::of_file(path, message),
    }
}

/// The assignments of one section in a text that is faulty, as far as they can be read: what is
/// no line is passed over.
pub fn salvage(text: &str, section: &str) -> Vec<(String, String)> {
    let heading = format!("[{section}]");
    let mut within = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).take(unit_file::LINES_MAX) {
        if line.starts_with('[') {
            within = line == heading;
        } else if within
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.push((key.trim().to_string(), value.trim().to_string()));
        }
    }
    found
}
