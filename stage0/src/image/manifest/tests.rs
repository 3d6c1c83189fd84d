use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn minimal() -> Value {
    json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
    })
}

fn with_app(extra: Value) -> Value {
    let mut value = minimal();
    value["app"] = json!({"exec": ["/bin/x"], "user": "0", "group": "0"});
    for (key, field) in extra.as_object().unwrap() {
        value["app"][key] = field.clone();
    }
    value
}

fn parse(value: &Value) -> Result<ImageManifest> {
    ImageManifest::parse(value.to_string().as_bytes())
}

fn error(value: &Value) -> String {
    format!("{:#}", parse(value).expect_err(&value.to_string()))
}

#[test]
fn whole_manifest() {
    let mut value = with_app(json!({
        "SUPPLEMENTARYgids": [1, 2], "workingDirectory": "/w", "unknown": {"a": 1},
        "environment": [{"name": "A.b-c", "value": "%$\n"}, {"name": "_E"}],
        "eventHandlers": [{"name": "pre-start", "exec": ["/pre"]}, {"name": "post-stop", "exec": ["/post", "x"]}],
        "mountPoints": [{"name": "db", "path": "/db", "readOnly": true}],
        "ports": [{"name": "web", "port": 80}, {"name": "many", "port": 65530, "count": 6, "protocol": "udp", "socketActivated": true}],
        "isolators": [{"name": "resource/memory", "value": {"limit": "1G"}}],
    }));
    value["labels"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "version", "value": "1.2"}));
    value["annotations"] = json!([{"name": "skim.requires", "value": "containerd"},
        {"name": "created", "value": "2024-01-02T03:04:05Z"}]);
    let manifest = parse(&value).unwrap();
    manifest.check_supported("amd64").unwrap();
    assert_eq!(manifest.version(), Some("1.2"));
    assert_eq!(manifest.annotation("skim.requires"), Some("containerd"));
    assert_eq!(manifest.annotation("absent"), None);
    assert_eq!(manifest.default_app_name().as_deref(), Some("app"));
    let app = manifest.app.unwrap();
    assert_eq!(app.supplementary_gids, [1, 2]);
    assert_eq!(app.environment[0].value, "%$\n");
    assert_eq!(app.environment[1].value, "");
    assert_eq!(app.pre_start.unwrap(), ["/pre"]);
    assert_eq!(app.post_stop.unwrap(), ["/post", "x"]);
    assert!(app.mount_points[0].read_only);
    assert_eq!(
        (app.ports[0].count, app.ports[0].protocol.as_deref()),
        (1, None)
    );
    assert!(app.ports[1].socket_activated);
    assert_eq!(app.isolators[0].value["limit"], "1G");
}

#[test]
fn app_and_exec_are_optional() {
    assert_eq!(parse(&minimal()).unwrap().app, None);
    let app = parse(&with_app(json!({"exec": []}))).unwrap().app.unwrap();
    assert!(app.exec.is_empty());
    assert!(parse(&with_app(json!({"exec": null}))).is_ok());
}

#[test]
fn top_level_is_checked() {
    let cases = [
        ("acKind", json!("Foo"), "bad ACKind: \"Foo\""),
        ("acKind", json!(null), "missing acKind"),
        ("acVersion", json!("0.0.0"), "acVersion"),
        ("acVersion", json!("x"), "acVersion"),
        ("acVersion", json!(null), "acVersion"),
        ("name", json!("Bad"), "no AC Identifier"),
        ("name", json!(""), "name: missing"),
        (
            "labels",
            json!([{"name": "name", "value": "x"}]),
            "is no label",
        ),
        (
            "labels",
            json!([{"name": "a"}, {"name": "a"}]),
            "given twice",
        ),
        ("labels", json!([{"value": "a"}]), "labels[0].name: missing"),
        (
            "annotations",
            json!([{"name": "a"}, {"name": "a"}]),
            "given twice",
        ),
        (
            "annotations",
            json!([{"name": "created", "value": "today"}]),
            "RFC 3339",
        ),
        (
            "annotations",
            json!([{"name": "homepage", "value": "ftp://x"}]),
            "homepage",
        ),
        (
            "dependencies",
            json!([{}]),
            "dependencies[0].imageName: missing",
        ),
        (
            "dependencies",
            json!([{"imageName": "a", "imageID": "md5-1"}]),
            "no image ID",
        ),
        ("pathWhitelist", json!("x"), "not an array"),
        ("app", json!([]), "app: not an object"),
    ];
    for (key, field, expected) in cases {
        let mut value = minimal();
        value[key] = field;
        let text = error(&value);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn app_is_checked() {
    let cases = [
        (json!({"user": null}), "app.user: missing"),
        (json!({"group": ""}), "app.group: missing"),
        (json!({"exec": ["a\u{0}"]}), "zero byte"),
        (json!({"workingDirectory": "w"}), "not an absolute path"),
        (
            json!({"supplementaryGIDs": [4294967295u32]}),
            "app.supplementaryGIDs[0]",
        ),
        (
            json!({"supplementaryGIDs": ["a"]}),
            "app.supplementaryGIDs[0]",
        ),
        (
            json!({"environment": [{"name": "1A"}]}),
            "no name of an environment variable",
        ),
        (
            json!({"environment": [{"name": "A"}, {"name": "A"}]}),
            "set twice",
        ),
        (
            json!({"eventHandlers": [{"name": "mid", "exec": ["/x"]}]}),
            "pre-start",
        ),
        (
            json!({"eventHandlers": [{"name": "pre-start", "exec": []}]}),
            "exec: empty",
        ),
        (
            json!({"eventHandlers": [{"name": "pre-start", "exec": ["a"]}, {"name": "pre-start", "exec": ["a"]}]}),
            "given twice",
        ),
        (
            json!({"mountPoints": [{"name": "A", "path": "/x"}]}),
            "no AC Name",
        ),
        (json!({"mountPoints": [{"name": "a"}]}), "path: missing"),
        (
            json!({"ports": [{"name": "a", "port": 0}]}),
            "port: not an integer",
        ),
        (
            json!({"ports": [{"name": "a", "port": 65536}]}),
            "port: not an integer",
        ),
        (json!({"ports": [{"name": "a"}]}), "port: missing"),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
            "ports[1].name: \"a\" is given twice",
        ),
        (
            json!({"ports": [{"name": "a", "port": 65535, "count": 2}]}),
            "beyond 65535",
        ),
        (json!({"isolators": [{"name": "No"}]}), "no AC Identifier"),
    ];
    for (extra, expected) in cases {
        let text = error(&with_app(extra));
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn platform_must_be_this_host() {
    let check = |labels: Value| {
        let mut value = minimal();
        value["labels"] = labels;
        let manifest = parse(&value).unwrap();
        manifest.check_supported("amd64").unwrap_err().to_string()
    };
    let label = |name: &str, value: &str| json!({"name": name, "value": value});
    let arch = label("arch", "amd64");
    assert_eq!(
        check(json!([arch])),
        "missing os label in the image manifest"
    );
    let text = check(json!([arch, label("os", "freebsd")]));
    assert_eq!(text, "bad os \"freebsd\" (must be one of: [linux])");
    let linux = label("os", "linux");
    assert_eq!(
        check(json!([linux])),
        "missing arch label in the image manifest"
    );
    let text = check(json!([linux, label("arch", "x86_64")]));
    assert!(text.starts_with("bad arch \"x86_64\" (must be one of: [amd64 "));
    let text = check(json!([linux, label("arch", "s390x")]));
    assert!(text.contains("this host is \"amd64\""), "{text}");
}

#[test]
fn what_an_image_builds_upon_is_kept() {
    let mut value = minimal();
    value["dependencies"] = json!([{"imageName": "example.com/base", "size": 1}]);
    value["pathWhitelist"] = json!(["/a"]);
    let manifest = parse(&value).unwrap();
    manifest.check_supported("amd64").unwrap();
    assert_eq!(manifest.dependencies[0].image_name, "example.com/base");
    assert_eq!(manifest.path_whitelist, ["/a"]);
}

#[test]
fn hostile_json_is_refused() {
    let deep = "[".repeat(100_000);
    for text in ["", "null", "[]", "{", "{}", "\u{0}", deep.as_str()] {
        assert!(ImageManifest::parse(text.as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = ImageManifest::parse(text.as_bytes());
    }

    #[test]
    fn any_environment_value_is_kept(text in "[^\\x00]{0,40}") {
        let manifest = parse(&with_app(json!({"environment": [{"name": "A", "value": text.clone()}]})));
        prop_assert_eq!(&manifest.unwrap().app.unwrap().environment[0].value, &text);
    }
}
