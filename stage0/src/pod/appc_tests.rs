use stage1_skim::pod::{Capabilities, PodPlan};
use stage1_skim::unit::Setting;

use super::*;
use crate::pod::isolators;
use crate::pod::manifest::PodManifest;
use crate::pod::plan;
use crate::pod::testing;
use crate::pod::volume::{parse_mount, parse_volume};
use crate::store::Image;

const UUID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

fn image(tree: &Path) -> Image {
    let app = json!({
        "exec": ["web", "--data={volume:data}"], "user": "33", "group": "44",
        "supplementaryGIDs": [7], "workingDirectory": "/bin",
        "environment": [{"name": "PATH", "value": "/bin:rel"}, {"name": "MODE", "value": "image"}],
        "eventHandlers": [{"name": "post-stop", "exec": ["/bin/post", "{volume:point}"]}],
        "mountPoints": [
            {"name": "point", "path": "/var/point"},
            {"name": "own", "path": "/opt", "readOnly": true},
            {"name": "none", "path": "/none"},
        ],
        "ports": [
            {"name": "http", "port": 80, "protocol": "tcp", "count": 2, "socketActivated": true},
            {"name": "told", "port": 81},
        ],
        "isolators": [
            {"name": "resource/memory", "value": {"limit": "1G"}},
            {"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"]}},
        ],
    });
    let dropin = json!([
        {"name": "skim.dropin", "value": "[Service]\nNice=3\nMemoryMax=9\n"},
        {"name": "skim.requires", "value": "db"},
    ]);
    let programs = ["bin/web", "bin/post", "opt/web"];
    testing::image(tree, &programs, testing::manifest(&app, &dropin))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs.map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

/// A pod with everything that there is a flag for.
fn request(tree: &Path) -> PodRequest {
    let web = AppRequest {
        arguments: vec!["{volume:data}/x".into(), "{volume:none}".into()],
        environment: EnvironmentRequest {
            inherited: pairs(&[
                ("TERM", "vt100"),
                ("MODE", "caller"),
                ("SKIM_VOLUME_DATA", "/caller"),
                ("NOTIFY_SOCKET", "/caller"),
                ("PROMPT", "{volume:data}"),
            ]),
            files: pairs(&[("WHERE", "in {volume:data}")]),
            set: pairs(&[("A", "b c"), ("PATH", "/opt:/bin:{volume:data}/bin")]),
            app: pairs(&[("A", "last")]),
        },
        mounts: vec![
            parse_mount("volume=data,target=/srv").unwrap(),
            parse_mount("volume=tmp,target=/var/point").unwrap(),
        ],
        read_only_rootfs: true,
        isolators: vec![
            isolators::memory("512M").unwrap(),
            isolators::cpu("500m").unwrap(),
            isolators::cpu_shares("512").unwrap(),
            isolators::oom_score_adj("-5").unwrap(),
            isolators::no_new_privileges(true),
            isolators::caps_retain("CAP_NET_ADMIN").unwrap(),
            isolators::seccomp("mode=remove,errno=EPERM,reboot").unwrap(),
        ],
        stop_signal: Some("SIGINT".into()),
        annotations: pairs(&[("note", "n"), ("No Identifier", "i")])
            .into_iter()
            .collect(),
        labels: pairs(&[("tier", "1")]).into_iter().collect(),
        notify: Some(true),
        restart: Some("always".into()),
        settings: vec![Setting::service("Nice", "7")],
        ..AppRequest::new(image(tree))
    };
    let db = AppRequest {
        name: Some("db".into()),
        exec: Some("/bin/web".into()),
        requires: Some(Vec::new()),
        root: Root::Image,
        mounts: vec![parse_mount("volume=data,target=/srv").unwrap()],
        arguments: vec!["{volume:data}".into()],
        isolators: vec![isolators::caps_remove("CAP_SYS_ADMIN").unwrap()],
        ..AppRequest::new(image(tree))
    };
    let limit = isolators::memory("2G").unwrap();
    PodRequest {
        apps: vec![web, db],
        volumes: vec![
            parse_volume("data,kind=host,source=/,recursive=false,readOnly=true").unwrap(),
            parse_volume("tmp,kind=empty,mode=1777,uid=1,gid=2").unwrap(),
        ],
        isolators: vec![limit],
        annotations: pairs(&[("n", "v")]).into_iter().collect(),
        ..PodRequest::default()
    }
}

fn plan_of(directory: &str, request: &PodRequest) -> PodPlan {
    let stage1 = testing::static_program();
    plan::plan(UUID, Path::new(directory), stage1.path(), request).unwrap()
}

/// What `--pod-manifest` asks for.
fn request_again(manifest: &Value, tree: &Path) -> PodRequest {
    let manifest = PodManifest::parse(manifest.to_string().as_bytes()).unwrap();
    let notes = (manifest.user_annotations, manifest.user_labels);
    let apps = manifest.apps.into_iter().map(|app| {
        let image = image(tree);
        app.image.check(&image).unwrap();
        app.into_request(image, &notes.0, &notes.1).unwrap()
    });
    PodRequest {
        apps: apps.collect(),
        volumes: manifest.volumes,
        isolators: manifest.isolators,
        annotations: manifest.annotations,
        ..PodRequest::default()
    }
}

#[test]
fn a_manifest_gives_the_same_pod_again() {
    let tree = tempfile::tempdir().unwrap();
    let first = plan_of("/pods/1", &request(tree.path()));
    let web = &first.apps[0];
    assert!(matches!(web.capabilities, Some(Capabilities::Retain(_))));
    assert_eq!((web.sockets.len(), first.slice_settings.len()), (1, 1));
    let asked = request_again(&first.manifest, tree.path());
    assert_eq!(plan_of("/pods/2", &asked).manifest, first.manifest);
    let mut again = plan_of("/pods/1", &asked);
    assert_eq!(again.manifest, first.manifest);
    for (app, first) in again.apps.iter_mut().zip(&first.apps) {
        // What it says by annotations stays among them, and what the image asks for is asked for
        // by the manifest now.
        app.annotations
            .retain(|name, _| first.annotations.contains_key(name));
        let both = [&first.image_settings[..], &first.user_settings].concat();
        assert_eq!(
            (&app.image_settings[..], &app.user_settings),
            (&[][..], &both)
        );
        app.image_settings.clone_from(&first.image_settings);
        app.user_settings.clone_from(&first.user_settings);
        // It comes from the caller, and would be a reference.
        let mut environment = first.environment.clone();
        environment.retain(|variable| variable.name != "PROMPT");
        let order = |variables: &[stage1_skim::pod::EnvVar]| {
            let mut variables = variables.to_vec();
            variables.sort_by(|a, b| a.name.cmp(&b.name));
            variables
        };
        assert_eq!(order(&app.environment), order(&environment));
        app.environment.clone_from(&first.environment);
        // A bare name that the user's PATH hides has become a path.
        app.exec.argv[0].clone_from(&first.exec.argv[0]);
    }
    assert_eq!(again, first);
}

#[test]
fn paths_are_the_images_and_nothing_of_skims_own_is_in_it() {
    let tree = tempfile::tempdir().unwrap();
    let manifest = plan_of("/pods/1", &request(tree.path())).manifest;
    let text = manifest.to_string();
    for absent in [
        "/pods/1",
        "SKIM_",
        "AC_APP_NAME",
        "/caller",
        "web-none",
        "SystemCall",
    ] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let (web, db) = (&manifest["apps"][0], &manifest["apps"][1]);
    let run_time = &web["app"];
    assert_eq!(
        run_time["exec"],
        json!([
            "/bin/web",
            "--data={volume:data}",
            "{volume:data}/x",
            "{volume:none}"
        ]),
        "in the user's PATH another comes first"
    );
    assert_eq!(db["app"]["exec"], json!(["/bin/web", "{volume:data}"]));
    assert_eq!(run_time["user"], "33");
    assert_eq!(run_time["workingDirectory"], "/bin");
    assert_eq!(run_time["userLabels"], json!({"tier": "1"}));
    assert_eq!(run_time["userAnnotations"], json!({"No Identifier": "i"}));
    assert_eq!(run_time["isolators"].as_array().map(Vec::len), Some(7));
    assert_eq!(
        run_time["environment"],
        json!([
            {"name": "TERM", "value": "vt100"},
            {"name": "MODE", "value": "image"},
            {"name": "PATH", "value": "/opt:/bin:{volume:data}/bin"},
            {"name": "WHERE", "value": "in {volume:data}"},
            {"name": "A", "value": "last"},
        ])
    );
    let dropin =
        "[Service]\nNice=3\nMemoryMax=9\nType=notify\nRestart=always\nKillSignal=SIGINT\nNice=7\n";
    assert_eq!(
        web["annotations"],
        json!([
            {"name": NOTIFY, "value": "true"},
            {"name": "note", "value": "n"},
            {"name": DROPIN, "value": dropin},
            {"name": REQUIRES, "value": "db"},
        ])
    );
    let root = json!({"name": ROOT, "value": "image"});
    assert!(db["annotations"].as_array().unwrap().contains(&root));
}

#[test]
fn a_pod_manifest_s_annotations_take_the_place_of_the_image_s() {
    let tree = tempfile::tempdir().unwrap();
    let with = |annotations: Value| {
        let manifest = json!({
            "acVersion": "0.8.11", "acKind": "PodManifest",
            "apps": [{
                "name": "web", "image": {"name": "example.com/web"}, "annotations": annotations,
                "app": {"exec": ["/bin/web"], "user": "0", "group": "0"},
            }],
        });
        let manifest = PodManifest::parse(manifest.to_string().as_bytes()).unwrap();
        let app = manifest.apps.into_iter().next().unwrap();
        let mut request =
            app.into_request(image(tree.path()), &BTreeMap::new(), &BTreeMap::new())?;
        request.requires = Some(Vec::new());
        let pod = PodRequest {
            apps: vec![request],
            ..PodRequest::default()
        };
        anyhow::Ok(plan_of("/pods/1", &pod).apps.remove(0))
    };
    let images = with(json!([])).unwrap();
    assert_eq!(images.image_settings.len(), 2);
    assert_eq!((images.root, images.notify), (Root::Host, false));
    let own = [(json!("[Service]\nNice=1\n"), 1), (json!(""), 0)];
    for (dropin, count) in own {
        let app = with(json!([{"name": DROPIN, "value": dropin}])).unwrap();
        assert_eq!(
            (app.image_settings.len(), app.user_settings.len()),
            (0, count)
        );
    }
    let app = with(json!([{"name": ROOT, "value": "image"}, {"name": NOTIFY, "value": "true"}]));
    let app = app.unwrap();
    assert_eq!((app.root, app.notify), (Root::Image, true));
    let error = with(json!([{"name": ROOT, "value": "chroot"}])).unwrap_err();
    assert!(
        format!("{error:#}").contains("must be one of: host, image"),
        "{error:#}"
    );
}
