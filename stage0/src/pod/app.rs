//! The plan of one app: what was asked for, its image looked into.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::names::AppDirectory;
use stage1_skim::pod::{
    AppPlan, Credentials, EnvVar, ExecPlan, ImagePlan, Protocol, Root, SocketPlan,
};
use stage1_skim::unit::{self, Setting};

use super::environment::{self, Sources};
use super::isolators;
use super::programs::{self, Programs};
use super::request::{AppRequest, EnvironmentRequest};
use super::tree::Tree;
use super::user::{self, User};
use super::volume::{self, AppVolumes, Volumes};
use crate::image::hints;
use crate::image::manifest::{App, ImageManifest, Isolator};

/// Unit text for the app's service.
pub const DROPIN: &str = "skim.dropin";

/// Whether the app speaks sd_notify(3) (appc executors' own annotation).
pub const NOTIFY: &str = "appc.io/executor/supports-systemd-notify";

/// The signal that systemd ends a service with (systemd.kill(5)).
const KILL_SIGNAL: &str = "KillSignal";

/// Plans the app `name` of the pod whose directory will be `directory`.
///
/// # Errors
/// Everything that is wrong with the request, one line each.
pub fn plan(
    name: &str,
    directory: &Path,
    request: &AppRequest,
    requires: Vec<String>,
    volumes: &mut Volumes,
) -> Result<AppPlan> {
    let image = &request.image;
    let tree = Tree::open(&image.tree)?;
    let rootfs = AppDirectory::new(directory, name).rootfs();
    let manifest = runnable(request)?;
    let root = match request.root {
        Root::Host => rootfs.as_path(),
        Root::Image => Path::new("/"),
    };
    let mounted = volume::Image {
        app: name,
        tree: &tree,
        path: &image.tree,
        points: &manifest.mount_points,
        is_oci: image.id.is_oci(),
    };
    let AppVolumes { mounts, names } = volumes.mounts(&mounted, &request.mounts)?;
    let targets: Vec<_> = mounts.iter().map(|mount| mount.target.clone()).collect();
    let places = Places::new(root, &names)?;
    let programs = Programs {
        tree: &tree,
        root,
        manifest: &manifest,
        makes_working_directory: image.id.is_oci(),
        mounted: &targets,
    };
    let user = user::find_user(&tree, &manifest.user)?;
    let isolation = isolators::of_app(&isolators_of(request, &manifest))?;
    let exec = programs.command(&manifest.exec, &request.arguments)?;
    let surroundings = Surroundings {
        name,
        root,
        tree: &tree,
        user: &user,
        manifest: &manifest,
        places: &places,
    };
    let user_settings = user_settings(request);
    let handler = |event, exec: &Option<Vec<String>>| {
        let command = programs.handler(event, exec.as_deref())?;
        command
            .map(|command| places.fill_in_command(command))
            .transpose()
    };
    Ok(AppPlan {
        name: name.to_string(),
        image: ImagePlan {
            name: image.name().to_owned(),
            version: image.version().map(str::to_owned),
            id: image.id.to_string(),
            tree: image.tree.clone(),
        },
        exec: places.fill_in_command(exec)?,
        pre_start: handler("pre-start", &manifest.pre_start)?,
        post_stop: handler("post-stop", &manifest.post_stop)?,
        working_directory: programs.working_directory()?,
        credentials: credentials(&tree, &user, &manifest, request)?,
        environment: surroundings.environment(&request.environment)?,
        requires,
        notify: request
            .notify
            .unwrap_or_else(|| image.manifest.annotation(NOTIFY) == Some("true")),
        root: request.root,
        read_only_rootfs: request.read_only_rootfs,
        mounts,
        sockets: sockets(&manifest)?,
        capabilities: isolation.capabilities,
        isolation_settings: isolation.settings,
        annotations: request.annotations.clone(),
        labels: request.labels.clone(),
        image_settings: image_settings(&image.manifest, &manifest, &user_settings)?,
        user_settings,
        rootfs,
    })
}

/// The image's app section, with the user's command line in it.
fn runnable(request: &AppRequest) -> Result<App> {
    let image = &request.image;
    let given = request.app.as_ref().or(image.manifest.app.as_ref());
    let mut app = match (given, &request.exec) {
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
    if let Some(user) = &request.user {
        app.user.clone_from(user);
    }
    if request.group.is_some() {
        app.group.clone_from(&request.group);
    }
    if let Some(gids) = &request.supplementary_gids {
        app.supplementary_gids.clone_from(gids);
    }
    if request.working_directory.is_some() {
        app.working_directory.clone_from(&request.working_directory);
    }
    ensure!(
        app.exec.first().is_some_and(|program| !program.is_empty()),
        "image {:?} has an empty \"exec\" (try --exec=BINARY)",
        image.name()
    );
    Ok(app)
}

/// The most sockets that one port of an image stands for.
const SOCKETS_MAX: u32 = 1024;

/// The ports that systemd listens on for the app.
fn sockets(manifest: &App) -> Result<Vec<SocketPlan>> {
    let ports = manifest.ports.iter().filter(|port| port.socket_activated);
    ports
        .map(|port| {
            let context = || format!("port {}", port.name);
            let protocol = match port.protocol.as_deref() {
                Some("tcp") => Protocol::Tcp,
                Some("udp") => Protocol::Udp,
                other => {
                    let found = other.unwrap_or("none");
                    bail!(
                        "port {}: protocol {found:?} (must be one of: tcp, udp)",
                        port.name
                    )
                }
            };
            ensure!(
                port.count <= SOCKETS_MAX,
                "port {}: {} sockets; at most {SOCKETS_MAX} are opened",
                port.name,
                port.count
            );
            Ok(SocketPlan {
                name: port.name.clone(),
                protocol,
                port: port.port,
                count: u16::try_from(port.count).with_context(context)?,
            })
        })
        .collect()
}

/// The user's isolators, and those of the image that the user says nothing about.
fn isolators_of(request: &AppRequest, manifest: &App) -> Vec<Isolator> {
    let users = &request.isolators;
    let images = manifest.isolators.iter();
    images
        .filter(|isolator| !users.iter().any(|user| isolators::replaces(user, isolator)))
        .chain(users)
        .cloned()
        .collect()
}

/// Where the app's volumes are, as it sees them.
struct Places {
    volumes: Vec<(String, String)>,
}

impl Places {
    fn new(root: &Path, names: &[(String, PathBuf)]) -> Result<Self> {
        let volumes = names.iter().map(|(name, target)| {
            let path = programs::beneath(root, target);
            let path = path
                .to_str()
                .with_context(|| format!("the target of the volume {name} is not UTF-8"))?;
            Ok((name.clone(), path.to_string()))
        });
        Ok(Self {
            volumes: volumes.collect::<Result<_>>()?,
        })
    }

    /// The variables that tell the app.
    fn variables(&self) -> Vec<(String, String)> {
        let volumes = self.volumes.iter();
        volumes
            .map(|(name, path)| (volume::variable(name), path.clone()))
            .collect()
    }

    /// `text`, every `{volume:NAME}` in it replaced by the volume's path.
    fn fill_in(&self, text: &str) -> Result<String> {
        volume::fill_in(text, &self.volumes)
    }

    fn fill_in_command(&self, mut command: ExecPlan) -> Result<ExecPlan> {
        for argument in command.argv.iter_mut().skip(1) {
            *argument = self.fill_in(argument)?;
        }
        Ok(command)
    }

    fn fill_in_variables(&self, variables: &[(String, String)]) -> Result<Vec<(String, String)>> {
        variables
            .iter()
            .map(|(name, value)| {
                let value = self.fill_in(value);
                let value = value.with_context(|| format!("environment variable {name:?}"))?;
                Ok((name.clone(), value))
            })
            .collect()
    }
}

/// What the environment is made of.
struct Surroundings<'a> {
    name: &'a str,
    root: &'a Path,
    tree: &'a Tree,
    user: &'a User,
    manifest: &'a App,
    places: &'a Places,
}

impl Surroundings<'_> {
    fn environment(&self, asked: &EnvironmentRequest) -> Result<Vec<EnvVar>> {
        let account = self.user.account.as_ref();
        let home = account.map(|account| Path::new(&account.home));
        let image = image_environment(self.manifest);
        let layers = [
            &self.places.variables(),
            &asked.inherited,
            &image,
            &asked.files,
            &asked.set,
            &asked.app,
        ];
        let layers: Result<Vec<_>> = layers
            .into_iter()
            .map(|layer| self.places.fill_in_variables(layer))
            .collect();
        Ok(environment::compose(&Sources {
            app: self.name,
            root: self.root,
            has_home: home.map_or(Ok(false), |home| self.tree.is_directory(home))?,
            user: self.user,
            hints: self.hints()?,
            layers: layers?,
        }))
    }

    /// What the image's interpreters have to be told; nothing where the image is `/` for them.
    fn hints(&self) -> Result<Vec<(String, String)>> {
        if self.root == Path::new("/") {
            return Ok(Vec::new());
        }
        let hints = hints::find(self.tree)?.into_iter();
        Ok(hints
            .map(|hint| (hint.variable.clone(), hint.value(self.root)))
            .collect())
    }
}

fn image_environment(manifest: &App) -> Vec<(String, String)> {
    let variables = manifest.environment.iter();
    variables
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect()
}

fn credentials(
    tree: &Tree,
    user: &User,
    manifest: &App,
    request: &AppRequest,
) -> Result<Credentials> {
    let asked = request.supplementary_gids.clone();
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
        supplementary_gids: asked.unwrap_or(supplementary_gids),
    })
}

/// What the user asks of systemd: flags that stand for one setting, then `--property`.
fn user_settings(request: &AppRequest) -> Vec<Setting> {
    let kind = request.notify.map(|notify| match notify {
        true => "notify".to_string(),
        false => "exec".to_string(),
    });
    let flags = [
        ("Type", kind),
        ("Restart", request.restart.clone()),
        (KILL_SIGNAL, request.stop_signal.clone()),
    ];
    let flags = flags
        .into_iter()
        .filter_map(|(key, value)| Some(Setting::service(key, value?)));
    flags.chain(request.settings.iter().cloned()).collect()
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
