use serde_json::json;

use super::*;

fn minimal() -> Value {
    json!({
        "acVersion": "0.8.11", "acKind": "PodManifest",
        "apps": [{"name": "web", "image": {"name": "example.com/web"}}],
    })
}

/// The minimal manifest, `value` at the JSON pointer `place`.
fn with(place: &str, value: Value) -> Result<PodManifest> {
    let mut manifest = minimal();
    let (parent, key) = place.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[key] = value;
    PodManifest::parse(manifest.to_string().as_bytes())
}

#[test]
fn a_whole_pod() {
    let id = format!("sha512-{}", "a".repeat(128));
    let manifest = json!({
        "acVersion": "0.8.11", "acKind": "PodManifest",
        "apps": [
            {
                "name": "db", "image": {"id": id, "name": "example.com/db"},
                "app": {
                    "exec": ["/bin/db"], "user": "0", "group": "0",
                    "mountPoints": [{"name": "state", "path": "/var/lib/db"}],
                },
                "readOnlyRootFS": true,
                "mounts": [{"volume": "data", "path": "state"}, {"volume": "data", "path": "/x"}],
                "annotations": [{"name": "skim.requires", "value": "web"}],
            },
            {
                "name": "web",
                "image": {"name": "example.com/web", "labels": [{"name": "version", "value": "2"}]},
                "mounts": [{"volume": "own", "path": "/own", "appVolume": {"name": "own", "kind": "empty"}}],
            },
        ],
        "volumes": [{"name": "data", "kind": "host", "source": "/srv", "readOnly": true, "recursive": false}],
        "isolators": [{"name": "resource/memory", "value": {"limit": "1G"}}],
        "annotations": [{"name": "owner", "value": "me"}],
        "userAnnotations": {"a": "b"}, "userLabels": {"tier": "1"},
    });
    let pod = PodManifest::parse(manifest.to_string().as_bytes()).unwrap();
    let [db, web] = &pod.apps[..] else {
        panic!("two apps")
    };
    assert!(matches!(db.image.reference, Reference::Id(_)));
    assert_eq!(db.image.name.as_deref(), Some("example.com/db"));
    let targets: Vec<_> = db.mounts.iter().map(|mount| &mount.target[..]).collect();
    assert_eq!(
        targets,
        ["/var/lib/db", "/x"],
        "a mount point's name stands for its path"
    );
    assert!(db.read_only_rootfs && db.app.is_some());
    assert!(
        matches!(&web.image.reference, Reference::Name(name) if name.to_string() == "example.com/web:2")
    );
    let volumes: Vec<_> = pod.volumes.iter().map(|volume| &volume.name[..]).collect();
    assert_eq!(volumes, ["data", "own"]);
    assert_eq!(pod.isolators.len(), 1);
    assert_eq!(pod.annotations["owner"], "me");
    assert_eq!(
        (&pod.user_annotations["a"][..], &pod.user_labels["tier"][..]),
        ("b", "1")
    );
}

#[test]
fn faults_are_named_by_their_place() {
    let twice = json!([
        {"name": "a", "image": {"name": "x"}}, {"name": "a", "image": {"name": "y"}},
    ]);
    let volumes = json!([{"name": "v", "kind": "empty"}, {"name": "v", "kind": "empty"}]);
    for (place, value, message) in [
        (
            "/acKind",
            json!("ImageManifest"),
            "bad ACKind: \"ImageManifest\" (must be \"PodManifest\")",
        ),
        (
            "/acVersion",
            json!("nine"),
            "acVersion: \"nine\" is no semantic version",
        ),
        ("/apps", json!([]), "apps: a pod needs one"),
        ("/apps", twice, "multiple apps with name a"),
        (
            "/apps/0/name",
            json!("We b"),
            "apps[0].name: \"We b\" is no AC Name",
        ),
        (
            "/apps/0/image",
            json!({}),
            "app web: image: it has neither id nor name",
        ),
        (
            "/apps/0/image/id",
            json!("sha512-nothex"),
            "apps[0].image.id",
        ),
        (
            "/apps/0/image/id",
            json!("example.com/web"),
            "apps[0].image.id: \"example.com/web\" is no image ID",
        ),
        ("/apps/0/image/name", json!("../x"), "apps[0].image.name"),
        (
            "/apps/0/app",
            json!({"user": "0"}),
            "app web: apps[0].app.group: missing or empty",
        ),
        (
            "/apps/0/mounts",
            json!([{"volume": "none", "path": "/x"}]),
            "app web: dangling mount point \"/x\": volume \"none\" not found",
        ),
        (
            "/apps/0/mounts",
            json!([{"volume": "v", "path": "x"}]),
            "\"x\" is no absolute path",
        ),
        ("/volumes", volumes, "duplicate volume name v"),
        (
            "/volumes",
            json!([{"name": "v", "kind": "host"}]),
            "volume v: source is missing",
        ),
        (
            "/volumes",
            json!([{"name": "v", "kind": "empty", "mode": "9"}]),
            "volumes[0].mode",
        ),
        (
            "/volumes",
            json!([{"name": "v", "kind": "tmp"}]),
            "unknown kind \"tmp\"",
        ),
        (
            "/ports",
            json!([{"name": "p", "hostPort": 80}]),
            "ports: apps share the host's network",
        ),
        (
            "/annotations",
            json!([{"name": "a"}, {"name": "a"}]),
            "\"a\" is given twice",
        ),
        (
            "/isolators",
            json!([{"value": 1}]),
            "isolators[0].name: missing or empty",
        ),
    ] {
        let error = format!("{:#}", with(place, value.clone()).unwrap_err());
        assert!(
            error.starts_with("the pod manifest is not valid: ") && error.contains(message),
            "{place} {value}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(PodManifest::parse(b"{").is_err());
    assert!(PodManifest::parse(b"[]").is_err());
}
