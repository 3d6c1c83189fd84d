//! The documents of an OCI image. The input is one of them: what it is meant as, they do not
//! tell at their beginning, so it is read as each. What is no JSON object is a reference.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use skim::image::blob::Sha256;
use skim::image::oci::config::{self, ImageConfig};
use skim::image::oci::document::{self, Document, IndexDocument};
use skim::image::oci::platform::Platform;
use skim::image::reference::Reference;
use skim::store::TreeKey;
use skim::trust::policy::Policy;

use super::{check_error, plan};

const NAME: &str = "registry.example.com:5000/library/app";

/// Reads the document as a configuration, and as a manifest or an index.
pub fn run(input: &[u8]) -> Result<()> {
    if input.first() != Some(&b'{') {
        return reference(input);
    }
    let policy = Policy::parse(input, Path::new("/etc/skim/policy.d/fuzz.json"));
    check_error(&policy);
    let document = document::parse(input);
    check_error(&document);
    match &document {
        Ok(Document::Manifest(manifest)) => annotations(&manifest.annotations),
        Ok(Document::Index(index)) => choose(index),
        Err(_) => (),
    }
    configuration(input)
        .or(document.map(drop))
        .or(policy.map(drop))
}

fn configuration(json: &[u8]) -> Result<()> {
    let annotations = BTreeMap::new();
    check_error(&config::to_manifest(json, &annotations, NAME, Some("1")));
    let config = ImageConfig::parse(json);
    check_error(&config);
    let config = config?;
    assert_eq!(config::diff_ids(json).unwrap(), config.diff_ids);
    let key = TreeKey::of_layers(&config.diff_ids);
    assert_eq!(TreeKey::of_directory(key.as_str()), Some(key));
    let manifest = config.into_manifest(&annotations, NAME, None).unwrap();
    plan::check(&manifest);
    Ok(())
}

/// An image's annotations as a manifest has them.
fn annotations(annotations: &BTreeMap<String, String>) {
    let config = serde_json::json!({
        "os": "linux", "architecture": Platform::host().architecture,
        "config": {"Cmd": ["/bin/app"]}, "rootfs": {"type": "layers", "diff_ids": []},
    });
    let config = config.to_string();
    let manifest = config::to_manifest(config.as_bytes(), annotations, NAME, None);
    plan::check(&manifest.unwrap());
}

/// What is chosen is an image, and suits the host as far as it tells.
fn choose(index: &IndexDocument) {
    for (architecture, variant) in [("amd64", None), ("arm", Some("v7")), ("arm64", Some("v8"))] {
        let host = Platform::new("linux", architecture, variant);
        let chosen = index.choose(&host);
        check_error(&chosen);
        let Ok(chosen) = chosen else {
            continue;
        };
        assert!(chosen.is_image());
        let platform = chosen.platform.as_ref();
        assert!(platform.is_none_or(|platform| host.rank(platform).is_some()));
        let fetch = |_: &document::Descriptor| Ok(b"{}".to_vec());
        check_error(&document::find_manifest(chosen, &host, fetch));
    }
}

/// The input as what a user calls an image.
fn reference(input: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(input)?;
    check_error(&Sha256::parse(text));
    let reference = Reference::parse(text);
    check_error(&reference);
    if let Ok(Reference::Registry(reference)) = &reference {
        // What it is written as means the same.
        let written = format!("docker://{reference}");
        let again = Reference::parse(&written).expect("it can be written");
        assert_eq!(again, Reference::Registry(reference.clone()), "{written:?}");
    }
    reference.map(drop)
}
