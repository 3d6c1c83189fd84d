//! What confines an app: its isolators, and the image as its root. Pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::capabilities::{self, Confinement};
use crate::credentials::{self, Transition};
use crate::escape;
use crate::pod::{AppPlan, Credentials, ExecPlan, Root};
use crate::seccomp::{self, Addition};
use crate::unit::Setting;

/// The journal's sockets. `/dev/log` is a link to the first.
const LOG_SOCKETS: [&str; 3] = [
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
];

/// How an app is confined.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// What its isolators stand for.
    pub settings: Vec<Setting>,
    /// What makes the image its root; none where the host's is.
    pub root: Vec<Setting>,
    /// What each of its programs loses on the way from stage1-skim to itself.
    surplus: Transition,
    /// Whether stage1-skim starts all its programs.
    always: bool,
}

/// How the app is confined; stage1-skim is at `stage1`.
///
/// # Errors
/// Where a path cannot be expressed in a unit file.
pub fn of(app: &AppPlan, stage1: &Path) -> Result<Sandbox> {
    let root = match app.root {
        Root::Host => Vec::new(),
        Root::Image => image_as_root(app, stage1)?,
    };
    let always = app.root == Root::Image;
    let Confinement {
        settings: confinement,
        surplus,
    } = capabilities::confine(app.capabilities.as_ref(), &app.credentials);
    let mut settings = app.isolation_settings.clone();
    settings.extend(confinement);
    let wrapped = always || app.credentials != Credentials::default();
    let addition = match wrapped {
        true => seccomp::add_to(&settings),
        false => Addition::default(),
    };
    settings.extend(addition.settings);
    Ok(Sandbox {
        settings,
        root,
        surplus: Transition {
            who: Credentials::default(),
            drop: surplus,
            block: addition.blocked,
            block_errno: addition.errno,
        },
        always,
    })
}

impl Sandbox {
    /// What the service executes, so that `command` runs as `who`: the command itself where
    /// that is how systemd starts it anyway.
    ///
    /// # Errors
    /// As [`credentials::wrap`].
    pub fn start(&self, who: &Credentials, stage1: &Path, command: &ExecPlan) -> Result<ExecPlan> {
        let transition = Transition {
            who: who.clone(),
            ..self.surplus.clone()
        };
        if !self.always && transition == Transition::default() {
            return Ok(command.clone());
        }
        credentials::wrap(&transition, stage1, command)
    }
}

/// `RootDirectory=` and what belongs there: the kernel's file systems, the tree in the store
/// whose path the relocated programs hold, the journal's sockets, and stage1-skim, which starts
/// them. It is at the same path inside, as systemd-analyze(1) looks for programs on the host.
fn image_as_root(app: &AppPlan, stage1: &Path) -> Result<Vec<Setting>> {
    let rootfs = &app.rootfs;
    let directory = escape::path(rootfs).with_context(|| format!("rootfs {rootfs:?}"))?;
    let mut settings = vec![
        Setting::service("RootDirectory", directory),
        Setting::service("MountAPIVFS", "yes"),
    ];
    for path in [app.image.tree.as_path(), stage1] {
        let path = escape::path_word(path).with_context(|| format!("path {path:?}"))?;
        settings.push(Setting::service("BindReadOnlyPaths", path));
    }
    // Not on every host: a missing one is passed over.
    let sockets = LOG_SOCKETS.map(|socket| format!("-{socket}")).join(" ");
    settings.push(Setting::service("BindReadOnlyPaths", sockets));
    Ok(settings)
}

/// What systemd mounts on in the rootfs of an app whose root it is: directories, and one file.
/// systemd makes what is missing, but not in a rootfs that cannot be written to.
pub fn mount_points(app: &AppPlan, stage1: &Path) -> (Vec<PathBuf>, Option<PathBuf>) {
    if app.root == Root::Host {
        return (Vec::new(), None);
    }
    let directories = ["/proc", "/sys", "/dev", "/run"].map(PathBuf::from);
    let directories = directories.into_iter().chain([app.image.tree.clone()]);
    (directories.collect(), Some(stage1.to_path_buf()))
}
