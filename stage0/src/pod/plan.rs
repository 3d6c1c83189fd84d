//! From what was asked for to the plan that stage1 carries out.
//!
//! The images' trees are looked into, and nothing is changed: whatever is wrong with a pod is
//! found here, before it exists.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::names::AppDirectory;
use stage1_skim::pod::{AppPlan, CONTRACT_VERSION, Credentials, ExecPlan, ImagePlan, PodPlan};
use stage1_skim::unit::{self, Setting};
use stage1_skim::units;

use super::environment::{self, Sources};
use super::graph::{self, Node};
use super::request::AppRequest;
use super::tree::Tree;
use super::user::{self, User};
use crate::image::manifest::{App, ImageManifest};
use crate::image::name;

/// Names of the apps that must be up before the app of this image, separated by blanks.
const REQUIRES: &str = "skim.requires";

/// Unit text for the app's service.
const DROPIN: &str = "skim.dropin";

/// Whether the app speaks sd_notify(3) (appc executors' own annotation).
const NOTIFY: &str = "appc.io/executor/supports-systemd-notify";

/// The signal that systemd ends a service with (systemd.kill(5)).
const KILL_SIGNAL: &str = "KillSignal";

/// Where a bare program name is looked for after the working directory, where the image sets no
/// `PATH`: rkt's two directories, then the rest of the default `PATH`.
const DEFAULT_SEARCH_PATH: [&str; 6] = [
    "/bin",
    "/usr/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/sbin",
];

/// Plans the pod `uuid`, whose directory will be `directory`, for the stage1 at `stage1`.
///
/// # Errors
/// Everything that is wrong with the request, one line each.
pub fn plan(
    uuid: &str,
    directory: &Path,
    stage1: &Path,
    requests: &[AppRequest],
) -> Result<PodPlan> {
    let names = app_names(requests)?;
    let nodes: Result<Vec<_>> = names
        .iter()
        .zip(requests)
        .map(|(name, request)| {
            let requires = match &request.requires {
                Some(requires) => Some(requires.clone()),
                None => annotated_requires(request),
            };
            Ok(Node { name, requires })
        })
        .collect();
    let requires = graph::resolve(&nodes?)?;
    let apps: Result<Vec<_>> = names
        .iter()
        .zip(requests)
        .zip(requires)
        .map(|((name, request), requires)| {
            app(name, directory, request, requires).with_context(|| format!("app {name}"))
        })
        .collect();
    let plan = PodPlan {
        version: CONTRACT_VERSION,
        uuid: uuid.to_string(),
        apps: apps?,
    };
    // What systemd could not express is found here, too, not when half the pod exists.
    units::units(&plan, stage1)?;
    Ok(plan)
}

fn app_names(requests: &[AppRequest]) -> Result<Vec<String>> {
    ensure!(!requests.is_empty(), "a pod needs an app: name an image");
    let mut names: Vec<String> = Vec::new();
    for request in requests {
        let name = match &request.name {
            Some(name) => {
                name::check_name(name).context("--name")?;
                name.clone()
            }
            None => request.image.manifest.default_app_name().with_context(|| {
                format!(
                    "no app name can be made of the image name {}: give one by --name",
                    request.image.name()
                )
            })?,
        };
        ensure!(
            !names.contains(&name),
            "multiple apps with name {name}: tell them apart by --name"
        );
        names.push(name);
    }
    Ok(names)
}

fn annotated_requires(request: &AppRequest) -> Option<Vec<String>> {
    let list = request.image.manifest.annotation(REQUIRES)?;
    Some(list.split_whitespace().map(str::to_string).collect())
}

fn app(
    name: &str,
    directory: &Path,
    request: &AppRequest,
    requires: Vec<String>,
) -> Result<AppPlan> {
    let image = &request.image;
    let tree = Tree::open(&image.tree)?;
    let rootfs = AppDirectory::new(directory, name).rootfs();
    let manifest = runnable(request)?;
    warn_of_what_is_left_out(name, &manifest);
    let user = user::find_user(&tree, &manifest.user)?;
    let lookup = Lookup {
        tree: &tree,
        rootfs: &rootfs,
        manifest: &manifest,
        makes_working_directory: image.id.is_oci(),
    };
    let home = user.account.as_ref().map(|account| account.home.as_str());
    let environment = environment::compose(&Sources {
        app: name,
        rootfs: &rootfs,
        has_home: home.map_or(Ok(false), |home| tree.is_directory(Path::new(home)))?,
        user: &user,
        image: image_environment(&manifest),
        flags: request.environment.clone(),
    });
    Ok(AppPlan {
        name: name.to_string(),
        image: ImagePlan {
            name: image.name().to_owned(),
            version: image.version().map(str::to_owned),
            id: image.id.to_string(),
            tree: image.tree.clone(),
        },
        exec: lookup.command(&manifest.exec, &request.arguments)?,
        pre_start: lookup.handler("pre-start", manifest.pre_start.as_deref())?,
        post_stop: lookup.handler("post-stop", manifest.post_stop.as_deref())?,
        working_directory: lookup.working_directory()?,
        credentials: credentials(&tree, &user, &manifest)?,
        environment,
        requires,
        notify: image.manifest.annotation(NOTIFY) == Some("true"),
        image_settings: image_settings(&image.manifest, &manifest, &request.settings)?,
        user_settings: request.settings.clone(),
        rootfs,
    })
}

/// The image's app section, with the user's command line in it.
fn runnable(request: &AppRequest) -> Result<App> {
    let image = &request.image;
    let mut app = match (&image.manifest.app, &request.exec) {
        (Some(app), _) => app.clone(),
        (None, Some(_)) => App {
            user: "0".to_string(),
            group: Some("0".to_string()),
            ..App::default()
        },
        (None, None) => bail!(
            "image {} has no app section and --exec is not given",
            image.name()
        ),
    };
    if let Some(exec) = &request.exec {
        app.exec = vec![exec.clone()];
    }
    ensure!(
        app.exec.first().is_some_and(|program| !program.is_empty()),
        "image {:?} has an empty \"exec\" (try --exec=BINARY)",
        image.name()
    );
    Ok(app)
}

fn warn_of_what_is_left_out(name: &str, manifest: &App) {
    for isolator in &manifest.isolators {
        log::warn!(
            "app {name}: the isolator {} is not applied: set limits by --property",
            isolator.name
        );
    }
    for point in &manifest.mount_points {
        log::warn!(
            "app {name}: nothing is mounted at its mount point {} ({:?}): it sees the host's files",
            point.name,
            point.path
        );
    }
    for port in manifest.ports.iter().filter(|port| port.socket_activated) {
        log::warn!("app {name}: its port {} is not socket-activated", port.name);
    }
}

fn image_environment(manifest: &App) -> Vec<(String, String)> {
    let variables = manifest.environment.iter();
    variables
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect()
}

fn credentials(tree: &Tree, user: &User, manifest: &App) -> Result<Credentials> {
    let (gid, supplementary_gids) = match &manifest.group {
        Some(group) => (
            user::find_group(tree, group)?,
            manifest.supplementary_gids.clone(),
        ),
        None => user::own_groups(tree, &manifest.user, user.uid)?,
    };
    Ok(Credentials {
        uid: user.uid,
        gid,
        supplementary_gids,
    })
}

/// What the image asks of systemd: the signal that ends its app, unless its drop-in or the user
/// says otherwise, and its drop-in.
fn image_settings(
    manifest: &ImageManifest,
    app: &App,
    user_settings: &[Setting],
) -> Result<Vec<Setting>> {
    let mut settings = match manifest.annotation(DROPIN) {
        Some(text) => unit::parse(text).with_context(|| format!("annotation {DROPIN}"))?,
        None => Vec::new(),
    };
    if let Some(signal) = &app.stop_signal {
        let mut others = settings.iter().chain(user_settings);
        if !others.any(|setting| setting.key == KILL_SIGNAL) {
            settings.insert(0, Setting::service(KILL_SIGNAL, signal));
        }
    }
    Ok(settings)
}

/// Finds an app's programs in its image.
struct Lookup<'a> {
    tree: &'a Tree,
    rootfs: &'a Path,
    manifest: &'a App,
    /// Whether a working directory that the image does not have is made when the pod is.
    makes_working_directory: bool,
}

impl Lookup<'_> {
    fn command(&self, exec: &[String], arguments: &[String]) -> Result<ExecPlan> {
        let (path, argv0) = self.program(&exec[0])?;
        let rest = exec[1..].iter().chain(arguments).cloned();
        Ok(ExecPlan {
            path,
            argv: [argv0].into_iter().chain(rest).collect(),
        })
    }

    fn handler(&self, event: &str, exec: Option<&[String]>) -> Result<Option<ExecPlan>> {
        match exec {
            Some(exec) if !exec.is_empty() => {
                let plan = self.command(exec, &[]);
                plan.map(Some)
                    .with_context(|| format!("event handler {event}"))
            }
            _ => Ok(None),
        }
    }

    /// The file to execute, and `argv[0]`.
    ///
    /// An absolute name is as it is, one with a slash is relative to the working directory, a
    /// bare one is looked for in the image's `PATH`, or else in the working directory and
    /// [`DEFAULT_SEARCH_PATH`]. `argv[0]` stays as the image has it, except that an absolute one becomes the
    /// path on the host: programs such as python and postgres find their own files by it.
    fn program(&self, name: &str) -> Result<(PathBuf, String)> {
        let inside = self.find(name)?;
        let path = self.on_host(&inside);
        let argv0 = if name.starts_with('/') {
            let path = path.to_str().context("its path is not UTF-8")?;
            path.to_string()
        } else {
            name.to_string()
        };
        Ok((path, argv0))
    }

    fn find(&self, name: &str) -> Result<PathBuf> {
        if name.contains('/') {
            let path = self.image_working_directory().join(name);
            ensure!(
                self.tree.stat(&path)?.is_some(),
                "unable to open {name:?}: no such file in the image"
            );
            ensure!(
                self.tree.is_executable(&path)?,
                "cannot execute {name:?}: it is no executable file in the image"
            );
            return self.tree.plain(&path);
        }
        let directories = self.search_path();
        for directory in &directories {
            let path = directory.join(name);
            if self.tree.is_executable(&path)? {
                return self.tree.plain(&path);
            }
        }
        let searched: Vec<_> = directories
            .iter()
            .map(|directory| directory.display().to_string())
            .collect();
        bail!("unable to find {name:?} in {:?}", searched.join(":"))
    }

    fn search_path(&self) -> Vec<PathBuf> {
        let mut variables = self.manifest.environment.iter();
        match variables.find(|variable| variable.name == "PATH") {
            Some(variable) => {
                let directories = variable.value.split(':');
                let absolute = directories.filter(|directory| directory.starts_with('/'));
                absolute.map(PathBuf::from).collect()
            }
            None => [self.image_working_directory()]
                .into_iter()
                .chain(DEFAULT_SEARCH_PATH.map(PathBuf::from))
                .collect(),
        }
    }

    fn image_working_directory(&self) -> PathBuf {
        let directory = self.manifest.working_directory.as_deref();
        PathBuf::from(directory.filter(|path| !path.is_empty()).unwrap_or("/"))
    }

    fn working_directory(&self) -> Result<PathBuf> {
        let directory = self.image_working_directory();
        let climbs = directory
            .components()
            .any(|part| part == Component::ParentDir);
        if self.makes_working_directory && !climbs && self.tree.stat(&directory)?.is_none() {
            return Ok(self.on_host(&directory));
        }
        ensure!(
            self.tree.is_directory(&directory)?,
            "the working directory {directory:?} is no directory in the image"
        );
        Ok(self.on_host(&self.tree.plain(&directory)?))
    }

    fn on_host(&self, inside: &Path) -> PathBuf {
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        if relative.as_os_str().is_empty() {
            return self.rootfs.to_path_buf();
        }
        self.rootfs.join(relative)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_stop_signal_is_the_last_word_of_nobody() {
        let signal = "[Service]\nKillSignal=SIGINT\n";
        let user = [Setting::service(KILL_SIGNAL, "SIGHUP")];
        let quit = Setting::service(KILL_SIGNAL, "SIGQUIT");
        let int = Setting::service(KILL_SIGNAL, "SIGINT");
        let other = Setting::service("KillMode", "mixed");
        for (dropin, user, expected) in [
            ("", &[][..], &[quit.clone()][..]),
            ("[Service]\nKillMode=mixed\n", &[], &[quit, other]),
            (signal, &[], &[int]),
            ("", &user, &[]),
        ] {
            let config = serde_json::json!({
                "os": "linux", "architecture": "amd64",
                "rootfs": {"type": "layers", "diff_ids": []}, "config": {"StopSignal": "QUIT"},
            });
            let config =
                crate::image::oci::config::ImageConfig::parse(config.to_string().as_bytes());
            let annotations = BTreeMap::from([(DROPIN.to_string(), dropin.to_string())]);
            let manifest = config
                .unwrap()
                .into_manifest(&annotations, "a", None)
                .unwrap();
            let app = manifest.app.clone().unwrap();
            assert_eq!(image_settings(&manifest, &app, user).unwrap(), expected);
        }
    }
}
