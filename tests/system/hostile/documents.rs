//! Documents that lie: manifests, configurations, indexes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Case, text};
use crate::support::archive::{DIRECTORY, Entry, Layout, SYMLINK, config, digest, manifest, tar};
use crate::support::command::run;
use crate::support::host::Host;

#[test]
fn documents_too_large_or_too_deep() {
    let host = Host::new();
    let case = Case::new(&host);
    let rootfs = Entry::new(DIRECTORY, "rootfs");
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let mut large = manifest();
    large["annotations"] = json!([{ "name": "large", "value": "x".repeat(8 << 20) }]);
    let mut nested = manifest().to_string();
    nested.truncate(nested.len() - 1);
    let nested = format!("{nested},\"unknown\":{deep}}}");
    for (name, manifest) in [
        ("deep", deep.clone()),
        ("nested", nested),
        ("large", large.to_string()),
        ("none", String::new()),
        ("text", "manifest".to_owned()),
    ] {
        let entries = [Entry::file("manifest", manifest), rootfs.clone()];
        case.refuse_aci(name, &tar(&entries));
    }
    for (name, document) in [
        ("deep", deep.as_str()),
        ("large", &format!("\"{}\"", "x".repeat(64 << 20))),
        ("none", ""),
        ("null", "null"),
    ] {
        case.refuse_layout(&format!("{name}-config"), |layout| {
            let media_type = "application/vnd.oci.image.config.v1+json";
            layout.manifest["config"] = layout.blob(media_type, document.as_bytes());
        });
        case.refuse_layout(&format!("{name}-manifest"), |layout| {
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            layout.index["manifests"] = json!([layout.blob(media_type, document.as_bytes())]);
        });
        let archive = tar(&[Entry::file("manifest.json", document)]);
        let path = case.write(&format!("{name}.docker.tar"), &archive);
        case.refuse_file("docker-archive:", &path);
    }
}

#[test]
fn what_an_aci_does_not_hold() {
    let host = Host::new();
    let case = Case::new(&host);
    let manifest = Entry::file("manifest", manifest().to_string());
    let rootfs = Entry::new(DIRECTORY, "rootfs");
    let good = [manifest.clone(), rootfs.clone()];
    let with = |entry: Entry| tar(&[&good[..], &[entry]].concat());
    case.refuse_aci("two-manifests", &with(manifest.clone()));
    case.refuse_aci("rootfs-evil", &with(Entry::new(DIRECTORY, "rootfs-evil")));
    case.refuse_aci(
        "rootfs-evil-file",
        &with(Entry::file("rootfs-evil/file", "x")),
    );
    case.refuse_aci("extra", &with(Entry::file("extra", "x")));
    case.refuse_aci(
        "only-a-file",
        &tar(&[manifest.clone(), Entry::file("rootfs", "x")]),
    );
    case.refuse_aci(
        "rootfs-link",
        &tar(&[
            manifest.clone(),
            Entry::link(SYMLINK, "rootfs", text(&case.outside)),
        ]),
    );
    case.refuse_aci(
        "manifest-link",
        &tar(&[
            Entry::link(SYMLINK, "manifest", "/etc/passwd"),
            rootfs.clone(),
        ]),
    );
    case.refuse_aci(
        "manifest-directory",
        &tar(&[Entry::new(DIRECTORY, "manifest"), rootfs]),
    );
    case.refuse_aci("nothing", &tar(&[]));
}

#[test]
fn digests_and_sizes_of_layouts_that_lie() {
    let host = Host::new();
    let case = Case::new(&host);
    case.refuse_layout("layer-content", |layout| {
        let digest = layout.manifest["layers"][0]["digest"].clone();
        let path = layout.path(digest.as_str().expect("it is text"));
        let content = fs::read(&path).expect("it is there");
        let changed: Vec<u8> = content
            .iter()
            .map(|byte| if *byte == b'c' { b'C' } else { *byte })
            .collect();
        assert_ne!(changed, content);
        fs::write(path, changed).expect("cannot write it");
    });
    case.refuse_layout("layer-size", |layout| {
        layout.manifest["layers"][0]["size"] = json!(17);
    });
    case.refuse_layout("layer-size-negative", |layout| {
        layout.manifest["layers"][0]["size"] = json!(-1);
    });
    case.refuse_layout("layer-absent", |layout| {
        layout.manifest["layers"][0]["digest"] = json!(digest(b"absent"));
    });
    case.refuse_layout("layer-too-many", |layout| {
        let layer = layout.manifest["layers"][0].clone();
        layout.manifest["layers"] = json!([layer, layer]);
    });
    case.refuse_layout("layer-none", |layout| {
        layout.manifest["layers"] = json!([]);
    });
    case.refuse_layout("layer-kind", |layout| {
        layout.manifest["layers"][0]["mediaType"] = json!("application/octet-stream");
    });
    case.refuse_layout("layer-encrypted", |layout| {
        layout.manifest["layers"][0]["mediaType"] =
            json!("application/vnd.oci.image.layer.v1.tar+encrypted");
    });
    case.refuse_layout("config-absent", |layout| {
        layout.manifest["config"]["digest"] = json!(digest(b"absent"));
    });
    for (name, bad) in [
        ("traversal", json!("sha256:../../../../etc/passwd")),
        ("algorithm", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        ("short", json!("sha256:00")),
        ("upper", json!(digest(b"x").to_uppercase())),
        ("number", json!(1)),
        ("absent", Value::Null),
    ] {
        case.refuse_layout(&format!("digest-{name}"), |layout| {
            layout.manifest["layers"][0]["digest"] = bad;
        });
    }
    case.refuse_layout("schema", |layout| {
        layout.manifest["schemaVersion"] = json!(1);
    });
    case.refuse_layout("no-manifests", |layout| {
        layout.index["manifests"] = json!([]);
    });
}

#[test]
fn a_diff_id_that_is_not_the_layers() {
    let host = Host::new();
    let case = Case::new(&host);
    let layers = [tar(&[Entry::file("file", "content")])];
    let mut lying = config(&layers);
    lying["rootfs"]["diff_ids"][0] = json!(digest(b"another"));
    let mut layout = Layout::new(case.scratch.join("diff-id.oci"), &layers, &lying);
    let path = layout.write().to_owned();
    case.refuse_file("oci:", &path);
}

#[test]
fn blobs_that_are_links_or_no_files() {
    let host = Host::new();
    let case = Case::new(&host);
    let replaced = |layout: &Layout, make: &dyn Fn(&Path)| {
        let digest = layout.manifest["layers"][0]["digest"].clone();
        let path = layout.path(digest.as_str().expect("it is text"));
        fs::remove_file(&path).expect("it is there");
        make(&path);
    };
    let outside = case.outside.join("file");
    case.refuse_layout("link", |layout| {
        replaced(layout, &|path| {
            std::os::unix::fs::symlink(&outside, path).expect("cannot link");
        });
    });
    case.refuse_layout("directory", |layout| {
        replaced(layout, &|path| {
            fs::create_dir(path).expect("cannot make it")
        });
    });
    // Whoever opens it to read would wait for a writer.
    case.refuse_layout("fifo", |layout| {
        replaced(layout, &|path| {
            run("mkfifo", [path]).success();
        });
    });
}

#[test]
fn indexes_without_an_end() {
    let host = Host::new();
    let case = Case::new(&host);
    let media_type = "application/vnd.oci.image.index.v1+json";
    case.refuse_layout("nested", |layout| {
        let mut inner = json!({ "schemaVersion": 2, "manifests": [] });
        for _ in 0..1000 {
            let descriptor = layout.blob(media_type, inner.to_string().as_bytes());
            inner = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        }
        layout.index = inner;
    });
    case.refuse_layout("many", |layout| {
        let descriptor = json!({ "mediaType": media_type, "digest": digest(b"x"), "size": 1 });
        layout.index["manifests"] = vec![descriptor; 200_000].into();
    });
}

#[test]
fn docker_archives_that_lie() {
    let host = Host::new();
    let case = Case::new(&host);
    let layer = tar(&[Entry::file("file", "content")]);
    let document = |config: &str, layers: Value| {
        json!([{ "Config": config, "RepoTags": ["hostile:1"], "Layers": layers }]).to_string()
    };
    let good = config(std::slice::from_ref(&layer)).to_string();
    let archive = |manifest: String| {
        vec![
            Entry::file("manifest.json", manifest),
            Entry::file("config.json", &good),
            Entry::file("layer.tar", &layer),
        ]
    };
    let refuse = |name: &str, entries: &[Entry]| {
        let path = case.write(&format!("{name}.docker.tar"), &tar(entries));
        case.refuse_file("docker-archive:", &path);
    };
    refuse(
        "outside",
        &archive(document("config.json", json!(["../../../etc/passwd"]))),
    );
    refuse(
        "absolute",
        &archive(document("/etc/passwd", json!(["layer.tar"]))),
    );
    refuse(
        "absent",
        &archive(document("absent.json", json!(["layer.tar"]))),
    );
    refuse(
        "too-many",
        &archive(document("config.json", json!(["layer.tar", "layer.tar"]))),
    );
    refuse("none", &archive(document("config.json", json!([]))));
    refuse("no-manifest", &archive("[]".into())[1..]);
    refuse("empty-manifest", &archive("[]".into()));
    let mut linked = archive(document("config.json", json!(["link.tar"])));
    linked.push(Entry::link(
        SYMLINK,
        "link.tar",
        text(&case.outside.join("file")),
    ));
    refuse("link", &linked);
    let mut circle = archive(document("config.json", json!(["one.tar"])));
    circle.push(Entry::link(SYMLINK, "one.tar", "two.tar"));
    circle.push(Entry::link(SYMLINK, "two.tar", "one.tar"));
    refuse("circle", &circle);
    let mut other = archive(document("config.json", json!(["layer.tar"])));
    other[2] = Entry::file("layer.tar", tar(&[Entry::file("file", "other")]));
    refuse("other-layer", &other);
}
