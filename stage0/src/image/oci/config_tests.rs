use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::image::testing::message;

fn with(config: Value) -> Value {
    let host = Platform::host();
    json!({
        "os": "linux", "architecture": host.architecture, "variant": host.variant, "config": config,
        "rootfs": {"type": "layers", "diff_ids": [Sha256::of(b"1").to_string(), Sha256::of(b"2").to_string()]},
    })
}

fn manifest_of(value: &Value) -> Result<ImageManifest> {
    to_manifest(
        value.to_string().as_bytes(),
        &BTreeMap::new(),
        "localhost:5000/a/app",
        Some("1"),
    )
}

fn app_of(config: Value) -> App {
    manifest_of(&with(config)).unwrap().app.unwrap()
}

#[test]
fn whole_configuration() {
    let app = app_of(json!({
        "User": "web:www", "Entrypoint": ["/bin/a", "b"], "Cmd": ["c"], "WorkingDir": "/srv",
        "Env": ["PATH=/bin", "A=1", "B=x=y", "A=2", "odd name=%$\n", "EMPTY="],
        "ExposedPorts": {"80/tcp": {}, "80": {}, "8000-8010/UDP": {}, "53/udp": {}},
        "Volumes": {"/data": {}, "/var/lib/x": {}, "/var-lib/x": {}, "/": {}},
        "StopSignal": "3", "Healthcheck": {"Test": ["CMD", "/bin/true"]}, "Unknown": [1],
    }));
    assert_eq!(app.exec, ["/bin/a", "b", "c"]);
    assert_eq!(
        (app.user.as_str(), app.group.as_deref()),
        ("web", Some("www"))
    );
    assert_eq!(app.working_directory.as_deref(), Some("/srv"));
    let environment: Vec<_> = app
        .environment
        .iter()
        .map(|v| (v.name.as_str(), v.value.as_str()))
        .collect();
    assert_eq!(
        environment,
        [
            ("PATH", "/bin"),
            ("A", "2"),
            ("B", "x=y"),
            ("odd name", "%$\n"),
            ("EMPTY", "")
        ]
    );
    let ports: Vec<_> = app
        .ports
        .iter()
        .map(|p| (p.name.as_str(), p.port, p.count))
        .collect();
    assert_eq!(
        ports,
        [
            ("53-udp", 53, 1),
            ("80-tcp", 80, 1),
            ("8000-8010-udp", 8000, 11)
        ]
    );
    let points: Vec<_> = app
        .mount_points
        .iter()
        .map(|p| (p.name.as_str(), p.path.as_str()))
        .collect();
    assert_eq!(
        points,
        [
            ("volume", "/"),
            ("data", "/data"),
            ("var-lib-x", "/var-lib/x"),
            ("var-lib-x-2", "/var/lib/x")
        ]
    );
    assert_eq!(app.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(app.healthcheck.unwrap()["Test"][0], "CMD");
}

#[test]
fn nothing_is_needed() {
    for config in [
        json!(null),
        json!({}),
        json!({"Env": null, "Cmd": null, "Labels": null, "Volumes": null}),
    ] {
        let app = app_of(config);
        let expected = App {
            user: "0".to_owned(),
            ..App::default()
        };
        assert_eq!(app, expected);
    }
}

#[test]
fn users_and_directories() {
    for (user, expected) in [
        ("", ("0", None)),
        ("web", ("web", None)),
        ("1000", ("1000", None)),
        ("1000:", ("1000", None)),
        ("1000:50", ("1000", Some("50"))),
        (":50", ("0", Some("50"))),
    ] {
        let app = app_of(json!({"User": user}));
        assert_eq!(
            (app.user.as_str(), app.group.as_deref()),
            expected,
            "{user}"
        );
    }
    for (directory, expected) in [("", None), ("/", Some("/")), ("a/b", Some("/a/b"))] {
        let app = app_of(json!({"WorkingDir": directory}));
        assert_eq!(app.working_directory.as_deref(), expected);
    }
}

#[test]
fn volumes_have_names_of_their_own() {
    let paths: Vec<String> = ["/a", "/a-2", "/a/", "//a", "/Ä", "/\n", "/a/2"]
        .map(String::from)
        .into();
    let points = mount_points(&paths);
    let names: HashSet<_> = points.iter().map(|point| &point.name).collect();
    assert_eq!(names.len(), paths.len());
    for name in names {
        crate::image::name::check_name(name).unwrap();
    }
}

#[test]
fn annotations_win_over_labels() {
    let value = with(json!({"Labels": {"skim.requires": "a", "Kept Label": "b", VERSION: "9"}}));
    let annotations = BTreeMap::from([("skim.requires".to_owned(), "c".to_owned())]);
    let make =
        |tag| to_manifest(value.to_string().as_bytes(), &annotations, "e.com/app", tag).unwrap();
    let manifest = make(Some("1.0"));
    assert_eq!(manifest.annotation("skim.requires"), Some("c"));
    assert_eq!(manifest.annotation("Kept Label"), Some("b"));
    assert_eq!(manifest.version(), Some("1.0"));
    assert_eq!(manifest.label("os"), Some("linux"));
    assert_eq!(
        manifest.label("arch"),
        Some(crate::image::manifest::host_arch())
    );
    assert_eq!(manifest.default_app_name().as_deref(), Some("app"));
    assert_eq!(make(None).version(), Some("9"));
    for name in ["", "App", "a b", "a\nb", "e.com/app:1"] {
        message(to_manifest(
            value.to_string().as_bytes(),
            &annotations,
            name,
            None,
        ));
    }
}

#[test]
fn diff_ids_are_read() {
    let value = with(json!({}));
    let ids = diff_ids(value.to_string().as_bytes()).unwrap();
    assert_eq!(ids, [Sha256::of(b"1"), Sha256::of(b"2")]);
}

#[test]
fn what_is_wrong_is_refused() {
    let ids = |ids: Value| json!({"type": "layers", "diff_ids": ids});
    for (key, field, expected) in [
        ("os", json!("windows"), "bad os \"windows\""),
        ("os", json!(null), "os: missing"),
        ("architecture", json!(""), "architecture: missing"),
        (
            "architecture",
            json!("sparc"),
            "the image is for \"linux/sparc",
        ),
        ("rootfs", json!(null), "rootfs: missing"),
        (
            "rootfs",
            json!({"type": "base", "diff_ids": []}),
            "\"base\" is not \"layers\"",
        ),
        ("rootfs", ids(json!(["sha512:00"])), "rootfs.diff_ids"),
        (
            "rootfs",
            ids(json!([1])),
            "rootfs.diff_ids[0]: not a string",
        ),
        (
            "rootfs",
            ids(Value::Array(vec![json!(""); 1001])),
            "at most 1000",
        ),
        ("config", json!([]), "config: not an object"),
        ("config", json!({"Env": ["A"]}), "config.Env: \"A\" is not"),
        (
            "config",
            json!({"Env": ["=A"]}),
            "config.Env: \"=A\" is not",
        ),
        ("config", json!({"Env": ["A=\u{0}"]}), "zero byte"),
        (
            "config",
            json!({"Env": [], "env": []}),
            "given more than once",
        ),
        ("config", json!({"Cmd": "sh"}), "config.Cmd: not an array"),
        ("config", json!({"User": "/etc/passwd"}), "USER[:GROUP]"),
        ("config", json!({"User": "a:b:c"}), "USER[:GROUP]"),
        ("config", json!({"User": "a\nb"}), "USER[:GROUP]"),
        (
            "config",
            json!({"StopSignal": "NEVER"}),
            "config.StopSignal: \"NEVER\" is no signal",
        ),
        (
            "config",
            json!({"Labels": {"a": {}}}),
            "config.Labels[\"a\"]: not a string",
        ),
        (
            "config",
            json!({"ExposedPorts": {"0/tcp": {}}}),
            "\"0/tcp\" is not",
        ),
        (
            "config",
            json!({"ExposedPorts": {"65536": {}}}),
            "is not of the form",
        ),
        (
            "config",
            json!({"ExposedPorts": {"9-8": {}}}),
            "is not of the form",
        ),
        (
            "config",
            json!({"ExposedPorts": {"80/ip\n": {}}}),
            "is not of the form",
        ),
    ] {
        let mut value = with(json!({}));
        value[key] = field;
        let text = message(manifest_of(&value));
        assert!(text.contains(expected), "{key}: {text}");
    }
    let big = vec![b' '; usize::try_from(DOCUMENT_MAX).unwrap() + 1];
    assert!(message(ImageConfig::parse(&big)).contains("at most 4194304"));
    let deep = format!("{{\"config\":{}", "[".repeat(100_000));
    for text in ["", "null", "[]", "{}", "\u{0}", deep.as_str()] {
        message(ImageConfig::parse(text.as_bytes()));
    }
}

#[test]
fn architectures_are_appc_s() {
    for (architecture, variant, expected) in [
        ("amd64", None, "amd64"),
        ("386", None, "i386"),
        ("arm64", Some("v8"), "aarch64"),
        ("arm", None, "armv7l"),
        ("arm", Some("v6"), "armv6l"),
        ("ppc64le", None, "ppc64le"),
        ("riscv64", None, "riscv64"),
    ] {
        let platform = Platform::new("linux", architecture, variant);
        assert_eq!(appc_architecture(&platform), expected);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}", key in "(User|StopSignal|WorkingDir)") {
        let _ = ImageConfig::parse(text.as_bytes());
        let _ = manifest_of(&with(json!({key: text.clone()})));
        let _ = manifest_of(&with(json!({"ExposedPorts": {text.clone(): {}}})));
        let _ = manifest_of(&with(json!({"Volumes": {text.clone(): {}}, "Env": [text]})));
    }
}
