use serde_json::json;

use super::*;
use crate::image::oci::fixture::{self, Layout};
use crate::image::testing::{Archive, message};

/// An archive of `docker save`, of two layers, one of them a link, and these names.
fn docker_archive(names: &Value) -> Archive {
    let config = fixture::config(&[b"one", b"two"]).to_string();
    let digits = Sha256::of(config.as_bytes()).hex();
    let manifest = json!([{
        "Config": format!("{digits}.json"), "RepoTags": names,
        "Layers": ["1/layer.tar", "2/layer.tar"],
    }]);
    Archive::empty()
        .directory("1/")
        .file("1/layer.tar", b"one")
        .file("two.tar", b"two")
        .symlink("2/layer.tar", "../two.tar")
        .file(&format!("{digits}.json"), config.as_bytes())
        .file("manifest.json", manifest.to_string().as_bytes())
}

fn open(archive: Archive, name: Option<&str>) -> Result<OciImage> {
    let name = name.map(|name| RegistryReference::parse(name).unwrap());
    docker_image(&fixture::blob(&archive.finish()), name.as_ref(), "fallback")
}

fn name(name: &str, tag: Option<&str>) -> OciName {
    OciName {
        name: name.to_owned(),
        tag: tag.map(str::to_owned),
    }
}

#[test]
fn the_only_image_is_found() {
    let names = json!(["busybox:1.36", "localhost:5000/a"]);
    for given in [None, Some("busybox:1.36"), Some("localhost:5000/a:latest")] {
        let image = open(docker_archive(&names), given).unwrap();
        assert_eq!(
            image.names,
            [
                name("docker.io/library/busybox", Some("1.36")),
                name("localhost:5000/a", Some("latest")),
            ]
        );
        assert_eq!(image.manifest, None);
        let content: Vec<_> = image
            .layers
            .iter()
            .map(|l| l.blob.read(9).unwrap())
            .collect();
        assert_eq!(content, [b"one", b"two"]);
        assert_eq!(image.layers[1].diff_id, Sha256::of(b"two"));
        assert_eq!(image.layers[1].digest, None);
    }
    for names in [json!(null), json!([])] {
        let image = open(docker_archive(&names), None).unwrap();
        assert_eq!(image.names, [name("fallback", None)]);
    }
    let text = message(open(docker_archive(&names), Some("busybox")));
    assert_eq!(
        text,
        "no image has the name docker.io/library/busybox:latest; there are docker.io/library/busybox:1.36"
    );
}

#[test]
fn several_images_are_told_apart_by_name() {
    let mut archive = Archive::empty();
    let mut images = Vec::new();
    for (layer, tag) in [("1", "a:1"), ("2", "a:2"), ("3", "")] {
        let config = fixture::config(&[layer.as_bytes()]).to_string();
        let (config_path, path) = (
            fixture::blob_path(config.as_bytes()),
            fixture::blob_path(layer.as_bytes()),
        );
        archive = archive
            .file(&config_path, config.as_bytes())
            .file(&path, layer.as_bytes());
        let names = if tag.is_empty() {
            json!(null)
        } else {
            json!([tag])
        };
        images.push(json!({"Config": config_path, "RepoTags": names, "Layers": [path]}));
    }
    let images = json!(images).to_string();
    let archive = fixture::blob(&archive.file("manifest.json", images.as_bytes()).finish());
    let open = |name: Option<&str>| {
        let name = name.map(|name| RegistryReference::parse(name).unwrap());
        docker_image(&archive, name.as_ref(), "fallback")
    };
    let image = open(Some("a:2")).unwrap();
    assert_eq!(image.layers[0].digest, Some(Sha256::of(b"2")));
    let text = message(open(None));
    let expected =
        "name one by :NAME: docker.io/library/a:1, docker.io/library/a:2, \"blobs/sha256/";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn damage_is_found() {
    let digits = "0".repeat(64);
    let config = fixture::config(&[b"1"]).to_string();
    let with = |manifest: &Value| {
        Archive::empty()
            .file("config", config.as_bytes())
            .file(&format!("{digits}.json"), config.as_bytes())
            .file("layer", b"1")
            .symlink("loop", "loop")
            .file("manifest.json", manifest.to_string().as_bytes())
    };
    let image = |key: &str, field: Value| {
        let mut image = json!({"Config": "config", "RepoTags": ["a"], "Layers": ["layer"]});
        image[key] = field;
        json!([image])
    };
    for (manifest, expected) in [
        (
            json!({}),
            "\"manifest.json\" is not valid: it is not an array",
        ),
        (json!([]), "there is no image in it"),
        (json!([1]), "[0]: not an object"),
        (Value::Array(vec![json!({}); 1001]), "at most 1000"),
        (image("Config", json!(null)), "[0].Config: missing"),
        (image("Config", json!("none")), "\"none\" is missing"),
        (
            image("Config", json!("../config")),
            "leads out of the archive",
        ),
        (image("Config", json!("layer")), "image configuration"),
        (
            image("Config", json!(format!("{digits}.json"))),
            "it is damaged",
        ),
        (
            image("Layers", json!([])),
            "[0].Layers: the image has 0 layers",
        ),
        (
            image("Layers", json!(["layer", "layer"])),
            "its configuration tells of 1",
        ),
        (image("Layers", json!(["none"])), "\"none\" is missing"),
        (image("Layers", json!(["loop"])), "more than 8 times"),
        (
            image("Layers", Value::Array(vec![json!(""); 1001])),
            "from 1 to 1000",
        ),
        (
            image("RepoTags", json!(["A\nb"])),
            "[0].RepoTags: \"A\\nb\"",
        ),
    ] {
        let text = message(open(with(&manifest), None));
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let one = image("Config", json!("config"));
    open(with(&one), None).unwrap();
    let twice = json!([one[0], one[0]]);
    let text = message(open(with(&twice), Some("a")));
    assert!(text.contains("several images have the name"), "{text}");
    let text = message(open(Archive::empty().file("a", b""), None));
    assert!(text.contains("\"manifest.json\" is missing"), "{text}");
}

#[test]
fn kinds_are_told_by_their_members() {
    let mut both = Layout::with_image("x");
    both.files
        .insert("manifest.json".to_owned(), b"[]".to_vec());
    let kind = |archive: Archive| looks_like(&fixture::blob(&archive.finish()));
    assert_eq!(looks_like(&both.archive()).unwrap(), FileKind::OciArchive);
    assert_eq!(
        looks_like(&Layout::with_image("x").archive()).unwrap(),
        FileKind::OciArchive
    );
    assert_eq!(
        kind(docker_archive(&json!(null))).unwrap(),
        FileKind::DockerArchive
    );
    assert_eq!(kind(Archive::new()).unwrap(), FileKind::Aci);
    let late = Archive::empty().file("./rootfs/manifest.json", b"");
    assert_eq!(kind(late).unwrap(), FileKind::Aci);
    for archive in [
        Archive::empty(),
        Archive::empty().file("rootfs-evil/x", b""),
    ] {
        assert!(message(kind(archive)).contains("it is no image"));
    }
    // The beginning is enough where it tells.
    let aci = Archive::new().file("rootfs/big", &[1; 5000]).finish();
    assert_eq!(
        looks_like(&fixture::blob(&aci[..1100])).unwrap(),
        FileKind::Aci
    );
}
