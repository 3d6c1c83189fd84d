//! What confines an app: its isolators, and the image as its root. Pure.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::capabilities::{self, Confinement};
use crate::credentials::{self, Transition};
use crate::escape;
use crate::pod::{
    AppPlan, CommandPlan, Credentials, ExecPlan, MountPlan, Privileges, Root, VolumeKind,
    VolumePlan,
};
use crate::seccomp::{self, Addition};
use crate::unit::Setting;

/// Where an app whose root is its image has a file system of its own, in memory.
pub const RUN: &str = "/run";

/// The journal's sockets. `/dev/log` is a link to the first.
pub const LOG_SOCKETS: [&str; 3] = [
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

/// How the app, which may have `volumes`, is confined; stage1-skim is at `stage1`.
///
/// # Errors
/// Where a path cannot be expressed in a unit file.
pub fn of(app: &AppPlan, volumes: &[VolumePlan], stage1: &Path) -> Result<Sandbox> {
    let root = match app.root {
        Root::Host => Vec::new(),
        Root::Image => image_as_root(app, volumes, stage1)?,
    };
    let always = app.root == Root::Image;
    let wrapped = is_wrapped(app);
    let Confinement {
        settings: confinement,
        surplus,
    } = capabilities::confine(app.capabilities.as_ref(), &app.credentials);
    let mut settings = app.isolation_settings.clone();
    settings.extend(confinement);
    let unit = app.unit.as_ref().map(|unit| unit.settings.clone());
    let unit = unit.unwrap_or_default();
    let mut all = [&unit[..], &settings].concat();
    let (mut surplus, mut addition) = (surplus, Addition::default());
    if changes_user(app) {
        let lacking = capabilities::lacking(&all.iter().collect::<Vec<_>>());
        settings.extend(capabilities::leave(&lacking));
        surplus.extend(lacking);
    }
    if wrapped {
        addition = seccomp::add_to(&all);
        settings.extend(addition.settings.clone());
        all = [&unit[..], &settings].concat();
        check_further(app, &all, &surplus)?;
    }
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
    /// As [`Self::start`], for a command whose arguments are unit text.
    ///
    /// # Errors
    /// As [`credentials::wrap`].
    pub fn start_text(
        &self,
        who: &Credentials,
        stage1: &Path,
        command: &CommandPlan,
    ) -> Result<ExecPlan> {
        let program = ExecPlan {
            path: command.exec.path.clone(),
            argv: Vec::new(),
        };
        let mut start = match command.privileges {
            Privileges::User => self.start(who, stage1, &program)?,
            Privileges::Root => self.start(&Credentials::default(), stage1, &program)?,
            Privileges::Full => program,
        };
        for word in &mut start.argv {
            *word = escape::literal(word, command.keeps_variables);
        }
        start.argv.extend(command.exec.argv.iter().cloned());
        Ok(start)
    }

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

/// Refuses what an image's drop-in or a user takes away from stage1-skim before it is the app.
fn check_further(app: &AppPlan, settings: &[Setting], surplus: &[String]) -> Result<()> {
    let further = app.image_settings.iter().chain(&app.user_settings);
    let all: Vec<_> = settings.iter().chain(further).collect();
    if let Some(call) = seccomp::missing(&all) {
        bail!(
            "SystemCallFilter= of --property or of the image's skim.dropin blocks {call}(2), which \
             stage1-skim calls before it is the app: use --seccomp, which blocks it for the app \
             alone (--property=SystemCallFilter= takes back the image's)"
        );
    }
    if changes_user(app)
        && let Some(name) = capabilities::missing(&all, surplus)
    {
        bail!(
            "CapabilityBoundingSet= of --property or of the image's skim.dropin lacks {name}, which \
             it takes to become the app's user: use --caps-retain or --caps-remove, which hold for \
             the app alone (--property=CapabilityBoundingSet=~ takes back the image's)"
        );
    }
    Ok(())
}

/// Whether stage1-skim starts the app.
fn is_wrapped(app: &AppPlan) -> bool {
    app.root == Root::Image || changes_user(app)
}

/// Whether stage1-skim becomes another user for it.
fn changes_user(app: &AppPlan) -> bool {
    app.credentials != Credentials::default()
}

/// What makes it necessary that stage1-skim is a static program: what would act on the loader of
/// a dynamic one, which runs as root then. `None` where any will do.
///
/// A static program has no loader: it needs nothing of the image's, and no variable has code
/// loaded into it (ld.so(8)). `GLIBC_TUNABLES`, which a static glibc reads, too, holds numbers:
/// there is nothing that they could have stage1-skim do.
pub fn needs_static(app: &AppPlan, is_interactive: bool) -> Option<String> {
    if app.root == Root::Image {
        return Some("--root=image".to_string());
    }
    if !is_wrapped(app) && !is_interactive {
        return None;
    }
    let unit = app.unit.iter().flat_map(|unit| &unit.settings);
    let mut filters = app.isolation_settings.iter().chain(unit.clone());
    if filters.any(|setting| setting.key == "SystemCallFilter") {
        return Some("a system call filter".to_string());
    }
    let mut variables = app.environment.iter().map(|variable| &variable.name);
    if let Some(name) = variables.find(|name| name.starts_with("LD_")) {
        return Some(format!("its environment variable {name}"));
    }
    // An interactive app has no service, and none of these.
    let settings = app.image_settings.iter().chain(&app.user_settings);
    let mut settings = settings.chain(unit);
    let setting = settings.find(|setting| match setting.key.as_str() {
        "Environment" | "PassEnvironment" => setting.value.contains("LD_"),
        // What it will hold is not known.
        "EnvironmentFile" => true,
        _ => false,
    });
    let setting = setting.filter(|_| !is_interactive)?;
    Some(format!("{}=, which may set LD_PRELOAD,", setting.key))
}

/// `RootDirectory=` and what belongs there: the kernel's file systems, the tree in the store
/// whose path the relocated programs hold, the journal's sockets, stage1-skim, which starts
/// them, and what volumes the kernel's file systems cover. It is at the same path inside, as systemd-analyze(1) looks for programs on the host.
fn image_as_root(app: &AppPlan, volumes: &[VolumePlan], stage1: &Path) -> Result<Vec<Setting>> {
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
    for mount in app
        .mounts
        .iter()
        .filter(|mount| mount.target.starts_with(RUN))
    {
        settings.push(bound_again(mount, volumes)?);
    }
    // Not on every host: a missing one is passed over.
    let sockets = LOG_SOCKETS.map(|socket| format!("-{socket}")).join(" ");
    settings.push(Setting::service("BindReadOnlyPaths", sockets));
    Ok(settings)
}

/// A volume beneath [`RUN`], bound from where it comes from: what skim has mounted in the rootfs
/// is covered there. Without the attributes that a mount of skim's has (nodev, where nothing but
/// an image's files is in it, and those have no device nodes).
fn bound_again(mount: &MountPlan, volumes: &[VolumePlan]) -> Result<Setting> {
    let MountPlan { volume, target, .. } = mount;
    let failed = || format!("volume {volume} at {target:?}");
    let mut all = volumes.iter();
    let plan = all.find(|plan| plan.name == *volume);
    let plan = plan
        .context("the pod has no such volume")
        .with_context(failed)?;
    let source = escape::path_word(&plan.source).with_context(failed)?;
    let target = escape::path_word(target).with_context(failed)?;
    let key = match mount.read_only {
        true => "BindReadOnlyPaths",
        false => "BindPaths",
    };
    let how = match plan.kind {
        VolumeKind::Host { recursive: true } => "rbind",
        _ => "norbind",
    };
    Ok(Setting::service(key, format!("{source}:{target}:{how}")))
}

/// What systemd mounts on in the rootfs of an app whose root it is: directories, and one file.
/// systemd makes what is missing, but not in a rootfs that cannot be written to.
pub fn mount_points(app: &AppPlan, stage1: &Path) -> (Vec<PathBuf>, Option<PathBuf>) {
    if app.root == Root::Host {
        return (Vec::new(), None);
    }
    let directories = ["/proc", "/sys", "/dev", RUN].map(PathBuf::from);
    let directories = directories.into_iter().chain([app.image.tree.clone()]);
    (directories.collect(), Some(stage1.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::EnvVar;

    fn app(uid: u32, root: Root) -> AppPlan {
        AppPlan {
            root,
            credentials: Credentials {
                uid,
                ..Credentials::default()
            },
            ..AppPlan::example("a")
        }
    }

    fn with_variable(app: AppPlan, name: &str) -> AppPlan {
        let environment = vec![EnvVar {
            name: name.into(),
            value: "x".into(),
            default: false,
        }];
        AppPlan { environment, ..app }
    }

    fn with_settings(app: AppPlan, setting: Setting) -> AppPlan {
        AppPlan {
            image_settings: vec![setting],
            ..app
        }
    }

    #[test]
    fn what_would_keep_stage1_from_starting_the_app_is_refused() {
        let ambient = Setting::service("AmbientCapabilities", "CAP_NET_BIND_SERVICE");
        let bounding = Setting::service("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE");
        let filter = Setting::service("SystemCallFilter", "~@setuid");
        let inside = || app(0, Root::Image);
        for (app, setting, says) in [
            (app(1, Root::Host), &ambient, None),
            (app(1, Root::Host), &bounding, Some("--caps-retain")),
            (app(1, Root::Host), &filter, Some("--seccomp")),
            (app(0, Root::Host), &bounding, None),
            (app(0, Root::Host), &filter, None),
            (inside(), &bounding, None),
            (inside(), &filter, Some("--seccomp")),
        ] {
            let outcome = of(&with_settings(app, setting.clone()), &[], Path::new("/s"));
            match (outcome, says) {
                (Ok(_), None) => (),
                (Err(error), Some(says)) => assert!(error.to_string().contains(says), "{error}"),
                (outcome, _) => panic!("{setting:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_static_stage1_is_needed_where_something_acts_on_a_loader() {
        let filtered = |app: AppPlan| AppPlan {
            isolation_settings: vec![Setting::service("SystemCallFilter", "~reboot")],
            ..app
        };
        let root = || app(0, Root::Host);
        let user = || app(1, Root::Host);
        let passed = Setting::service("PassEnvironment", "HOME LD_LIBRARY_PATH");
        let file = Setting::service("EnvironmentFile", "/x");
        for (app, is_interactive, says) in [
            (root(), false, None),
            (root(), true, None),
            (user(), false, None),
            (app(0, Root::Image), false, Some("--root=image")),
            (filtered(root()), false, None),
            (filtered(user()), false, Some("a system call filter")),
            (with_variable(root(), "LD_PRELOAD"), false, None),
            (
                with_variable(root(), "LD_PRELOAD"),
                true,
                Some("its environment variable LD_PRELOAD"),
            ),
            (
                with_variable(user(), "LD_LIBRARY_PATH"),
                false,
                Some("its environment variable LD_LIBRARY_PATH"),
            ),
            (with_variable(user(), "OLD_PWD"), false, None),
            (
                with_settings(user(), passed.clone()),
                false,
                Some("PassEnvironment=, which may set LD_PRELOAD,"),
            ),
            (
                with_settings(user(), file),
                false,
                Some("EnvironmentFile=, which may set LD_PRELOAD,"),
            ),
            (with_settings(user(), passed.clone()), true, None),
            (with_settings(root(), passed), false, None),
        ] {
            assert_eq!(needs_static(&app, is_interactive).as_deref(), says);
        }
    }
}
