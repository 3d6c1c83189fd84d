//! The plan of one app: what was asked for, its image looked into.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stage1_skim::names::{self, AppDirectory};
use stage1_skim::pod::{AppPlan, Credentials, EnvVar, ExecPlan, ImagePlan, MountPlan, Root};
use stage1_skim::unit::Setting;

use self::places::Places;
use super::environment::{self, Sources};
use super::isolators::{self, Isolation};
use super::programs::Programs;
use super::request::AppRequest;
use super::tree::Tree;
use super::unit::dependencies::Pod;
use super::unit::{self, ImageUnit, Service};
use super::user::{self, User};
use super::user_scope::{self, Caller};
use super::volume::{self, Volumes};
use crate::image::hints;
use crate::image::manifest::App;

mod of_unit;
mod places;
pub mod section;
mod settings;
mod sockets;

/// Unit text for the app's service.
pub const DROPIN: &str = "skim.dropin";

/// Whether the app speaks sd_notify(3) (appc executors' own annotation).
pub const NOTIFY: &str = "appc.io/executor/supports-systemd-notify";

/// What the app takes for `/`, as `--root`; only a pod manifest may say it.
pub const ROOT: &str = "skim.root";

/// What an app is planned in.
pub struct Surroundings<'a> {
    /// Where the pod's directory will be.
    pub directory: &'a Path,
    /// The apps that must be up before it.
    pub requires: Vec<String>,
    /// The unit of its image that its service is taken from.
    pub unit: Option<&'a ImageUnit>,
    /// Whose pod it is, where it is a user's.
    pub caller: Option<&'a Caller>,
    /// All apps by their units.
    pub pod: &'a Pod<'a>,
}

/// Plans the app `name`.
///
/// # Errors
/// Everything that is wrong with the request, one line each.
pub fn plan(
    name: &str,
    request: &AppRequest,
    surroundings: Surroundings<'_>,
    volumes: &mut Volumes,
) -> Result<AppPlan> {
    let image = &request.image;
    let tree = Tree::open(&image.tree)?;
    let caller = surroundings.caller;
    let rootfs = match caller {
        Some(_) => user_scope::rootfs(request, surroundings.directory, name),
        None => AppDirectory::new(surroundings.directory, name).rootfs(),
    };
    let mut section = section::section(request)?;
    if caller.is_some() {
        section.mount_points = user_scope::mount_points(request, &section.mount_points, volumes);
    }
    let who = surroundings.unit.map(unit::who).transpose()?;
    if let Some(who) = &who {
        of_unit::set_user(&mut section, request, &tree, who)?;
    }
    let mounted = volume::Image {
        app: name,
        tree: &tree,
        path: &image.tree,
        points: &section.mount_points,
        is_oci: image.id.is_oci(),
    };
    let of_app = volumes.mounts(&mounted, &request.mounts)?;
    let root = match request.root {
        Root::Host => rootfs.as_path(),
        Root::Image => Path::new("/"),
    };
    let mounts = match caller {
        // Nothing is mounted for a user.
        Some(_) => Vec::new(),
        None => of_app.mounts.clone(),
    };
    let planner = Planner {
        surroundings: &surroundings,
        name,
        request,
        root,
        rootfs: &rootfs,
        user: match caller {
            Some(caller) => caller.user(),
            None => user::find_user(&tree, &section.user)?,
        },
        places: match caller {
            Some(_) => Places::new(Path::new("/"), &user_scope::places(volumes, &of_app)?)?,
            None => Places::new(root, &of_app.names)?,
        },
        targets: mounts.iter().map(|mount| mount.target.clone()).collect(),
        tree: &tree,
        section: &section,
        output: caller.map(|_| names::output_pipe(surroundings.directory, name)),
    };
    let isolation = isolators::of_app(&section::isolators(request, &section))?;
    let service = match who {
        Some(who) => planner.of_unit(who, &isolation)?,
        None => None,
    };
    planner.plan(service, isolation, mounts)
}

/// What an app's plan is made of.
struct Planner<'a> {
    surroundings: &'a Surroundings<'a>,
    name: &'a str,
    request: &'a AppRequest,
    tree: &'a Tree,
    section: &'a App,
    user: User,
    /// Where the app has its image.
    root: &'a Path,
    rootfs: &'a Path,
    places: Places,
    /// Where volumes are mounted, paths of the image.
    targets: Vec<PathBuf>,
    /// The pipe for its output, where the pod is a user's.
    output: Option<PathBuf>,
}

impl Planner<'_> {
    fn plan(
        &self,
        service: Option<Service>,
        isolation: Isolation,
        mounts: Vec<MountPlan>,
    ) -> Result<AppPlan> {
        let (request, section) = (self.request, self.section);
        let mut sockets = sockets::sockets(section)?;
        let service = service.as_ref();
        sockets.extend(service.iter().flat_map(|service| service.sockets.clone()));
        Ok(AppPlan {
            name: self.name.to_string(),
            image: self.image(),
            exec: self.exec(service)?,
            pre_start: self.handler("pre-start", section.pre_start.as_deref())?,
            post_stop: self.handler("post-stop", section.post_stop.as_deref())?,
            working_directory: self.working_directory(service)?,
            credentials: self.credentials()?,
            environment: self.environment(service)?,
            requires: self.surroundings.requires.clone(),
            notify: self.notify(service),
            root: request.root,
            read_only_rootfs: request.read_only_rootfs,
            mounts,
            sockets,
            capabilities: isolation.capabilities,
            isolation_settings: isolation.settings,
            annotations: request.annotations.clone(),
            labels: request.labels.clone(),
            unit: service.map(|service| service.plan.clone()),
            image_settings: self.image_settings()?,
            user_settings: settings::of_user(request),
            rootfs: self.rootfs.to_path_buf(),
            output: self.output.clone(),
        })
    }

    /// What the app is: of a unit the first of its `ExecStart=`.
    fn exec(&self, service: Option<&Service>) -> Result<ExecPlan> {
        if let Some(service) = service {
            let mut commands = service.plan.commands.iter();
            let start = commands.find(|command| command.key == "ExecStart");
            return Ok(start.context("the unit has no ExecStart=")?.exec.clone());
        }
        let programs = self.programs();
        let exec = programs.command(&self.section.exec, &self.request.arguments)?;
        self.places.fill_in_command(exec)
    }

    /// A unit's is one of the host, `/` where it says none.
    fn working_directory(&self, service: Option<&Service>) -> Result<PathBuf> {
        match service {
            Some(service) if self.section.working_directory.is_none() => {
                let directory = service.working_directory.as_deref();
                Ok(PathBuf::from(directory.unwrap_or("/")))
            }
            _ => self.programs().working_directory(),
        }
    }

    /// Whether the app has the image's tree itself, where nothing is made.
    fn is_from_store(&self) -> bool {
        self.rootfs == self.request.image.tree
    }

    fn image_settings(&self) -> Result<Vec<Setting>> {
        let mut settings = settings::of_image(self.request, self.section)?;
        if self.output.is_some() {
            settings.retain(|setting| !user_scope::is_privileged(&setting.key));
        }
        Ok(settings)
    }

    fn image(&self) -> ImagePlan {
        let image = &self.request.image;
        ImagePlan {
            name: image.name().to_owned(),
            version: image.version().map(str::to_owned),
            id: image.id.to_string(),
            tree: image.tree.clone(),
        }
    }

    fn programs(&self) -> Programs<'_> {
        Programs {
            tree: self.tree,
            root: self.root,
            manifest: self.section,
            makes_working_directory: self.request.image.id.is_oci() && !self.is_from_store(),
            mounted: &self.targets,
        }
    }

    fn handler(&self, event: &str, exec: Option<&[String]>) -> Result<Option<ExecPlan>> {
        // A unit has commands of its own.
        let exec = exec.filter(|_| self.request.unit.is_none());
        let command = self.programs().handler(event, exec)?;
        command
            .map(|command| self.places.fill_in_command(command))
            .transpose()
    }

    fn notify(&self, service: Option<&Service>) -> bool {
        let image = &self.request.image.manifest;
        let asked = self.request.notify;
        asked.unwrap_or_else(|| match service {
            Some(service) => service.notify,
            None => image.annotation(NOTIFY) == Some("true"),
        })
    }

    fn credentials(&self) -> Result<Credentials> {
        let section = self.section;
        if self.output.is_some() {
            return Ok(Credentials::default());
        }
        let (gid, supplementary_gids) = match &section.group {
            Some(group) => (
                user::find_group(self.tree, group)?,
                section.supplementary_gids.clone(),
            ),
            None => user::own_groups(self.tree, &section.user, self.user.uid)?,
        };
        let asked = self.request.supplementary_gids.clone();
        Ok(Credentials {
            uid: self.user.uid,
            gid,
            supplementary_gids: asked.unwrap_or(supplementary_gids),
        })
    }

    fn environment(&self, service: Option<&Service>) -> Result<Vec<EnvVar>> {
        let account = self.user.account.as_ref();
        let home = account.map(|account| Path::new(&account.home));
        let asked = &self.request.environment;
        let written = section::of_image(self.request, self.section);
        let mut written = vec![self.places.fill_in_variables(&written)?];
        written.extend(service.map(|service| service.environment.clone()));
        written.push(self.own_variables()?);
        // What the caller happens to have is not written for an app: no volume is meant by it.
        let layers = [self.places.variables(), section::inherited(asked)];
        Ok(environment::compose(&Sources {
            app: self.name,
            root: self.root,
            // A user's home is where it is.
            has_home: self.output.is_none()
                && home.map_or(Ok(false), |home| self.tree.is_directory(home))?,
            user: &self.user,
            hints: self.hints()?,
            layers: layers.into_iter().chain(written).collect(),
        }))
    }

    /// Variables that the user asks for, or a pod manifest.
    fn own_variables(&self) -> Result<Vec<(String, String)>> {
        let asked = &self.request.environment;
        let of_manifest = section::of_manifest(self.request);
        let written = [of_manifest.as_slice(), &asked.files, &asked.set, &asked.app];
        self.places.fill_in_variables(&written.concat())
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::pod::request::EnvironmentRequest;
    use crate::pod::testing;
    use crate::pod::volume::{parse_mount, parse_volume};

    #[test]
    fn what_the_caller_was_told_is_not_told_the_app() {
        let tree = tempfile::tempdir().unwrap();
        let app = serde_json::json!({"exec": ["/bin/web"], "user": "0", "group": "0"});
        let manifest = testing::manifest(&app, &serde_json::json!([]));
        let inherited = [
            ("SKIM_VOLUME_DATA", "/caller"),
            ("AC_APP_NAME", "caller"),
            ("LISTEN_FDS", "1"),
            ("NOTIFY_SOCKET", "/run/caller"),
            ("INVOCATION_ID", "0"),
            ("PROMPT", "{volume:none}"),
        ];
        let inherited = inherited.map(|(name, value)| (name.to_string(), value.to_string()));
        let request = AppRequest {
            environment: EnvironmentRequest {
                inherited: inherited.into(),
                ..EnvironmentRequest::default()
            },
            mounts: vec![parse_mount("volume=data,target=/srv").unwrap()],
            ..AppRequest::new(testing::image(tree.path(), &["bin/web"], manifest))
        };
        let pod = Path::new("/pod");
        let mut volumes = Volumes::new(pod, &[parse_volume("data,kind=empty").unwrap()]).unwrap();
        let surroundings = Surroundings {
            directory: pod,
            requires: Vec::new(),
            unit: None,
            caller: None,
            pod: &Pod::new("", Vec::new()),
        };
        let app = plan("web", &request, surroundings, &mut volumes).unwrap();
        let variables = app.environment.iter();
        let variables: HashMap<_, _> = variables.map(|v| (&*v.name, &*v.value)).collect();
        let place = app.rootfs.join("srv");
        assert_eq!(variables["SKIM_VOLUME_DATA"], place.to_str().unwrap());
        assert_eq!(variables["AC_APP_NAME"], "web");
        for absent in ["LISTEN_FDS", "NOTIFY_SOCKET", "INVOCATION_ID"] {
            assert!(!variables.contains_key(absent), "{absent}");
        }
        assert_eq!(variables["PROMPT"], "{volume:none}");
    }
}
