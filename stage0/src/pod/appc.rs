//! A pod's plan as appc's pod manifest (appc spec, "Pod Manifest Schema"). Pure.

use std::path::Path;

use serde_json::{Map, Value, json};
use stage1_skim::pod::{AppPlan, ExecPlan, PodPlan, VolumeKind, VolumePlan};
use stage1_skim::unit;

use super::app::{DROPIN, NOTIFY};
use super::plan::REQUIRES;
use crate::image::appc::AC_VERSION;
use crate::image::name::check_identifier;

/// The manifest of a pod. Paths of an app are those of its image, users and groups are numbers.
/// What appc has no field for stands in annotations: `skim.requires`, `skim.dropin` and whether
/// the app speaks sd_notify(3). `--pod-manifest` takes it again.
pub fn manifest(plan: &PodPlan) -> Value {
    json!({
        "acVersion": AC_VERSION,
        "acKind": "PodManifest",
        "apps": plan.apps.iter().map(app).collect::<Vec<_>>(),
        "volumes": plan.volumes.iter().map(volume).collect::<Vec<_>>(),
        "isolators": [],
        "annotations": plan.annotations.iter().map(pair).collect::<Vec<_>>(),
        "ports": [],
    })
}

fn pair((name, value): (&String, &String)) -> Value {
    json!({"name": name, "value": value})
}

fn app(plan: &AppPlan) -> Value {
    let mounts: Vec<_> = plan
        .mounts
        .iter()
        .map(|mount| {
            json!({"volume": mount.volume, "path": mount.target, "readOnly": mount.read_only})
        })
        .collect();
    json!({
        "name": plan.name,
        "image": {"id": plan.image.id, "name": plan.image.name},
        "app": run_time(plan),
        "readOnlyRootFS": plan.read_only_rootfs,
        "mounts": mounts,
        "annotations": annotations(plan),
    })
}

fn run_time(plan: &AppPlan) -> Value {
    let handlers = [
        ("pre-start", &plan.pre_start),
        ("post-stop", &plan.post_stop),
    ];
    let handlers: Vec<_> = handlers
        .iter()
        .filter_map(|(name, exec)| {
            let exec = command(&plan.rootfs, exec.as_ref()?);
            Some(json!({"name": name, "exec": exec}))
        })
        .collect();
    // What skim adds by itself, it adds again.
    let set = plan.environment.iter().filter(|variable| !variable.default);
    let environment: Vec<_> = set
        .map(|variable| {
            let value = match variable.name.as_str() {
                "PATH" => search_path(&plan.rootfs, &variable.value),
                _ => variable.value.clone(),
            };
            json!({"name": variable.name, "value": value})
        })
        .collect();
    let who = &plan.credentials;
    let mut fields = json!({
        "exec": command(&plan.rootfs, &plan.exec),
        "user": who.uid.to_string(),
        "group": who.gid.to_string(),
        "supplementaryGIDs": who.supplementary_gids,
        "workingDirectory": inside(&plan.rootfs, &plan.working_directory),
        "environment": environment,
        "eventHandlers": handlers,
        "isolators": [],
    });
    // rkt's name for them.
    if !plan.labels.is_empty() {
        fields["userLabels"] = json!(plan.labels);
    }
    fields
}

fn annotations(plan: &AppPlan) -> Vec<Value> {
    let mut annotations = plan.annotations.clone();
    annotations.retain(|name, _| check_identifier(name).is_ok());
    annotations.insert(REQUIRES.into(), plan.requires.join(" "));
    if plan.notify {
        annotations.insert(NOTIFY.into(), "true".into());
    }
    let settings = [
        &plan.image_settings[..],
        &plan.isolation_settings,
        &plan.user_settings,
    ]
    .concat();
    annotations.remove(DROPIN);
    if !settings.is_empty() {
        annotations.insert(DROPIN.into(), unit::render(&[], &settings));
    }
    annotations.iter().map(pair).collect()
}

/// A command line as the image would have it.
fn command(rootfs: &Path, exec: &ExecPlan) -> Vec<String> {
    let program = inside(rootfs, &exec.path);
    let rest = exec.argv.iter().skip(1).cloned();
    [program].into_iter().chain(rest).collect()
}

/// A path of the host as one of the image, where it is beneath the rootfs.
fn inside(rootfs: &Path, path: &Path) -> String {
    match path.strip_prefix(rootfs) {
        Ok(inside) => format!("/{}", inside.display()),
        Err(_) => path.display().to_string(),
    }
}

/// The image's own part of a `PATH`: skim puts the rootfs before its directories, and the same
/// ones of the host after them.
fn search_path(rootfs: &Path, path: &str) -> String {
    let directories = path.split(':').map(Path::new);
    let own: Vec<_> = directories
        .filter(|directory| directory.starts_with(rootfs))
        .map(|directory| inside(rootfs, directory))
        .collect();
    match own.is_empty() {
        true => path.to_owned(),
        false => own.join(":"),
    }
}

fn volume(plan: &VolumePlan) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), json!(plan.name));
    fields.insert("readOnly".into(), json!(plan.read_only));
    match &plan.kind {
        VolumeKind::Host { recursive } => {
            fields.insert("kind".into(), json!("host"));
            fields.insert("source".into(), json!(plan.source));
            fields.insert("recursive".into(), json!(recursive));
        }
        VolumeKind::Empty { mode, uid, gid, .. } => {
            fields.insert("kind".into(), json!("empty"));
            fields.insert("mode".into(), json!(format!("{mode:04o}")));
            fields.insert("uid".into(), json!(uid));
            fields.insert("gid".into(), json!(gid));
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use stage1_skim::pod::{EnvVar, MountPlan};
    use stage1_skim::unit::Setting;

    use super::*;
    use crate::image::id::ImageId;
    use crate::pod::manifest::PodManifest;
    use crate::pod::uses;

    #[test]
    fn paths_are_the_images_and_nothing_of_skims_own_is_in_it() {
        let id = ImageId::from_digest(&[1; 64]);
        let mut plan = uses::plan("6ba7", &id, Path::new("/t"));
        plan.volumes = vec![
            VolumePlan {
                name: "data".into(),
                kind: VolumeKind::Host { recursive: true },
                source: "/srv".into(),
                read_only: false,
            },
            VolumePlan {
                name: "tmp".into(),
                kind: VolumeKind::Empty {
                    mode: 0o755,
                    uid: 1,
                    gid: 2,
                    fill: None,
                },
                source: "/p/tmp".into(),
                read_only: true,
            },
        ];
        plan.annotations.insert("n".into(), "v".into());
        let app = &mut plan.apps[0];
        app.exec.path = "/r/bin/x".into();
        app.exec.argv = vec!["x".into(), "-v".into()];
        app.post_stop = Some(ExecPlan {
            path: "/r/post".into(),
            argv: vec!["/r/post".into()],
        });
        app.working_directory = "/r".into();
        app.credentials.uid = 33;
        app.requires = vec!["a".into(), "b".into()];
        app.user_settings = vec![Setting::service("Nice", "7")];
        app.mounts = vec![MountPlan {
            volume: "data".into(),
            target: "/data".into(),
            read_only: true,
        }];
        app.labels.insert("l".into(), "w".into());
        for name in ["note", "No Identifier", DROPIN] {
            app.annotations.insert(name.into(), "n".into());
        }
        let variable = |name: &str, value: &str, default| EnvVar {
            name: name.into(),
            value: value.into(),
            default,
        };
        app.environment = vec![
            variable("PATH", "/r/bin:/r/opt:/bin:/opt:/usr/bin", false),
            variable("HOME", "/root", true),
            variable("MODE", "a", false),
        ];
        let manifest = manifest(&plan);
        let again = PodManifest::parse(manifest.to_string().as_bytes()).unwrap();
        assert_eq!((again.apps.len(), again.volumes.len()), (1, 2));
        assert_eq!(again.apps[0].mounts[0].target, "/data");
        let app = &manifest["apps"][0];
        assert_eq!(app["image"]["id"], id.as_str());
        let run_time = &app["app"];
        assert_eq!(run_time["exec"], json!(["/bin/x", "-v"]));
        assert_eq!(run_time["user"], "33");
        assert_eq!(run_time["workingDirectory"], "/");
        assert_eq!(
            run_time["environment"],
            json!([{"name": "PATH", "value": "/bin:/opt"}, {"name": "MODE", "value": "a"}])
        );
        assert_eq!(
            run_time["eventHandlers"],
            json!([{"name": "post-stop", "exec": ["/post"]}])
        );
        assert_eq!(run_time["userLabels"], json!({"l": "w"}));
        assert_eq!(
            app["annotations"],
            json!([
                {"name": "note", "value": "n"},
                {"name": "skim.dropin", "value": "[Service]\nNice=7\n"},
                {"name": "skim.requires", "value": "a b"}
            ])
        );
        assert_eq!(
            app["mounts"],
            json!([{"volume": "data", "path": "/data", "readOnly": true}])
        );
        assert_eq!(
            manifest["volumes"],
            json!([
                {"name": "data", "kind": "host", "source": "/srv", "readOnly": false, "recursive": true},
                {"name": "tmp", "kind": "empty", "mode": "0755", "uid": 1, "gid": 2, "readOnly": true}
            ])
        );
        assert_eq!(
            manifest["annotations"],
            json!([{"name": "n", "value": "v"}])
        );
    }
}
