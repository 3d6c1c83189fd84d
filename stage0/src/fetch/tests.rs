use std::fs;
use std::io::Write;

use tempfile::TempDir;

use super::*;
use crate::image::oci::fixture::Layout;
use crate::image::testing::{Archive, message};

const POLICY: &str = r#"{ "skimKind": "policy", "skimVersion": "v1", "rules": [
    { "prefix": "*", "accept": [] },
    { "prefix": "allowed.example", "accept": ["any"] },
    { "prefix": "docker.io/library/postgres", "accept": ["pinned"] } ] }"#;

/// A store, a policy, and a layout with one image.
struct Lab {
    dir: TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("etc/policy.d")).unwrap();
        fs::write(dir.path().join("etc/policy.d/test.json"), POLICY).unwrap();
        let store = Store::open(&dir.path().join("skim")).unwrap();
        Self { dir, store }
    }

    /// The image's layout; it has these names.
    fn layout(&self, names: &[&str]) -> String {
        let layer = Archive::empty().file("file", b"x").finish();
        let mut layout = Layout::new();
        let image = layout.add_image(&[&layer]);
        for name in names {
            layout.entry(
                image.clone(),
                &[("org.opencontainers.image.ref.name", name)],
            );
        }
        let path = self.dir.path().join("layout");
        // Of another time there may be one with other names.
        let _ = fs::remove_dir_all(&path);
        layout.write(&path);
        format!("oci:{}", path.display())
    }

    fn fetch(&self, reference: &str, signature: Option<PathBuf>) -> Result<Image> {
        let reference = Reference::parse(reference).unwrap();
        testing::fetch(
            &self.store,
            &self.dir.path().join("etc"),
            signature,
            &reference,
        )
    }
}

#[test]
fn every_name_that_an_image_brings_is_asked_for() {
    let lab = Lab::new();
    let both = lab.layout(&["allowed.example/x:1", "docker.io/library/postgres:1"]);
    let text = message(lab.fetch(&both, None));
    assert!(text.contains("docker.io/library/postgres"), "{text}");
    assert_eq!(lab.store.list().unwrap(), []);
    let image = lab
        .fetch(&lab.layout(&["allowed.example/x:1"]), None)
        .unwrap();
    for reference in ["allowed.example/x", "allowed.example/x:1", image.id.short()] {
        assert_eq!(
            lab.fetch(reference, None).unwrap().id,
            image.id,
            "{reference}"
        );
    }
}

#[test]
fn an_image_is_pinned_by_its_whole_id_alone() {
    let lab = Lab::new();
    let pinned = lab.layout(&["docker.io/library/postgres:1"]);
    message(lab.fetch(&pinned, None));
    // As it was imported before there was a policy.
    let policy = lab.dir.path().join("etc/policy.d/test.json");
    fs::rename(&policy, lab.dir.path().join("aside")).unwrap();
    let image = lab.fetch(&pinned, None).unwrap();
    fs::rename(lab.dir.path().join("aside"), &policy).unwrap();
    for reference in ["postgres", "docker://postgres:1", image.id.short()] {
        let text = message(lab.fetch(reference, None));
        assert!(text.contains("postgres"), "{reference}: {text}");
    }
    assert_eq!(lab.fetch(image.id.as_str(), None).unwrap().id, image.id);
    let digest = image.id.as_str().replace('-', ":");
    let reference = format!("docker://postgres@{digest}");
    assert_eq!(lab.fetch(&reference, None).unwrap().id, image.id);
    // Under another name another rule holds.
    message(lab.fetch(&format!("docker://other.example/x@{digest}"), None));
}

#[test]
fn a_signature_that_nothing_would_check_is_refused() {
    let lab = Lab::new();
    let layout = lab.layout(&["allowed.example/x:1"]);
    let image = lab.fetch(&layout, None).unwrap();
    let path = layout.strip_prefix("oci:").unwrap();
    for reference in [&*layout, path, image.id.short(), "allowed.example/x"] {
        let text = message(lab.fetch(reference, Some("/dev/null".into())));
        assert!(text.contains("signature"), "{reference}: {text}");
    }
}

#[test]
fn a_compressed_archive_of_images_is_told_by_what_comes_last() {
    let lab = Lab::new();
    // Larger than the beginning that is looked at first.
    let layer = Archive::empty().file("file", &vec![7; 3 << 20]).finish();
    let mut layout = Layout::new();
    let image = layout.add_image(&[&layer]);
    layout.entry(
        image,
        &[("org.opencontainers.image.ref.name", "allowed.example/x:1")],
    );
    let archive = layout.archive();
    let path = lab.dir.path().join("saved.tar.gz");
    let file = fs::File::create(&path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder
        .write_all(&archive.read(archive.size).unwrap())
        .unwrap();
    encoder.finish().unwrap();
    let image = lab.fetch(path.to_str().unwrap(), None).unwrap();
    assert_eq!(image.names[0].to_string(), "allowed.example/x:1");
    assert!(image.origin.starts_with("oci-archive:"), "{}", image.origin);
}
