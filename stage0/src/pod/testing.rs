//! Images and programs that unit tests make pods of.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use crate::image::id::ImageId;
use crate::image::manifest::ImageManifest;
use crate::image::unpack::LeftOut;
use crate::store::{Documents, Image, ImageName, TreeKey};

/// An image whose tree is at `tree` and holds these executable files, with this manifest.
pub fn image(tree: &Path, programs: &[&str], manifest: ImageManifest) -> Image {
    for program in programs {
        let path = tree.join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let id = ImageId::from_digest(&[7; 64]);
    Image {
        names: vec![ImageName {
            name: manifest.name.clone(),
            version: None,
        }],
        manifest,
        documents: Documents::default(),
        key: TreeKey::of_image(&id),
        id,
        tree: tree.to_owned(),
        layers: Vec::new(),
        origin: "test".to_owned(),
        digest: None,
        validators: None,
        signature: None,
        imported: SystemTime::UNIX_EPOCH,
        last_used: None,
        size: 0,
        left_out: LeftOut::default(),
    }
}

/// What passes for a static program: the header of a 64-bit one without segments.
pub fn static_program() -> tempfile::NamedTempFile {
    let mut header = [0; 64];
    header[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let program = tempfile::NamedTempFile::new().unwrap();
    fs::write(program.path(), header).unwrap();
    program
}

/// The manifest of an appc image, `app` its app section.
pub fn manifest(app: &Value, annotations: &Value) -> ImageManifest {
    let manifest = serde_json::json!({
        "acVersion": "0.8.11", "acKind": "ImageManifest", "name": "example.com/web",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
        "app": app, "annotations": annotations,
    });
    ImageManifest::parse(manifest.to_string().as_bytes()).unwrap()
}
