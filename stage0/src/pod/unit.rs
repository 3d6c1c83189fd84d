//! An app's service out of a unit file of its image (`--unit`): as the distribution meant it.
//!
//! - [`find`]: the file, its drop-ins and its names, as systemd.unit(5) finds them, in the image
//! - [`specifiers`]: those that speak of the unit's name, as the app's unit has another
//! - [`paths`]: which paths mean the image, and which the host
//! - [`commands`], [`settings`], [`dependencies`], [`sockets`]: what it says
//!
//! What is the image's, and what is not:
//! - a program is the image's where the image has it, else the host's
//! - an argument, or a variable's value, that is a path beneath `/usr`, `/lib*`, `/bin`, `/sbin` or
//!   `/opt` is the image's where the image has it
//! - every other path is the host's: `/etc`, `/var`, `/run`, … are the operator's
//! - users and groups are those of the image's `/etc/passwd` and `/etc/group`
//! - units that another app of the pod has by its own `--unit` are that app

pub mod commands;
pub mod dependencies;
pub mod directories;
pub mod find;
pub mod paths;
pub mod settings;
pub mod sockets;
pub mod specifiers;

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::pod::{SocketPlan, UnitPlan};
use stage1_skim::unit_file;

pub use self::find::ImageUnit;

use self::commands::Commands;
use self::dependencies::Pod;
use self::paths::Paths;
use self::settings::Settings;
pub use self::settings::who;
use super::request::AppRequest;
use super::tree::Tree;

/// The unit of its image that an app's service is taken from, and the arguments that are appended
/// to its command: words of unit text. Only a pod manifest may say it.
pub const UNIT: &str = "skim.unit";

/// A unit of a request: its name, and what is appended to its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The unit's name: `docker.service`.
    pub name: String,
    /// Arguments.
    pub arguments: Vec<String>,
}

impl Asked {
    /// Parses the annotation [`UNIT`].
    ///
    /// # Errors
    /// Where it is no words, or the first is not the name of a service.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = unit_file::split_words(text)?.into_iter();
        let name = words.next().context("it is empty")?;
        Ok(Self {
            name: find::service_name(&name)?,
            arguments: words.collect(),
        })
    }
}

/// What the unit says of an app, beyond its service's text.
#[derive(Debug, Default)]
pub struct Service {
    /// The service's text.
    pub plan: UnitPlan,
    /// Its sockets.
    pub sockets: Vec<SocketPlan>,
    /// `User=`, `Group=` and `SupplementaryGroups=`.
    pub who: Who,
    /// `WorkingDirectory=`, a path of the host.
    pub working_directory: Option<String>,
    /// `Environment=`.
    pub environment: Vec<(String, String)>,
    /// Whether only `ExecStart=` runs as the user (`PermissionsStartOnly=`).
    pub is_only_start_confined: bool,
    /// Whether it is of `Type=notify`.
    pub notify: bool,
}

/// Whom the unit's commands run as, by the image's account files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// `User=`.
    pub user: Option<String>,
    /// `Group=`.
    pub group: Option<String>,
    /// `SupplementaryGroups=`.
    pub supplementary: Vec<String>,
    /// `DynamicUser=`: systemd's own affair.
    pub is_dynamic: bool,
}

/// What a unit is planned with.
pub struct Planning<'a> {
    /// The app's name.
    pub app: &'a str,
    /// What is asked for.
    pub request: &'a AppRequest,
    /// The unit, as found.
    pub unit: &'a ImageUnit,
    /// The image's tree.
    pub tree: &'a Tree,
    /// Where the app has its image.
    pub root: &'a Path,
    /// The pod's apps, by their units.
    pub pod: &'a Pod<'a>,
    /// The host's root directory.
    pub host: &'a Path,
    /// The home of the app's user.
    pub home: Option<&'a str>,
    /// What the user sets, which wins over the unit's files.
    pub own_variables: Vec<(String, String)>,
    /// Whether isolators tell the app's capabilities.
    pub has_capabilities: bool,
    /// Whether isolators tell its system calls.
    pub has_filter: bool,
}

/// The unit that the app's request asks for, found in its image; `None` where it asks for none.
///
/// # Errors
/// Where the image has none such, or what is asked for besides contradicts it.
pub fn find(request: &AppRequest) -> Result<Option<ImageUnit>> {
    let Some(asked) = &request.unit else {
        return Ok(None);
    };
    ensure!(
        request.exec.is_none(),
        "--exec and --unit={} contradict one another: arguments for the unit's own command stand \
         after --",
        asked.name
    );
    ensure!(
        request.root == stage1_skim::pod::Root::Host,
        "--root=image and --unit={} contradict one another: the paths in the unit are the host's",
        asked.name
    );
    let tree = Tree::open(&request.image.tree)?;
    find::find(&tree, &asked.name).map(Some)
}

impl Planning<'_> {
    /// What the unit says. `arguments` are appended to its command; `is_root` tells whether the
    /// app, whose user is known by now, is root.
    ///
    /// # Errors
    /// What of it skim cannot do: the file, the line and the directive.
    pub fn plan(&self, who: Who, is_root: bool, arguments: &[String]) -> Result<Service> {
        let paths = Paths {
            tree: self.tree,
            root: self.root,
            host: self.host,
        };
        let mut settings = Settings::new(self, &paths, who, is_root)?;
        let mut commands = Commands::default();
        for line in &self.unit.lines {
            let added = match line.section == "Service" && commands::is_command(&line.key) {
                true => commands.add(line, &self.unit.name, &paths),
                false => settings.add(line),
            };
            added.with_context(|| line.place())?;
        }
        let sockets = sockets::plan(self)?;
        let (settings, mut service) = settings.finish()?;
        commands.append(arguments)?;
        if service.is_only_start_confined {
            commands.make_root();
        }
        service.plan.name = self.unit.name.full.clone();
        service.plan.commands = commands.finish(&settings)?;
        service.plan.settings = settings;
        service.sockets = sockets;
        Ok(service)
    }
}

/// Refuses a unit, and says what may help.
fn refuse<T>(key: &str, why: &str) -> Result<T> {
    bail!("{}= is refused: {why}", key.escape_debug())
}
