//! Blobs come into files: several at once, each checked on its way, each resumed where it
//! stopped.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::stream::{StreamExt, TryStreamExt, iter};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256 as Hasher};

use super::client::{host_of, next_chunk, pause};
use super::error::{Attempt, Failure};
use super::session::Registry;
use super::sink::{BlobSink, Claim, PartialBlob};
use crate::image::blob::{Blob, Sha256};
use crate::image::oci::document::Descriptor;
use crate::progress::{Bar, Progress};

/// Blobs that come at once.
const PARALLEL: usize = 4;
/// Bytes that are read of a file at once.
const BUFFER: usize = 128 << 10;
/// Headway after which failures are counted anew: a long download may fail now and then.
const HEADWAY: u64 = 4 << 20;

impl Registry<'_> {
    /// Downloads what `descriptors` name and `sink` does not have yet, and gives it in their
    /// order.
    ///
    /// # Errors
    /// Where one of them cannot be had, or is not what it should be. What has come of the others
    /// stays for another time.
    pub(super) fn download(
        &self,
        descriptors: &[Descriptor],
        sink: &dyn BlobSink,
        progress: &dyn Progress,
    ) -> Result<Vec<Blob>> {
        let mut sizes = BTreeMap::new();
        for Descriptor { digest, size, .. } in descriptors {
            ensure!(
                *sizes.entry(*digest).or_insert(*size) == *size,
                "the manifest gives layer {digest} two sizes: it is damaged"
            );
        }
        let mut blobs = BTreeMap::new();
        let mut missing = Vec::new();
        for (digest, size) in sizes {
            match sink.claim(&digest)? {
                Claim::Whole(blob) => drop(blobs.insert(digest, blob)),
                Claim::Partial(partial) => missing.push((partial, size)),
            }
        }
        let downloads = iter(missing).map(|(partial, size)| async move {
            let digest = partial.digest;
            let context = || format!("layer {}", digest.short());
            let bar = progress.start(&digest.short(), Some(size));
            let mut download = Download::new(partial, size, &*bar)?;
            download
                .run(self)
                .await
                .map_err(|failure| failure.error)
                .with_context(context)?;
            bar.finish();
            Ok::<_, anyhow::Error>((digest, sink.complete(download.partial)?))
        });
        let downloads = downloads.buffer_unordered(PARALLEL).try_collect::<Vec<_>>();
        blobs.extend(self.network.wait_for(downloads)?);
        let ordered = descriptors.iter().map(|descriptor| {
            let blob = blobs.get(&descriptor.digest).cloned();
            blob.with_context(|| format!("layer {} was lost", descriptor.digest))
        });
        ordered.collect()
    }
}

/// A blob on its way into its file.
struct Download<'b> {
    partial: PartialBlob,
    size: u64,
    bar: &'b dyn Bar,
    /// Bytes that the bar has been told of: it does not go back.
    told: u64,
    /// Of the first `done` bytes of the file.
    hasher: Hasher,
    done: u64,
    /// Whether bytes of another time are among them.
    resumed: bool,
}

impl<'b> Download<'b> {
    fn new(partial: PartialBlob, size: u64, bar: &'b dyn Bar) -> Result<Self> {
        let mut download = Self {
            partial,
            size,
            bar,
            told: 0,
            hasher: Hasher::new(),
            done: 0,
            resumed: false,
        };
        let there = download.partial.file.metadata()?.len();
        if there > size {
            download.start_anew()?;
        } else {
            download.take_in(there)?;
            download.resumed = there > 0;
        }
        Ok(download)
    }

    /// Hashes the bytes that are there from another time.
    fn take_in(&mut self, there: u64) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        while self.done < there {
            let most = BUFFER.min(usize::try_from(there - self.done).unwrap_or(BUFFER));
            let part = &mut buffer[..most];
            let read = self.partial.file.read_exact_at(part, self.done);
            read.context("cannot read what was downloaded before")?;
            self.hasher.update(&*part);
            self.count(most as u64);
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.done += bytes;
        let news = self.done.saturating_sub(self.told);
        self.told += news;
        self.bar.advance(news);
    }

    /// Throws away what there is.
    fn start_anew(&mut self) -> Result<()> {
        empty(&self.partial.file)?;
        self.hasher = Hasher::new();
        self.done = 0;
        self.resumed = false;
        Ok(())
    }

    /// Gets all of the blob.
    async fn run(&mut self, registry: &Registry<'_>) -> Attempt<()> {
        loop {
            self.complete(registry).await?;
            let digest = Sha256::new(std::mem::take(&mut self.hasher).finalize().into());
            if digest == self.partial.digest {
                return Ok(());
            }
            let resumed = self.resumed;
            self.start_anew()?;
            if !resumed {
                return Err(Failure::damaged(format!(
                    "what {} sends has the digest {digest}, not {}: it is damaged, and thrown away",
                    registry.reference.registry, self.partial.digest
                )));
            }
            // A crash may have left bytes in the file that never came to the disk.
            log::warn!(
                "layer {}: what was left of an earlier download is damaged, and thrown away",
                self.partial.digest.short()
            );
        }
    }

    /// Gets what is missing of the bytes.
    async fn complete(&mut self, registry: &Registry<'_>) -> Attempt<()> {
        let retry = &registry.network.options.retry;
        let (mut failures, mut last) = (0, self.done);
        while self.done < self.size {
            let Err(failure) = self.attempt(registry).await else {
                continue;
            };
            if self.done.saturating_sub(last) >= HEADWAY {
                failures = 0;
            }
            (failures, last) = (failures + 1, self.done);
            pause(retry, failures, failure).await?;
        }
        Ok(())
    }

    /// Asks for the rest once, and takes what comes of it.
    async fn attempt(&mut self, registry: &Registry<'_>) -> Attempt<()> {
        let mut headers = HeaderMap::new();
        if self.done > 0 {
            headers.insert(RANGE, range_from(self.done));
        }
        let path = format!("blobs/{}", self.partial.digest);
        let mut answer = registry.ask(Method::GET, &path, &headers).await?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&answer) == Some(self.done) => {}
            // The server does not know ranges, or not this one.
            StatusCode::OK => self.start_anew_unless_at_start()?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if self.done > 0 => {
                self.start_anew()?;
                return Err(Failure::soon(anyhow!(
                    "{} does not continue where the download stopped",
                    registry.reference.registry
                )));
            }
            status => {
                let gone = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
                let failure = registry.refusal("the layer", answer).await;
                return Err(match gone {
                    // The rest of such an image is of no use.
                    true => Failure::damaged(format!("{:#}", failure.error)),
                    false => failure,
                });
            }
        }
        let host = host_of(answer.url());
        if let Some(announced) = whole_size(&answer).filter(|announced| *announced != self.size) {
            self.start_anew()?;
            return Err(Failure::damaged(format!(
                "{host} has {announced} bytes of it, and the manifest announces {}: it is thrown away",
                self.size
            )));
        }
        while let Some(chunk) = next_chunk(&mut answer, &host).await? {
            self.take(&chunk, &host)?;
        }
        if self.done < self.size {
            return Err(Failure::soon(anyhow!(
                "the answer of {host} ended too early"
            )));
        }
        Ok(())
    }

    fn start_anew_unless_at_start(&mut self) -> Result<()> {
        if self.done > 0 {
            self.start_anew()?;
        }
        Ok(())
    }

    fn take(&mut self, chunk: &[u8], host: &str) -> Attempt<()> {
        let size = self.size;
        if chunk.len() as u64 > size - self.done {
            self.start_anew()?;
            return Err(Failure::damaged(format!(
                "{host} sends more than the {size} bytes that the manifest announces: it is thrown away"
            )));
        }
        let written = self.partial.file.write_all_at(chunk, self.done);
        written.context("cannot write what is downloaded")?;
        self.hasher.update(chunk);
        self.count(chunk.len() as u64);
        Ok(())
    }
}

/// Takes away all bytes of a file.
pub(super) fn empty(file: &File) -> Result<()> {
    file.set_len(0)
        .context("cannot throw away what was downloaded")
}

/// The header that asks for the bytes from `offset` on (RFC 9110, 14.2).
pub(super) fn range_from(offset: u64) -> HeaderValue {
    // Digits are always fit for a header.
    HeaderValue::try_from(format!("bytes={offset}-"))
        .unwrap_or(HeaderValue::from_static("bytes=0-"))
}

/// Where the bytes of an answer belong (RFC 9110, 14.4).
pub(super) fn starts_at(answer: &Response) -> Option<u64> {
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

/// How many bytes the whole has of which an answer gives all or a part.
fn whole_size(answer: &Response) -> Option<u64> {
    if answer.status() == StatusCode::OK {
        return answer.content_length();
    }
    let range = answer.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.rsplit_once('/')?.1.trim().parse().ok()
}
