//! Images for tests: the files of a layout or of `docker save`, to be written to a directory or
//! an archive, and to be damaged.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::platform::Platform;
use crate::image::blob::{Blob, Sha256};
use crate::image::testing::Archive;
pub use crate::image::testing::blob;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A descriptor of `content`.
pub fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Sha256::of(content).to_string(), "size": content.len()})
}

/// A configuration for this host, of layers with this content.
pub fn config(layers: &[&[u8]]) -> Value {
    let host = Platform::host();
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| Sha256::of(layer).to_string())
        .collect();
    json!({
        "os": "linux", "architecture": host.architecture, "variant": host.variant,
        "config": {"Cmd": ["/bin/app"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// Where a layout has the bytes with this content.
pub fn blob_path(content: &[u8]) -> String {
    super::layout::blob_path(&Sha256::of(content))
}

/// The files of a layout, by their paths.
pub struct Layout {
    pub files: BTreeMap<String, Vec<u8>>,
    entries: Vec<Value>,
}

impl Layout {
    /// Without an image.
    pub fn new() -> Self {
        let version = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        Self {
            files: BTreeMap::from([("oci-layout".to_owned(), version.into_bytes())]),
            entries: Vec::new(),
        }
    }

    /// Adds bytes and gives their descriptor.
    pub fn add(&mut self, media_type: &str, content: &[u8]) -> Value {
        self.files.insert(blob_path(content), content.to_vec());
        descriptor(media_type, content)
    }

    /// Adds an image of these layers and gives the descriptor of its manifest.
    pub fn add_image(&mut self, layers: &[&[u8]]) -> Value {
        let config = config(layers).to_string();
        let config = self.add(CONFIG, config.as_bytes());
        let layers: Vec<_> = layers.iter().map(|layer| self.add(LAYER, layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.add(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Adds an entry to the index.
    pub fn entry(&mut self, mut descriptor: Value, annotations: &[(&str, &str)]) {
        for (key, value) in annotations {
            descriptor["annotations"][key] = json!(value);
        }
        self.entries.push(descriptor);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries});
        self.files
            .insert("index.json".to_owned(), index.to_string().into_bytes());
    }

    /// With one image of two layers, and this tag.
    pub fn with_image(tag: &str) -> Self {
        let mut layout = Self::new();
        let image = layout.add_image(&[b"one", b"two"]);
        layout.entry(image, &[(REF_NAME, tag)]);
        layout
    }

    /// Writes all to a directory.
    pub fn write(&self, directory: &Path) {
        for (path, content) in &self.files {
            let path = directory.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    /// All in a plain tar archive.
    pub fn archive(&self) -> Blob {
        let mut archive = Archive::empty().directory("blobs/");
        for (path, content) in &self.files {
            archive = archive.file(path, content);
        }
        blob(&archive.finish())
    }
}
