//! Archives such as no tool writes: every byte is the test's.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The kinds of entries, as tar headers have them (POSIX pax, "ustar Interchange Format").
pub(crate) const FILE: u8 = b'0';
pub(crate) const HARD_LINK: u8 = b'1';
pub(crate) const SYMLINK: u8 = b'2';
pub(crate) const DEVICE: u8 = b'3';
pub(crate) const DIRECTORY: u8 = b'5';
pub(crate) const FIFO: u8 = b'6';
pub(crate) const PAX: u8 = b'x';
pub(crate) const GNU_LONG_NAME: u8 = b'L';

const BLOCK: usize = 512;

/// One entry of a tar archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    name: Vec<u8>,
    kind: u8,
    target: Vec<u8>,
    content: Vec<u8>,
    /// What the header says of the content's size.
    size: Option<Vec<u8>>,
    checksum: u32,
}

impl Entry {
    pub(crate) fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_owned(),
            kind,
            target: Vec::new(),
            content: Vec::new(),
            size: None,
            checksum: 0,
        }
    }

    pub(crate) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self::new(FILE, name).content(content)
    }

    pub(crate) fn link(kind: u8, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(kind, name);
        entry.target = target.as_ref().to_owned();
        entry
    }

    /// A PAX header with these records, whatever they are.
    pub(crate) fn pax(records: impl AsRef<[u8]>) -> Self {
        Self::new(PAX, "pax").content(records)
    }

    pub(crate) fn content(mut self, content: impl AsRef<[u8]>) -> Self {
        self.content = content.as_ref().to_owned();
        self
    }

    /// What the field `size` holds, byte for byte.
    pub(crate) fn size(mut self, field: impl AsRef<[u8]>) -> Self {
        self.size = Some(field.as_ref().to_owned());
        self
    }

    /// A checksum that is wrong.
    pub(crate) fn damaged(mut self) -> Self {
        self.checksum = 1;
        self
    }

    /// The same beneath a directory.
    fn beneath(mut self, directory: &str) -> Self {
        // The records of a PAX header hold their names themselves.
        if !matches!(self.kind, PAX | GNU_LONG_NAME) && !self.name.starts_with(b"/") {
            self.name = [directory.as_bytes(), b"/", &self.name].concat();
            if self.kind == HARD_LINK && !self.target.starts_with(b"/") {
                self.target = [directory.as_bytes(), b"/", &self.target].concat();
            }
        }
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
        put(0, &self.name[..self.name.len().min(100)]);
        put(
            100,
            if self.kind == DIRECTORY {
                b"0000755"
            } else {
                b"0000644"
            },
        );
        put(108, b"0000000");
        put(116, b"0000000");
        let size = format!("{:011o}", self.content.len()).into_bytes();
        put(124, self.size.as_ref().unwrap_or(&size));
        put(136, b"07236611421");
        put(156, &[self.kind]);
        put(157, &self.target[..self.target.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, b"0000001");
        put(337, b"0000003");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        let sum = format!("{:06o}\0 ", sum + self.checksum);
        header[148..156].copy_from_slice(sum.as_bytes());
        let mut bytes = header.to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// The bytes of an archive.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::bytes).collect();
    bytes.extend([0; 2 * BLOCK]);
    bytes
}

/// The manifest of an ACI that runs nothing.
pub(crate) fn manifest() -> Value {
    json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "example.com/hostile",
        "labels": [
            { "name": "os", "value": "linux" },
            { "name": "arch", "value": arch().0 },
        ],
        "app": { "exec": ["/bin/true"], "user": "0", "group": "0" },
    })
}

/// This machine's architecture in the words of appc and of OCI.
fn arch() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", "amd64"),
        "aarch64" => ("aarch64", "arm64"),
        other => (other, other),
    }
}

/// The entries of an ACI with these in its rootfs.
pub(crate) fn aci(entries: &[Entry]) -> Vec<Entry> {
    let manifest = Entry::file("manifest", manifest().to_string());
    let mut all = vec![manifest, Entry::new(DIRECTORY, "rootfs")];
    all.extend(entries.iter().map(|entry| entry.clone().beneath("rootfs")));
    all
}

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// The configuration of an image of these layers.
pub(crate) fn config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
    json!({
        "architecture": arch().1,
        "os": "linux",
        "config": { "Entrypoint": ["/bin/true"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

/// A `docker save` archive of these layers.
pub(crate) fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<_> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["hostile:1"], "Layers": names }]);
    let mut entries = vec![
        Entry::file("manifest.json", manifest.to_string()),
        Entry::file("config.json", config(layers).to_string()),
    ];
    entries.extend(
        names
            .iter()
            .zip(layers)
            .map(|(name, layer)| Entry::file(name, layer)),
    );
    tar(&entries)
}

/// An OCI image layout, of documents and blobs which tests then change.
pub(crate) struct Layout {
    directory: PathBuf,
    /// What is to be the image manifest.
    pub(crate) manifest: Value,
    /// What is to be the index.
    pub(crate) index: Value,
}

impl Layout {
    /// A layout of an image of these layers, uncompressed, in a new directory.
    #[track_caller]
    pub(crate) fn new(directory: PathBuf, layers: &[Vec<u8>], config: &Value) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).expect("cannot make the layout");
        fs::write(
            directory.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .expect("cannot write the layout");
        let mut layout = Self {
            directory,
            manifest: json!({ "schemaVersion": 2 }),
            index: json!({ "schemaVersion": 2 }),
        };
        let image = "application/vnd.oci.image";
        let config = config.to_string();
        layout.manifest["config"] =
            layout.blob(&format!("{image}.config.v1+json"), config.as_bytes());
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| layout.blob(&format!("{image}.layer.v1.tar"), layer))
            .collect();
        layout.manifest["layers"] = layers.into();
        layout
    }

    /// Writes a blob; its descriptor.
    #[track_caller]
    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        fs::write(self.path(&digest), bytes).expect("cannot write a blob");
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// The file of a blob.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.directory.join("blobs").join(digest.replace(':', "/"))
    }

    /// Writes the manifest, and the index if the test has made none; the directory.
    #[track_caller]
    pub(crate) fn write(&mut self) -> &Path {
        if self.index["manifests"].is_null() {
            let manifest = self.manifest.to_string();
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            let descriptor = self.blob(media_type, manifest.as_bytes());
            self.index["manifests"] = json!([descriptor]);
        }
        let index = self.index.to_string();
        fs::write(self.directory.join("index.json"), index).expect("cannot write the index");
        &self.directory
    }
}
