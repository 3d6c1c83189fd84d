//! Images from registries that misbehave in every way there is a rule for: what the tests share.

mod documents;
mod downloads;
mod logins;

use anyhow::Result;
use oci_client::secrets::RegistryAuth;
use serde_json::json;
use tempfile::TempDir;

use super::testing::{Directory, Reply, Request, Server, network};
use crate::image::blob::Sha256;
use crate::image::oci::OciImage;
use crate::image::oci::platform::Platform;
use crate::image::reference::RegistryReference;
use crate::progress::Silent;

/// An image of two layers (three descriptors: one is there twice) for amd64, in an index.
#[derive(Clone)]
struct Fixture {
    layers: [Vec<u8>; 2],
    config: Vec<u8>,
    manifest: Vec<u8>,
    index: Vec<u8>,
}

fn descriptor(kind: &str, content: &[u8]) -> serde_json::Value {
    let media_type = format!("application/vnd.oci.image.{kind}");
    json!({"mediaType": media_type, "digest": Sha256::of(content), "size": content.len()})
}

impl Fixture {
    fn new() -> Self {
        Self::with_diff_ids(&[0, 1, 0])
    }

    /// One whose configuration tells of these layers.
    fn with_diff_ids(told: &[usize]) -> Self {
        let layers = [b"first".repeat(10_000), b"second".repeat(10_000)];
        let diff_ids: Vec<_> = told.iter().map(|i| Sha256::of(&layers[*i])).collect();
        let config = json!({
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let descriptors = [0, 1, 0].map(|i: usize| descriptor("layer.v1.tar", &layers[i]));
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "config": descriptor("config.v1+json", &config),
            "layers": descriptors.as_slice(),
        }));
        let manifest = manifest.unwrap();
        let mut entry = descriptor("manifest.v1+json", &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let mut other = descriptor("manifest.v1+json", b"another");
        other["platform"] = json!({"os": "linux", "architecture": "s390x"});
        let index = json!({"schemaVersion": 2, "manifests": [other, entry]});
        let index = serde_json::to_vec(&index).unwrap();
        Self {
            layers,
            config,
            manifest,
            index,
        }
    }

    /// What an honest registry answers.
    fn reply(&self, request: &Request) -> Reply {
        let path = request
            .path
            .strip_prefix("/v2/team/app/")
            .unwrap_or_default();
        if request.path == "/v2/" {
            return Reply::new(200, "{}");
        }
        if path == "manifests/1" {
            return Reply::new(200, self.index.clone())
                .header("docker-content-digest", Sha256::of(&self.index));
        }
        let documents = [&self.config, &self.manifest, &self.index];
        let all = documents.into_iter().chain(&self.layers);
        for content in all {
            if path.ends_with(&Sha256::of(content).to_string()) {
                return Reply::ranged(request, content);
            }
        }
        Reply::new(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":""}]}"#,
        )
    }

    fn path(&self, layer: usize) -> String {
        format!("blobs/{}", Sha256::of(&self.layers[layer]))
    }
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn reference(server: &Server, rest: &str) -> RegistryReference {
    RegistryReference::parse(&format!("{}/team/app{rest}", server.address)).unwrap()
}

fn user() -> RegistryAuth {
    RegistryAuth::Basic("user".to_owned(), "hunter2".to_owned())
}

struct Pull<'s> {
    server: &'s Server,
    auth: RegistryAuth,
    directory: TempDir,
}

impl<'s> Pull<'s> {
    fn new(server: &'s Server) -> Self {
        Self {
            server,
            auth: RegistryAuth::Anonymous,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn sink(&self) -> Directory {
        Directory(self.directory.path().into())
    }

    fn run(&self) -> Result<OciImage> {
        let network = network();
        let registry = network.registry(&reference(self.server, ":1"), self.auth.clone())?;
        let resolved = registry.resolve(&amd64())?;
        registry.fetch(&resolved, &self.sink(), &Silent)
    }

    /// Runs, and checks that all came as it should.
    fn succeeds(&self) {
        let (fixture, image) = (Fixture::new(), self.run().unwrap());
        assert_eq!(image.config, fixture.config);
        for (layer, i) in image.layers.iter().zip([0, 1, 0]) {
            assert_eq!(layer.blob.read(1 << 20).unwrap(), fixture.layers[i]);
            assert_eq!(layer.diff_id, Sha256::of(&fixture.layers[i]));
        }
    }

    fn fails(&self) -> String {
        let text = format!("{:#}", self.run().unwrap_err());
        assert!(
            !text.contains(char::is_control) && !text.contains("hunter2"),
            "{text}"
        );
        text
    }
}
