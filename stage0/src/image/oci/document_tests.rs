use serde_json::json;

use super::*;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Sha256::of(content).to_string(), "size": content.len()})
}

fn manifest_value() -> Value {
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "annotations": {"a": "b"},
        "config": descriptor(CONFIG, b"c"),
        "layers": [descriptor(LAYER, b"1"), descriptor(LAYER, b"22")],
    })
}

fn entry(platform: Option<&str>) -> Value {
    let mut value = descriptor(MANIFEST, platform.unwrap_or_default().as_bytes());
    if let Some(platform) = platform {
        let mut parts = platform.split('/');
        value["platform"] =
            json!({"os": parts.next(), "architecture": parts.next(), "variant": parts.next()});
    }
    value
}

fn index_value(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
}

fn read(value: &Value) -> Result<Document> {
    parse(value.to_string().as_bytes())
}

fn index_of(entries: &[Value]) -> IndexDocument {
    match read(&index_value(entries)).unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!("not an index"),
    }
}

fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
    crate::image::testing::message(result)
}

#[test]
fn both_kinds_are_told_by_type_or_by_shape() {
    for media_type in [Some(MANIFEST), Some(DOCKER_MANIFEST), None, Some("")] {
        let mut value = manifest_value();
        value["mediaType"] = json!(media_type);
        let Document::Manifest(manifest) = read(&value).unwrap() else {
            panic!("{media_type:?}");
        };
        assert_eq!(manifest.layers[1].digest, Sha256::of(b"22"));
        assert_eq!((manifest.layers[1].size, manifest.config.size), (2, 1));
        assert_eq!(manifest.annotations["a"], "b");
    }
    for media_type in [Some(INDEX), Some(DOCKER_LIST), None] {
        let mut value = index_value(&[entry(Some("linux/amd64"))]);
        value["mediaType"] = json!(media_type);
        assert!(matches!(read(&value).unwrap(), Document::Index(_)));
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let big = vec![b' '; usize::try_from(DOCUMENT_MAX).unwrap() + 1];
    assert!(error(parse(&big)).contains("at most 4194304"));
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "null",
        "[]",
        "{",
        "{}",
        "\u{0}",
        "{\"a\":1}",
        deep.as_str(),
    ] {
        error(parse(text.as_bytes()));
    }
    let mut both = manifest_value();
    both["manifests"] = json!([]);
    let mut spelt = manifest_value();
    spelt["Layers"] = json!([]);
    let schema_1 = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    for (value, expected) in [
        (both, "ambiguous"),
        (spelt, "layers: given more than once"),
        (schema_1, "schema 1"),
        (
            json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}),
            "schema 1",
        ),
        (
            json!({"schemaVersion": 3, "manifests": []}),
            "schemaVersion",
        ),
        (json!({"mediaType": INDEX, "layers": []}), "do not agree"),
        (
            json!({"mediaType": MANIFEST, "manifests": []}),
            "do not agree",
        ),
        (
            json!({"mediaType": artifact, "layers": []}),
            "neither that of",
        ),
        (
            json!({"mediaType": 7, "layers": []}),
            "mediaType: not a string",
        ),
        (json!({"mediaType": INDEX, "manifests": {}}), "not an array"),
    ] {
        let text = error(read(&value));
        assert!(text.contains(expected), "{value}: {text}");
    }
}

#[test]
fn manifests_are_checked() {
    let layer = |media_type: &str| json!([descriptor(media_type, b"1")]);
    let with = |key: &str, field: Value| {
        let mut layer = descriptor(LAYER, b"1");
        layer[key] = field;
        json!([layer])
    };
    let sha512 = format!("sha512:{}", "a".repeat(128));
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let nondistributable = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    for (key, field, expected) in [
        ("config", json!(null), "config: missing"),
        (
            "config",
            descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "artifact",
        ),
        (
            "config",
            descriptor("application/vnd.cncf.helm.config.v1+json", b"{}"),
            "artifact",
        ),
        (
            "config",
            json!({"mediaType": CONFIG, "digest": Sha256::of(b"").to_string(), "size": DOCUMENT_MAX + 1}),
            "config.size",
        ),
        ("layers", json!([]), "has none"),
        ("layers", json!(null), "has none"),
        (
            "layers",
            Value::Array(vec![descriptor(LAYER, b"1"); 1001]),
            "at most 1000",
        ),
        ("layers", layer(foreign), "foreign"),
        ("layers", layer(nondistributable), "foreign"),
        ("layers", layer(encrypted), "encrypted"),
        ("layers", layer("text/plain\n"), "no type of layer"),
        (
            "layers",
            with("size", json!(-1)),
            "layers[0].size: not an integer",
        ),
        (
            "layers",
            with("size", json!(1.5)),
            "layers[0].size: not an integer",
        ),
        (
            "layers",
            with("size", json!(LAYER_MAX + 1)),
            "layers[0].size: not an integer",
        ),
        (
            "layers",
            with("size", json!(null)),
            "layers[0].size: missing",
        ),
        (
            "layers",
            with("digest", json!(sha512)),
            "\"sha512\" are not supported",
        ),
        (
            "layers",
            with("digest", json!("md5:00")),
            "\"md5\" are not supported",
        ),
        (
            "layers",
            with("digest", json!("sha256:../../x")),
            "no digest",
        ),
        ("layers", with("digest", json!("")), "digest: missing"),
        (
            "annotations",
            json!({"a": 1}),
            "annotations[\"a\"]: not a string",
        ),
    ] {
        let mut value = manifest_value();
        value[key] = field;
        let text = error(read(&value));
        assert!(text.contains(expected), "{key}: {text}");
    }
    for media_type in DOCKER_LAYERS {
        let mut value = manifest_value();
        value["layers"] = layer(media_type);
        read(&value).unwrap();
    }
}

#[test]
fn the_best_entry_is_chosen() {
    // These are for the right platform, and something else.
    let other_entry = |content: &[u8]| {
        let mut other = entry(Some("linux/amd64"));
        other["digest"] = json!(Sha256::of(content).to_string());
        other
    };
    let mut attestation = other_entry(b"attestation");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let mut signature = other_entry(b"signature");
    signature["artifactType"] = json!("application/vnd.dev.sigstore.bundle.v0.3+json");
    let mut other = other_entry(b"other");
    other["mediaType"] = json!("text/plain");
    let unknown = entry(Some("unknown/unknown"));
    let index = index_of(&[
        attestation,
        signature,
        other,
        unknown,
        entry(Some("linux/amd64/v2")),
        entry(Some("linux/amd64")),
        entry(Some("linux/arm/v5")),
        entry(Some("linux/arm/v6")),
        entry(Some("windows/amd64")),
        entry(None),
    ]);
    for (host, expected) in [
        ("linux/amd64", Some("linux/amd64")),
        ("linux/arm/v7", Some("linux/arm/v6")),
        ("linux/arm/v5", Some("linux/arm/v5")),
        ("linux/s390x", Some("")),
    ] {
        let mut parts = host.split('/');
        let mut next = || parts.next();
        let host = Platform::new(next().unwrap(), next().unwrap(), next());
        let chosen = index.choose(&host).ok().map(|chosen| chosen.digest);
        assert_eq!(
            chosen,
            expected.map(|content| Sha256::of(content.as_bytes())),
            "{host}"
        );
    }
}

#[test]
fn without_a_fitting_entry_the_platforms_are_listed() {
    let host = Platform::new("linux", "s390x", None);
    let index = index_of(&[
        entry(Some("linux/amd64")),
        entry(Some("linux/arm/v7")),
        entry(Some("linux/amd64")),
        entry(Some("unknown/unknown")),
    ]);
    assert_eq!(
        error(index.choose(&host)),
        "it has no image for linux/s390x; it has linux/amd64, linux/arm/v7"
    );
    let many: Vec<_> = (0..200)
        .map(|n| entry(Some(&format!("linux/a\n{n}"))))
        .collect();
    let text = error(index_of(&many).choose(&host));
    assert!(text.ends_with("linux/a\\n19, others"), "{text}");
    assert!(error(index_of(&[]).choose(&host)).ends_with("it has none"));
    error(index_of(&[entry(None), entry(None)]).choose(&host));
}

/// Documents by their digest, as a source has them.
#[derive(Default)]
struct Source(BTreeMap<Sha256, Vec<u8>>);

impl Source {
    fn add(&mut self, media_type: &str, value: &Value) -> Value {
        let bytes = value.to_string().into_bytes();
        let descriptor = descriptor(media_type, &bytes);
        self.0.insert(Sha256::of(&bytes), bytes);
        descriptor
    }

    fn find(&self, start: &Value) -> Result<Found> {
        let fields = Fields::new("", start).unwrap();
        let start = Descriptor::parse(&fields, u64::MAX).unwrap();
        find_manifest(&start, &Platform::host(), |descriptor| {
            self.0.get(&descriptor.digest).cloned().context("missing")
        })
    }
}

#[test]
fn indexes_lead_to_a_manifest() {
    let mut source = Source::default();
    let manifest = source.add(MANIFEST, &manifest_value());
    let mut at = manifest.clone();
    for _ in 0..INDEX_DEPTH {
        at = source.add(INDEX, &index_value(&[at]));
    }
    let found = source.find(&at).unwrap();
    assert_eq!(found.digest.to_string(), manifest["digest"]);
    assert_eq!(found.manifest.layers.len(), 2);
    let deeper = source.add(INDEX, &index_value(&[at]));
    assert!(error(source.find(&deeper)).contains("nested more than 4 deep"));
}

#[test]
fn lies_are_found() {
    let mut source = Source::default();
    let good = source.add(MANIFEST, &manifest_value());
    let mut longer = good.clone();
    longer["size"] = json!(7);
    assert!(error(source.find(&longer)).contains("not the 7 that were announced"));
    let mut huge = good.clone();
    huge["size"] = json!(u64::MAX);
    assert!(error(source.find(&huge)).contains("at most"));
    assert!(error(source.find(&descriptor(MANIFEST, b"x"))).contains("missing"));
    for bytes in source.0.values_mut() {
        bytes[0] = b' ';
    }
    assert!(error(source.find(&good)).contains("it is damaged"));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = parse(text.as_bytes());
    }
}
