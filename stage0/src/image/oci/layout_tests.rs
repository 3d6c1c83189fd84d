use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;
use crate::image::oci::fixture::{
    self, CONTAINERD_NAME, INDEX as INDEX_TYPE, LAYER, Layout, MANIFEST,
};
use crate::image::testing::message;

/// Opens what a test has made, as a directory and as an archive; both give the same.
fn open_both(layout: &Layout, tag: Option<&str>) -> Result<OciImage> {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("the-layout");
    layout.write(&directory);
    let found = open(&directory, tag);
    let archived = super::super::archive::oci_image(&layout.archive(), tag, "the-layout");
    match (&found, archived) {
        (Ok(found), Ok(archived)) => {
            assert_eq!(found.names, archived.names);
            assert_eq!(found.manifest, archived.manifest);
            assert_eq!(content(found), content(&archived));
        }
        (Err(found), Err(archived)) => {
            let (found, archived) = (format!("{found:#}"), format!("{archived:#}"));
            assert!(found.ends_with(&archived), "{found} / {archived}");
        }
        (found, archived) => panic!("{found:?} {archived:?}"),
    }
    found
}

fn content(image: &OciImage) -> Vec<Vec<u8>> {
    let layers = image.layers.iter();
    layers.map(|layer| layer.blob.read(100).unwrap()).collect()
}

fn name(name: &str, tag: Option<&str>) -> OciName {
    OciName {
        name: name.to_owned(),
        tag: tag.map(str::to_owned),
    }
}

#[test]
fn the_only_image_is_found() {
    let layout = Layout::with_image("v1");
    for tag in [None, Some("v1")] {
        let image = open_both(&layout, tag).unwrap();
        assert_eq!(content(&image), [b"one", b"two"]);
        assert_eq!(image.layers[1].digest, Some(Sha256::of(b"two")));
        assert_eq!(image.layers[1].diff_id, Sha256::of(b"two"));
        assert_eq!(image.names, [name("the-layout", Some("v1"))]);
        let (digest, bytes) = image.manifest.unwrap();
        assert_eq!(digest, Sha256::of(&bytes));
        assert_eq!(
            image.config,
            fixture::config(&[b"one", b"two"]).to_string().into_bytes()
        );
    }
    let text = message(open_both(&layout, Some("v2")));
    assert!(
        text.ends_with("no image has the tag \"v2\"; there are \"v1\""),
        "{text}"
    );
}

#[test]
fn images_are_told_apart_by_tag_or_name() {
    let mut layout = Layout::new();
    let one = layout.add_image(&[b"1"]);
    let two = layout.add_image(&[b"2"]);
    let three = layout.add_image(&[b"3"]);
    layout.entry(
        one,
        &[(fixture::REF_NAME, "docker.io/library/busybox:1.36")],
    );
    layout.entry(
        two.clone(),
        &[(CONTAINERD_NAME, "quay.io/a/b:x"), (fixture::REF_NAME, "x")],
    );
    layout.entry(
        two,
        &[(CONTAINERD_NAME, "quay.io/a/b:y"), (fixture::REF_NAME, "y")],
    );
    layout.entry(three, &[(fixture::REF_NAME, "not a tag\n")]);
    for (tag, layer, names) in [
        (
            "docker.io/library/busybox:1.36",
            "1",
            vec![name("docker.io/library/busybox", Some("1.36"))],
        ),
        (
            "1.36",
            "1",
            vec![name("docker.io/library/busybox", Some("1.36"))],
        ),
        (
            "x",
            "2",
            vec![
                name("quay.io/a/b", Some("x")),
                name("quay.io/a/b", Some("y")),
            ],
        ),
        ("not a tag\n", "3", vec![name("the-layout", None)]),
    ] {
        let image = open_both(&layout, Some(tag)).unwrap();
        assert_eq!(content(&image), [layer.as_bytes()], "{tag}");
        assert_eq!(image.names, names, "{tag}");
    }
    let text = message(open_both(&layout, None));
    assert!(
        text.ends_with("several images in it, name one by :TAG: \"docker.io/library/busybox:1.36\", \"quay.io/a/b:x\", \"quay.io/a/b:y\", \"not a tag\\n\""),
        "{text}"
    );
}

#[test]
fn two_images_with_one_tag_are_refused() {
    let mut layout = Layout::new();
    for layer in [b"1", b"2"] {
        let image = layout.add_image(&[layer]);
        layout.entry(image, &[(fixture::REF_NAME, "x")]);
    }
    let text = message(open_both(&layout, Some("x")));
    assert!(text.contains("several images have the tag \"x\""), "{text}");
    message(open_both(&layout, None));
}

#[test]
fn the_host_s_platform_is_chosen() {
    let host = Platform::host();
    let platforms = [
        json!({"os": "windows", "architecture": host.architecture}),
        json!({"os": "linux", "architecture": host.architecture, "variant": host.variant}),
    ];
    let mut flat = Layout::new();
    let mut nested = Layout::new();
    let mut entries = Vec::new();
    for (layer, platform) in [b"1", b"2"].into_iter().zip(platforms) {
        for layout in [&mut flat, &mut nested] {
            let mut image = layout.add_image(&[layer]);
            image["platform"] = platform.clone();
            entries.push(image);
        }
        flat.entry(
            entries[entries.len() - 1].clone(),
            &[(fixture::REF_NAME, "x")],
        );
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries});
    let index = nested.add(INDEX_TYPE, index.to_string().as_bytes());
    nested.entry(index, &[(fixture::REF_NAME, "x")]);
    for layout in [flat, nested] {
        for tag in [None, Some("x")] {
            let image = open_both(&layout, tag).unwrap();
            assert_eq!(content(&image), [b"2"]);
            assert_eq!(image.names, [name("the-layout", Some("x"))]);
        }
    }
}

#[test]
fn damage_is_found() {
    type Damage = fn(&mut Layout);
    let cases: [(&str, Damage); 13] = [
        ("\"oci-layout\" is missing", |l| {
            drop(l.files.remove("oci-layout"))
        }),
        ("\"index.json\" is missing", |l| {
            drop(l.files.remove("index.json"))
        }),
        ("\"oci-layout\" is not valid", |l| {
            drop(l.files.insert("oci-layout".into(), b"[]".into()))
        }),
        ("1.0.0 is supported", |l| {
            l.files
                .insert("oci-layout".into(), br#"{"imageLayoutVersion":"2"}"#.into());
        }),
        ("it has 65537 bytes", |l| {
            drop(l.files.insert("oci-layout".into(), vec![b' '; 65537]))
        }),
        ("\"index.json\" is not valid", |l| {
            drop(l.files.insert("index.json".into(), b"{".into()))
        }),
        ("not an index", |l| {
            let image = l.add_image(&[b"1"]);
            let path = image["digest"].as_str().unwrap().replace(':', "/");
            let manifest = l.files[&format!("blobs/{path}")].clone();
            l.files.insert("index.json".into(), manifest);
        }),
        ("there is no image in it", |l| {
            *l = Layout::new();
            let attestation = l.add_image(&[b"1"]);
            l.entry(
                attestation,
                &[("vnd.docker.reference.type", "attestation-manifest")],
            );
        }),
        ("is missing", |l| {
            drop(l.files.remove(&fixture::blob_path(b"two")))
        }),
        ("not the 3 that were announced", |l| {
            l.files.insert(fixture::blob_path(b"two"), b"four".into());
        }),
        ("it is damaged", |l| {
            let config = fixture::config(&[b"one", b"two"]).to_string();
            l.files.insert(
                fixture::blob_path(config.as_bytes()),
                config.replace("app", "evi").into(),
            );
        }),
        ("it is damaged", |l| {
            for (path, bytes) in &mut l.files {
                if path.starts_with("blobs")
                    && bytes.windows(6).any(|w| w == b"layers")
                    && bytes.windows(6).any(|w| w == b"schema")
                {
                    bytes.push(b' ');
                }
            }
        }),
        ("its configuration tells of 1", |l| {
            *l = Layout::new();
            let config = fixture::config(&[b"1"]).to_string();
            let config = l.add(fixture::CONFIG, config.as_bytes());
            let layer = l.add(LAYER, b"1");
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer, layer]});
            let manifest = l.add(MANIFEST, manifest.to_string().as_bytes());
            l.entry(manifest, &[]);
        }),
    ];
    for (expected, damage) in cases {
        let mut layout = Layout::with_image("x");
        damage(&mut layout);
        let text = message(open_both(&layout, None));
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn links_may_not_lead_out() {
    let top = tempfile::tempdir().unwrap();
    let layout = Layout::with_image("x");
    let directory = top.path().join("layout");
    layout.write(&directory);
    let blob = directory.join(fixture::blob_path(b"two"));
    // Within the layout, as some tools make them.
    std::fs::rename(&blob, directory.join("shared")).unwrap();
    symlink("../../shared", &blob).unwrap();
    assert_eq!(content(&open(&directory, None).unwrap()), [b"one", b"two"]);
    std::fs::rename(directory.join("shared"), top.path().join("shared")).unwrap();
    for (target, expected) in [
        ("../../../shared", "is a link that leads out of the layout"),
        (
            top.path().join("shared").to_str().unwrap(),
            "is a link that leads out of the layout",
        ),
        ("loop", "cannot open"),
        ("nowhere", "is missing"),
        ("../sha256", "is no regular file"),
        ("/dev/zero", "is a link that leads out of the layout"),
    ] {
        std::fs::remove_file(&blob).unwrap();
        let loop_link = blob.with_file_name("loop");
        let _ = std::fs::remove_file(&loop_link);
        symlink("loop", &loop_link).unwrap();
        symlink(target, &blob).unwrap();
        let text = message(open(&directory, None));
        assert!(text.contains(expected), "{target}: {text}");
        assert!(text.contains(directory.to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_fifo_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    Layout::with_image("x").write(directory.path());
    let index = directory.path().join("index.json");
    std::fs::remove_file(&index).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &index, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let text = message(open(directory.path(), None));
    assert!(
        text.ends_with("\"index.json\" is no regular file"),
        "{text}"
    );
}

#[test]
fn layouts_are_recognised() {
    let directory = tempfile::tempdir().unwrap();
    assert!(!is_layout(directory.path()));
    Layout::with_image("x").write(directory.path());
    assert!(is_layout(directory.path()));
    message(open(&directory.path().join("none"), None));
}

#[test]
fn lists_are_short() {
    let list = |count: usize| shorten((0..count).map(|n| n.to_string()));
    assert_eq!(list(0), "none");
    assert_eq!(list(2), "0, 1");
    assert!(list(SHOWN).ends_with("18, 19"));
    assert!(list(1000).ends_with("19, 980 others"));
}
