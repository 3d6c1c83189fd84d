//! Pods of a user without privileges (`skim --user`): what is asked for, fitted to what such a
//! user can do. Pure.
//!
//! Every app runs as the user, sees the host, and has its image from the store, which it cannot
//! write to, or a copy of it; nothing is mounted. What a flag asks for beyond that is refused;
//! what an image does is left out, with a warning, as most run without it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::names::AppDirectory;
use stage1_skim::pod::{Root, VolumeKind};

use super::app::DROPIN;
use super::isolators;
use super::request::{AppRequest, PodRequest};
use super::user::{Account, User};
use super::volume::{AppVolumes, Volume, Volumes};
use crate::image::manifest::{Isolator, MountPoint};

/// Whose pod it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User ID.
    pub uid: u32,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: String,
}

impl Caller {
    /// The user, as an app's environment has it.
    pub fn user(&self) -> User {
        User {
            uid: self.uid,
            account: Some(Account {
                name: self.name.clone(),
                uid: self.uid,
                home: self.home.clone(),
            }),
        }
    }
}

/// Directives that only the system's manager can carry out, and what they are about.
const PRIVILEGED: [(&str, &str); 6] = [
    ("AmbientCapabilities", "capabilities"),
    ("CapabilityBoundingSet", "capabilities"),
    ("RootDirectory", "a root of its own"),
    ("RootImage", "a root of its own"),
    ("DynamicUser", "another user"),
    ("PAMName", "another user"),
];

/// Fits a pod to what `caller` can do.
///
/// # Errors
/// Where a flag asks for more; the message names it.
pub fn adapt(mut request: PodRequest, caller: &Caller) -> Result<PodRequest> {
    for app in &mut request.apps {
        let named = app.name.clone();
        let name = named.unwrap_or_else(|| app.image.name().to_owned());
        adapt_app(app, &name, caller).with_context(|| format!("app {name}"))?;
    }
    for volume in &request.volumes {
        check_volume(volume).with_context(|| format!("volume {}", volume.name))?;
    }
    request.caller = Some(caller.clone());
    Ok(request)
}

fn adapt_app(app: &mut AppRequest, name: &str, caller: &Caller) -> Result<()> {
    ensure!(
        app.root == Root::Host,
        "--root=image takes root: with --user an app sees the host"
    );
    // A unit of the system's has users, directories and sockets that a user cannot give it.
    ensure!(
        app.unit.is_none(),
        "--unit takes root, and cannot be used with --user"
    );
    check_user(app, caller)?;
    warn_of_user(app, name, caller);
    for isolator in &app.isolators {
        if let Some(what) = isolators::takes_root(isolator) {
            bail!("{what} takes root, and cannot be used with --user");
        }
    }
    for setting in &app.settings {
        if let Some((key, what)) = PRIVILEGED.iter().find(|(key, _)| *key == setting.key) {
            bail!("--property={key}: {what} takes root, and cannot be had with --user");
        }
    }
    let mut given: Vec<_> = app.app.iter_mut().collect();
    given.extend(app.image.manifest.app.as_mut());
    for section in given {
        section.isolators.retain(|isolator| keeps(isolator, name));
    }
    Ok(())
}

/// An app is the caller's, whatever a flag says: what says the same is no contradiction.
fn check_user(app: &AppRequest, caller: &Caller) -> Result<()> {
    let is_own = |user: &str| user == caller.name || user == caller.uid.to_string();
    let why = "with --user before the verb, apps run as you and in your groups";
    if let Some(user) = app.user.as_deref().filter(|user| !is_own(user)) {
        bail!("--user={user} cannot be used: {why}");
    }
    if let Some(group) = &app.group {
        bail!("--group={group} cannot be used: {why}");
    }
    ensure!(
        app.supplementary_gids.is_none(),
        "--supplementary-gids cannot be used: {why}"
    );
    Ok(())
}

fn warn_of_user(app: &AppRequest, name: &str, caller: &Caller) {
    let section = app.app.as_ref().or(app.image.manifest.app.as_ref());
    let asked = section.map(|section| section.user.as_str());
    let own = caller.uid.to_string();
    let Some(user) = asked.filter(|user| !["", "0", "root", own.as_str()].contains(user)) else {
        return;
    };
    log::warn!(
        "app {name}: its image asks for the user {}; it runs as you, {}",
        user.escape_debug(),
        caller.name
    );
}

/// Whether an isolator of an image is kept.
fn keeps(isolator: &Isolator, app: &str) -> bool {
    match isolators::takes_root(isolator) {
        None => true,
        Some(what) => {
            log::warn!("app {app}: left out {what} of its image: it takes root");
            false
        }
    }
}

/// What of an image's drop-in is left out.
pub fn is_privileged(key: &str) -> bool {
    let privileged = PRIVILEGED.iter().any(|(privileged, _)| *privileged == key);
    if privileged {
        log::warn!("left out {key}= of the image's {DROPIN}: it takes root");
    }
    privileged
}

/// Nothing is mounted, so that nothing is kept from writing.
fn check_volume(volume: &Volume) -> Result<()> {
    ensure!(
        !volume.read_only,
        "readOnly=true takes a mount, which a user cannot make: the app is told the directory's \
         own path, and writes what you may write"
    );
    if let VolumeKind::Empty { uid, gid, .. } = volume.kind {
        ensure!(
            (uid, gid) == (0, 0),
            "uid= and gid= take root: with --user it is yours"
        );
    }
    Ok(())
}

/// Where the app `name` of the pod in `directory` has its rootfs: its image's `tree` itself, or a
/// copy of it that it may write to.
pub fn rootfs(request: &AppRequest, directory: &Path, name: &str) -> PathBuf {
    match request.read_only_rootfs {
        true => request.image.tree.clone(),
        false => AppDirectory::new(directory, name).rootfs(),
    }
}

/// The mount points of an image that become volumes: all where its rootfs cannot be written to.
/// In a copy, the directory there serves, unless there is a volume for it.
pub fn mount_points(
    request: &AppRequest,
    points: &[MountPoint],
    volumes: &Volumes,
) -> Vec<MountPoint> {
    let asked: HashSet<_> = request.mounts.iter().map(|mount| &*mount.target).collect();
    let is_wanted = |point: &&MountPoint| {
        request.read_only_rootfs
            || volumes.has(&point.name)
            || asked.contains(&*point.name)
            || asked.contains(&*point.path)
    };
    points.iter().filter(is_wanted).cloned().collect()
}

/// By which names the app knows which paths of the host: where its volumes come from, as they are
/// mounted nowhere.
///
/// # Errors
/// Where a volume is missing.
pub fn places(volumes: &Volumes, of_app: &AppVolumes) -> Result<Vec<(String, PathBuf)>> {
    let names = of_app.names.iter();
    names
        .map(|(name, target)| {
            let around = of_app.mounts.iter();
            let around = around.filter(|mount| target.starts_with(&mount.target));
            let mount = around.max_by_key(|mount| mount.target.components().count());
            let mount = mount.with_context(|| format!("nothing is mounted at {target:?}"))?;
            let source = volumes.source(&mount.volume);
            let source = source.with_context(|| format!("there is no volume {}", mount.volume))?;
            let inside = target.strip_prefix(&mount.target)?;
            let is_whole = inside.as_os_str().is_empty();
            let path = if is_whole {
                source.to_path_buf()
            } else {
                source.join(inside)
            };
            Ok((name.clone(), path))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::testing;
    use crate::pod::volume::{parse_mount, parse_volume};
    use stage1_skim::names;
    use stage1_skim::unit::Setting;

    fn caller() -> Caller {
        Caller {
            uid: 1000,
            name: "me".into(),
            home: "/home/me".into(),
        }
    }

    fn request(app: &serde_json::Value) -> AppRequest {
        let manifest = testing::manifest(app, &serde_json::json!([]));
        AppRequest {
            read_only_rootfs: true,
            ..AppRequest::new(testing::image(Path::new("/tree"), &[], manifest))
        }
    }

    fn plain() -> AppRequest {
        request(&serde_json::json!({"exec": ["/bin/web"], "user": "33", "group": "33"}))
    }

    fn adapted(app: AppRequest) -> Result<PodRequest> {
        let pod = PodRequest {
            apps: vec![app],
            ..PodRequest::default()
        };
        adapt(pod, &caller())
    }

    #[test]
    fn what_takes_root_is_refused_by_name() {
        let flag = |change: &dyn Fn(&mut AppRequest)| {
            let mut app = plain();
            change(&mut app);
            adapted(app).map_err(|error| format!("{error:#}"))
        };
        assert!(flag(&|_| ()).is_ok());
        assert!(flag(&|app: &mut AppRequest| app.user = Some("me".into())).is_ok());
        assert!(flag(&|app: &mut AppRequest| app.user = Some("1000".into())).is_ok());
        let caps = || isolators::caps_retain("CAP_KILL").unwrap();
        let score = |score| isolators::oom_score_adj(score).unwrap();
        assert!(flag(&|app: &mut AppRequest| app.isolators = vec![score("5")]).is_ok());
        let ambient = Setting::service("AmbientCapabilities", "CAP_KILL");
        for (change, says) in [
            (
                &(|app: &mut AppRequest| app.user = Some("33".into())) as &dyn Fn(&mut _),
                "--user=33",
            ),
            (
                &|app: &mut AppRequest| app.group = Some("me".into()),
                "--group=me",
            ),
            (
                &|app: &mut AppRequest| app.supplementary_gids = Some(vec![]),
                "--supplementary-gids",
            ),
            (
                &|app: &mut AppRequest| app.root = Root::Image,
                "--root=image",
            ),
            (
                &|app: &mut AppRequest| app.isolators = vec![caps()],
                "os/linux/capabilities-retain-set",
            ),
            (
                &|app: &mut AppRequest| app.isolators = vec![score("-5")],
                "os/linux/oom-score-adj",
            ),
            (
                &|app: &mut AppRequest| app.settings = vec![ambient.clone()],
                "AmbientCapabilities",
            ),
        ] {
            let said = flag(change).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn what_an_image_asks_for_beyond_is_left_out() {
        let app = request(&serde_json::json!({
            "exec": ["/bin/web"], "user": "33", "group": "33",
            "isolators": [
                {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
                {"name": "resource/memory", "value": {"limit": "1G"}},
            ],
        }));
        let pod = adapted(app).unwrap();
        let section = pod.apps[0].image.manifest.app.as_ref().unwrap();
        let kept: Vec<_> = section.isolators.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(kept, ["resource/memory"]);
    }

    #[test]
    fn volumes_are_told_by_their_own_path() {
        let tree = tempfile::tempdir().unwrap();
        let own = tree.path().to_str().unwrap();
        let host = format!("mine,kind=host,source={own}");
        let asked: Vec<_> = [&*host, "data,kind=empty"]
            .map(|text| parse_volume(text).unwrap())
            .into();
        let pod = Path::new("/pod");
        let mut volumes = Volumes::new(pod, &asked).unwrap();
        let image = testing::image(tree.path(), &["srv/x"], plain().image.manifest);
        let tree = super::super::tree::Tree::open(&image.tree).unwrap();
        let of = super::super::volume::Image {
            app: "web",
            tree: &tree,
            path: &image.tree,
            points: &[],
            is_oci: false,
        };
        let mounts = ["volume=mine,target=/a", "volume=data,target=/b"];
        let mounts = mounts.map(|text| parse_mount(text).unwrap());
        let of_app = volumes.mounts(&of, &mounts).unwrap();
        let mut places = places(&volumes, &of_app).unwrap();
        places.sort();
        let expected = [
            ("data".to_string(), names::volume_directory(pod, "data")),
            ("mine".to_string(), own.into()),
        ];
        assert_eq!(places, expected);
        for bad in [
            "x,kind=host,source=/tmp,readOnly=true",
            "x,kind=empty,uid=5",
        ] {
            assert!(check_volume(&parse_volume(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
