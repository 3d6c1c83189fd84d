//! From the name of an image to its documents, each checked against its digest; then to its
//! layers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response};

use super::client::{persist, read_bounded};
use super::error::{Attempt, Failure};
use super::session::Registry;
use super::sink::BlobSink;
use crate::image::blob::Sha256;
use crate::image::oci::config::diff_ids;
use crate::image::oci::document::{DOCUMENT_MAX, Descriptor, Found, find_manifest};
use crate::image::oci::platform::Platform;
use crate::image::oci::{Layer, OciImage};
use crate::progress::Progress;

/// What a manifest may be.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// The header with the digest of a manifest (distribution-spec, "Pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";

/// An image in a registry whose documents are known and checked, and whose layers are not
/// fetched yet.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The digest of what the reference names now: of an index, or of the image manifest.
    pub digest: Sha256,
    /// The image manifest for the platform.
    pub found: Found,
    /// The image configuration, as it came.
    pub config: Vec<u8>,
    /// The digests of the uncompressed layers, as many as there are layers.
    diff_ids: Vec<Sha256>,
}

impl Registry<'_> {
    /// Asks for the digest of what the reference names now. It is not checked against anything:
    /// the image is only what [`Self::resolve`] finds.
    ///
    /// # Errors
    /// Where the registry does not tell, or has no such image.
    pub fn digest(&self) -> Result<Sha256> {
        let retry = &self.network.options.retry;
        let found = self.network.wait_for(persist(retry, false, async || {
            let answer = self
                .manifest(Method::HEAD, &self.reference.reference())
                .await?;
            if let Some(digest) = announced(&answer) {
                return Ok(digest);
            }
            let (bytes, _) = self.top().await?;
            Ok(Sha256::of(&bytes))
        }));
        let context = || format!("cannot look up docker://{}", self.reference);
        found.map_err(|failure| failure.error).with_context(context)
    }

    /// Fetches the documents of the image for `platform`.
    ///
    /// # Errors
    /// Where there is no such image, none for the platform, or a document is not what it should
    /// be.
    pub fn resolve(&self, platform: &Platform) -> Result<Resolved> {
        let context = || format!("cannot fetch docker://{}", self.reference);
        self.resolve_documents(platform).with_context(context)
    }

    fn resolve_documents(&self, platform: &Platform) -> Result<Resolved> {
        let (bytes, start) = self.persist(async || {
            let (bytes, media_type) = self.top().await?;
            let start = self.describe(&bytes, media_type)?;
            Ok((bytes, start))
        })?;
        let digest = start.digest;
        let mut first = Some(bytes);
        let found = find_manifest(&start, platform, |descriptor| match first.take() {
            Some(bytes) => Ok(bytes),
            None => self.persist(async || {
                let answer = self
                    .manifest(Method::GET, &descriptor.digest.to_string())
                    .await?;
                read_bounded(answer, DOCUMENT_MAX, "the manifest").await
            }),
        })?;
        let config = self.config(&found.manifest.config)?;
        let diff_ids = diff_ids(&config).context("the image configuration")?;
        let (layers, ids) = (found.manifest.layers.len(), diff_ids.len());
        ensure!(
            layers == ids,
            "the manifest has {layers} layers and the configuration {ids} diff_ids: the image is damaged"
        );
        Ok(Resolved {
            digest,
            found,
            config,
            diff_ids,
        })
    }

    /// Fetches the layers that `sink` does not have yet, several at once.
    ///
    /// # Errors
    /// Where one cannot be had or is not what it should be. What has come stays in the sink and
    /// is not fetched again.
    pub fn fetch(
        &self,
        resolved: &Resolved,
        sink: &dyn BlobSink,
        progress: &dyn Progress,
    ) -> Result<OciImage> {
        let descriptors = &resolved.found.manifest.layers;
        let context = || format!("cannot fetch docker://{}", self.reference);
        let blobs = self
            .download(descriptors, sink, progress)
            .with_context(context)?;
        let layers = descriptors.iter().zip(&resolved.diff_ids).zip(blobs);
        Ok(OciImage {
            manifest: Some((resolved.found.digest, resolved.found.bytes.clone())),
            config: resolved.config.clone(),
            names: vec![self.reference.to_name()],
            layers: layers
                .map(|((descriptor, diff_id), blob)| Layer {
                    digest: Some(descriptor.digest),
                    diff_id: *diff_id,
                    blob,
                })
                .collect(),
        })
    }

    /// Does something until it succeeds or is to be given up.
    fn persist<T>(&self, attempt: impl AsyncFnMut() -> Attempt<T>) -> Result<T> {
        let retry = &self.network.options.retry;
        let done = self.network.wait_for(persist(retry, false, attempt));
        done.map_err(|failure| failure.error)
    }

    /// What the reference names, and the media type that the registry says it has.
    async fn top(&self) -> Attempt<(Vec<u8>, String)> {
        let answer = self
            .manifest(Method::GET, &self.reference.reference())
            .await?;
        let media_type = answer.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let announced = announced(&answer);
        let bytes = read_bounded(answer, DOCUMENT_MAX, "the manifest").await?;
        let digest = Sha256::of(&bytes);
        if let Some(expected) = self.reference.digest.or(announced)
            && digest != expected
        {
            return Err(Failure::never(anyhow!(
                "the manifest that {} sends has the digest {digest}, not {expected}: it is damaged or not the one that was asked for",
                self.reference.registry
            )));
        }
        Ok((bytes, media_type))
    }

    fn describe(&self, bytes: &[u8], media_type: String) -> Result<Descriptor> {
        Ok(Descriptor {
            media_type,
            digest: Sha256::of(bytes),
            size: bytes.len() as u64,
            platform: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        })
    }

    async fn manifest(&self, method: Method, target: &str) -> Attempt<Response> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(MANIFESTS));
        let answer = self
            .ask(method, &format!("manifests/{target}"), &headers)
            .await?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(self.refusal("the manifest", answer).await),
        }
    }

    /// The image configuration.
    fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let path = format!("blobs/{}", descriptor.digest);
        let config = self.persist(async || {
            let answer = self.ask(Method::GET, &path, &HeaderMap::new()).await?;
            if !answer.status().is_success() {
                return Err(self.refusal("the image configuration", answer).await);
            }
            read_bounded(answer, DOCUMENT_MAX, "the image configuration").await
        })?;
        descriptor
            .verify(&config)
            .context("the image configuration")?;
        Ok(config)
    }
}

/// The digest that an answer says a manifest has, where skim can check it.
fn announced(answer: &Response) -> Option<Sha256> {
    let value = answer.headers().get(CONTENT_DIGEST)?.to_str().ok()?;
    Sha256::parse(value).ok()
}
