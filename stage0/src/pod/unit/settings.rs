//! What an image's unit says beside its commands: what skim does itself, what means the image,
//! and what stays as it is.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::directives::{self, Refused};
use stage1_skim::escape;
use stage1_skim::pod::EnvVar;
use stage1_skim::unit::{Section, Setting};
use stage1_skim::unit_file::split_words;

use super::dependencies::is_dependency;
use super::directories::Directories;
use super::find::{ImageUnit, UnitLine};
use super::paths::Paths;
use super::{Planning, Service, Who, refuse, sockets};

/// Most variables of a unit.
const VARIABLES_MAX: usize = 4096;

/// What is skim's own to say, and harmless to leave out.
const LEFT_OUT: [&str; 11] = [
    "AllowIsolate",
    "CollectMode",
    "DefaultDependencies",
    "Description",
    "IgnoreOnIsolate",
    "RefuseManualStart",
    "RefuseManualStop",
    "Sockets",
    "SourcePath",
    "StopWhenUnneeded",
    "SyslogIdentifier",
];

/// What is left out, and said to be.
const WARNED: [(&str, &str); 2] = [
    ("Slice", "the app is in its pod's slice"),
    ("LogNamespace", "the app's log is the host's"),
];

/// What contradicts skim.
const REFUSED: [(&str, &str); 1] = [(
    "PAMName",
    "the host's PAM does not know the image's users; take it back by a drop-in in the image, or use \
     --exec",
)];

/// What `[Service]` may hold, too, for the sake of old units (systemd.unit(5)).
const ONCE_OF_SERVICE: [&str; 6] = [
    "FailureAction",
    "RebootArgument",
    "StartLimitAction",
    "StartLimitBurst",
    "StartLimitInterval",
    "SuccessAction",
];

/// Conditions on one path.
const PATH_CONDITIONS: [&str; 9] = [
    "DirectoryNotEmpty",
    "FileIsExecutable",
    "FileNotEmpty",
    "PathExists",
    "PathIsDirectory",
    "PathIsEncrypted",
    "PathIsMountPoint",
    "PathIsReadWrite",
    "PathIsSymbolicLink",
];

/// Whom the unit runs as.
///
/// # Errors
/// Where a name cannot be told.
pub fn who(unit: &ImageUnit) -> Result<Who> {
    let mut who = Who::default();
    for line in unit.lines.iter().filter(|line| line.section == "Service") {
        let value = || unit.name.data(line.value.trim());
        let value = || value().with_context(|| format!("{}, {}=", line.place(), line.key));
        let name = |value: String| (!value.is_empty()).then_some(value);
        match line.key.as_str() {
            "User" => who.user = name(value()?),
            "Group" => who.group = name(value()?),
            "DynamicUser" => who.is_dynamic = is_yes(&line.value),
            "SupplementaryGroups" if line.value.trim().is_empty() => who.supplementary.clear(),
            "SupplementaryGroups" => {
                let names = value()?;
                let names = names.split_whitespace().map(str::to_string);
                who.supplementary.extend(names);
            }
            _ => (),
        }
    }
    Ok(who)
}

/// Whether a boolean says yes (systemd.syntax(7)).
fn is_yes(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    ["1", "yes", "y", "true", "t", "on"].contains(&value.as_str())
}

/// The settings, as the unit's lines are read.
pub struct Settings<'a> {
    planning: &'a Planning<'a>,
    paths: &'a Paths<'a>,
    is_root: bool,
    /// The units of its sockets.
    sockets: BTreeSet<String>,
    directories: Directories,
    settings: Vec<Setting>,
    service: Service,
}

impl<'a> Settings<'a> {
    /// None yet.
    ///
    /// # Errors
    /// As [`sockets::units`].
    pub fn new(
        planning: &'a Planning<'a>,
        paths: &'a Paths<'a>,
        who: Who,
        is_root: bool,
    ) -> Result<Self> {
        Ok(Self {
            planning,
            paths,
            is_root: is_root || who.is_dynamic,
            sockets: sockets::units(planning)?,
            directories: Directories::default(),
            settings: Vec::new(),
            service: Service {
                who,
                ..Service::default()
            },
        })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Where skim cannot have it.
    pub fn add(&mut self, line: &UnitLine) -> Result<()> {
        let section = match line.section.as_str() {
            "Unit" => Section::Unit,
            "Service" => Section::Service,
            "Install" => return Ok(()),
            other if other.starts_with("X-") => return Ok(()),
            other => {
                let other = other.escape_debug();
                log::warn!("{}: [{other}] is no section of a service", self.place(line));
                return Ok(());
            }
        };
        let key = line.key.as_str();
        if LEFT_OUT.contains(&key) || self.is_replaced(key) {
            return Ok(());
        }
        if section == Section::Unit && is_dependency(key) {
            return self.dependency(line);
        }
        if section == Section::Service && self.is_own(line)? {
            return Ok(());
        }
        self.further(section, line)
    }

    fn place(&self, line: &UnitLine) -> String {
        format!("app {}: {}", self.planning.app, line.place())
    }

    /// Whether the user, or the image's isolators, say it in other words.
    fn is_replaced(&self, key: &str) -> bool {
        let planning = self.planning;
        match key {
            "AmbientCapabilities" | "CapabilityBoundingSet" => planning.has_capabilities,
            "SystemCallErrorNumber" | "SystemCallFilter" => planning.has_filter,
            _ => false,
        }
    }

    fn dependency(&mut self, line: &UnitLine) -> Result<()> {
        let Planning { app, unit, pod, .. } = self.planning;
        let value = pod.dependency(app, unit, &self.sockets, line, self.paths)?;
        if !value.is_empty() {
            self.push(Section::Unit, &line.key, &value)?;
        }
        Ok(())
    }

    /// Does what skim does itself; whether it was such.
    fn is_own(&mut self, line: &UnitLine) -> Result<bool> {
        let (key, value) = (line.key.as_str(), line.value.trim());
        let name = &self.planning.unit.name;
        match key {
            "User" | "Group" | "SupplementaryGroups" | "DynamicUser" => {
                // systemd's own affair, names included.
                if self.service.who.is_dynamic {
                    self.push(Section::Service, key, &name.expand_value(value)?)?;
                }
            }
            // systemd would take it for all that stage1-skim starts, the app included.
            "PermissionsStartOnly" => self.service.is_only_start_confined = is_yes(value),
            "Environment" => self.environment(value).context("Environment=")?,
            "EnvironmentFile" => self.environment_file(value)?,
            "WorkingDirectory" => self.working_directory(value)?,
            "ExecPaths" => self.exec_paths(value)?,
            "PrivateUsers" if !self.is_root && is_yes(value) => log::warn!(
                "{}: PrivateUsers= is left out: systemd would not map the user that \
                 stage1-skim becomes",
                self.place(line)
            ),
            _ if self.directories.is_one(key) && !self.is_root => {
                self.directories.add(key, value, name)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A directive that is systemd's, if it knows it.
    fn further(&mut self, section: Section, line: &UnitLine) -> Result<()> {
        let (key, value) = (line.key.as_str(), line.value.trim());
        let is_set = !value.is_empty() && (is_yes(value) || !is_no(value));
        if let Some((_, why)) = REFUSED.iter().find(|(own, _)| *own == key) {
            return if is_set { refuse(key, why) } else { Ok(()) };
        }
        if let Some((_, why)) = WARNED.iter().find(|(own, _)| *own == key) {
            if is_set {
                log::warn!("{}: {key}= is left out: {why}", self.place(line));
            }
            return Ok(());
        }
        let section = match directives::section_of(key) {
            Err(Refused::Own(_, why)) if is_set => return refuse(key, why),
            Err(Refused::Own(..)) => return Ok(()),
            Ok(right) if right == section => section,
            Ok(Section::Unit) if ONCE_OF_SERVICE.contains(&key) => Section::Unit,
            Ok(Section::Service) if key.starts_with("X-") => return Ok(()),
            Ok(_) | Err(_) => {
                let key = key.escape_debug();
                let place = self.place(line);
                log::warn!("{place}: {key}= is left out: skim knows no such directive there");
                return Ok(());
            }
        };
        let name = &self.planning.unit.name;
        let condition = key
            .strip_prefix("Condition")
            .or_else(|| key.strip_prefix("Assert"));
        let value = match condition {
            Some(what) if PATH_CONDITIONS.contains(&what) => self.paths.setting(value, name)?,
            _ => name.expand_value(value)?,
        };
        self.check_cover(key, &value)?;
        if key == "Type" {
            self.service.notify = value.starts_with("notify");
        }
        self.push(section, key, &value)
    }

    /// Refuses what would hide the app's own files from it.
    fn check_cover(&self, key: &str, value: &str) -> Result<()> {
        if !matches!(
            key,
            "InaccessiblePaths" | "InaccessibleDirectories" | "TemporaryFileSystem"
        ) {
            return Ok(());
        }
        let tree = &self.planning.request.image.tree;
        for word in split_words(value)? {
            let path = word.trim_start_matches(['-', '+']);
            let path = path.split(':').next().unwrap_or_default();
            let covers = self.planning.root.starts_with(path) || tree.starts_with(path);
            if path.starts_with('/') && covers {
                return refuse(key, &format!("{path} is where the app's own files are"));
            }
        }
        Ok(())
    }

    fn environment(&mut self, value: &str) -> Result<()> {
        let variables = &mut self.service.environment;
        if value.is_empty() {
            variables.clear();
        }
        for word in split_words(value)? {
            let word = self.planning.unit.name.data(&word)?;
            let Some((name, value)) = word.split_once('=') else {
                bail!("`{}` is not of the form NAME=VALUE", word.escape_debug());
            };
            let value = self.paths.value(value.to_string())?;
            escape::environment(name, &value)
                .with_context(|| format!("variable `{}`", name.escape_debug()))?;
            variables.retain(|(known, _)| known != name);
            variables.push((name.to_string(), value));
            ensure!(
                variables.len() <= VARIABLES_MAX,
                "there are over {VARIABLES_MAX} variables"
            );
        }
        Ok(())
    }

    /// The host's file, as the operator edits it; where the host has none, the image's.
    fn environment_file(&mut self, value: &str) -> Result<()> {
        let value = self.planning.unit.name.expand_value(value)?;
        let path = value.trim_start_matches('-');
        let is_only_there = path.starts_with('/')
            && !path.contains('%')
            && !self.paths.on_host(path)
            && self.paths.tree.stat(path.as_ref())?.is_some();
        let value = match is_only_there {
            true => {
                let own = super::super::programs::beneath(self.planning.root, path.as_ref());
                let dash = if value.starts_with('-') { "-" } else { "" };
                format!("{dash}{}", escape::path(&own)?)
            }
            false => value,
        };
        self.push(Section::Service, "EnvironmentFile", &value)
    }

    fn working_directory(&mut self, value: &str) -> Result<()> {
        let planning = self.planning;
        let path = planning.unit.name.data(value)?;
        let may_miss = path.starts_with('-');
        let path = match path.trim_start_matches('-') {
            "" => "/".to_string(),
            "~" => planning.home.unwrap_or("/").to_string(),
            path => path.to_string(),
        };
        ensure!(path.starts_with('/'), "WorkingDirectory= is no path");
        let path = self.paths.value(path)?;
        let own = |setting: &Setting| setting.key == "WorkingDirectory";
        self.settings.retain(|setting| !own(setting));
        if may_miss {
            let value = format!("-{}", escape::path(path.as_ref())?);
            self.push(Section::Service, "WorkingDirectory", &value)?;
        }
        self.service.working_directory = Some(path);
        Ok(())
    }

    /// What may be executed (`NoExecPaths=` takes away the rest): the image's and, where it has
    /// such a path, too, the host's.
    fn exec_paths(&mut self, value: &str) -> Result<()> {
        if value.is_empty() {
            return self.push(Section::Service, "ExecPaths", "");
        }
        for word in split_words(value)? {
            let word = self.planning.unit.name.data(&word)?;
            let path = word.trim_start_matches(['-', '+']);
            let own = self.paths.of_image(path)?;
            if own.is_none() || self.paths.on_host(path) {
                self.push(Section::Service, "ExecPaths", &escape::quoted(&word)?)?;
            }
            if let Some(own) = own {
                let value = escape::path_word(&own)?;
                self.push(Section::Service, "ExecPaths", &value)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, section: Section, key: &str, value: &str) -> Result<()> {
        self.settings.push(Setting::checked(section, key, value)?);
        Ok(())
    }

    /// The settings, and what else the unit says.
    ///
    /// # Errors
    /// Where a path cannot be expressed.
    pub fn finish(mut self) -> Result<(Vec<Setting>, Service)> {
        let has = |settings: &[Setting], key| settings.iter().any(|setting| setting.key == key);
        if has(&self.settings, "NoExecPaths") {
            let tree = escape::path_word(&self.planning.request.image.tree)?;
            self.push(Section::Service, "ExecPaths", &tree)?;
        }
        let directories = std::mem::take(&mut self.directories).finish();
        for path in directories.writable(&self.settings) {
            let value = escape::quoted(&format!("-{path}"))?;
            self.push(Section::Service, "ReadWritePaths", &value)?;
        }
        self.service.plan.directories = directories.plans;
        self.service.environment.extend(directories.variables);
        if has(&self.settings, "EnvironmentFile") {
            let variables = self.planning.own_variables.iter();
            let variables = variables.map(|(name, value)| EnvVar {
                name: name.clone(),
                value: value.clone(),
                default: false,
            });
            self.service.plan.environment = variables.collect();
        }
        // Headings stand once.
        self.settings.sort_by_key(|setting| setting.section);
        Ok((self.settings, self.service))
    }
}

/// Whether a boolean says no.
fn is_no(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    ["0", "no", "n", "false", "f", "off"].contains(&value.as_str())
}
