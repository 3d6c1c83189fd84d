//! Files by their addresses: `https://HOST/x.aci`, and small ones such as its signature.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use reqwest::header::{HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};

use super::client::{
    Network, host_of, next_chunk, pause, persist, read_beginning, read_bounded, shown,
};
use super::download::{empty, range_from, starts_at};
use super::error::{Attempt, Failure, Kind, Refusal, of_request, of_status};
use super::version::{Note, Validators, read_note, write_note};
use crate::progress::{Bar, Progress};

/// Bytes after which what is there is sure to be on the disk. There is no digest to tell, when
/// the download is resumed after a crash.
const CHECKPOINT: u64 = 16 << 20;
/// Headway after which failures are counted anew.
const HEADWAY: u64 = 4 << 20;

/// A file that is being downloaded. Both of its files are open to be read and written, and
/// locked. Dropped, they stay as they are and the download is resumed another time.
#[derive(Debug)]
pub struct PartialUrl {
    /// Its bytes so far.
    pub file: File,
    /// What they are the beginning of; written here.
    pub note: File,
}

/// What came of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is the version that is known already.
    Unchanged,
    /// It is in the file.
    File(FetchedFile),
}

/// A file that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedFile {
    /// Bytes of it.
    pub size: u64,
    /// What tells this version from others.
    pub validators: Validators,
    /// Where it was after all redirects, without what may be secret: user, password, query.
    pub url: String,
}

/// An address without what may be secret in it: user, password, query.
///
/// # Errors
/// Where it is none.
pub fn without_secrets(url: &str) -> Result<String> {
    let url = Url::parse(url).context("it is no address of a file")?;
    Ok(shown(&url))
}

impl Network {
    /// Downloads the file at `url` into `partial`, from where it stopped if the server still has
    /// the same version. Nothing is downloaded where that is the one that `known` tells of.
    ///
    /// Only the server's word and TLS say that it is the right file, and whole.
    ///
    /// # Errors
    /// Where the address is none, plain http and not allowed, or the file cannot be had or has
    /// more than `limit` bytes.
    pub fn fetch_url(
        &self,
        url: &str,
        known: Option<&Validators>,
        partial: &PartialUrl,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let url = self.parse_url(url)?;
        let context = || format!("cannot fetch {}", shown(&url));
        let client = self.client(&host_of(&url))?;
        let mut transfer =
            Transfer::new(client, &url, known, partial, limit, progress).with_context(context)?;
        let outcome = self.wait_for(transfer.run(self));
        // Also where it failed: the next attempt goes on from here.
        let noted = transfer.checkpoint();
        let fetched = outcome.map_err(|failure| failure.error);
        let fetched = fetched.with_context(context)?;
        noted?;
        Ok(fetched)
    }

    /// Downloads a small file; none where there is none.
    ///
    /// # Errors
    /// Where the address is none, plain http and not allowed, or the file cannot be had or has
    /// more than `limit` bytes.
    pub fn fetch_small(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let url = self.parse_url(url)?;
        let client = self.client(&host_of(&url))?;
        let host = host_of(&url);
        let content = self.wait_for(persist(&self.options.retry, false, async || {
            let answer = client.get(url.clone()).send().await;
            let answer = answer.map_err(|error| of_request(&error, &host))?;
            match answer.status() {
                StatusCode::OK => {
                    let content = read_bounded(answer, limit, "the file").await?;
                    Ok(Some(content))
                }
                StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
                _ => Err(refusal(answer).await),
            }
        }));
        let context = || format!("cannot fetch {}", shown(&url));
        content
            .map_err(|failure| failure.error)
            .with_context(context)
    }

    fn parse_url(&self, url: &str) -> Result<Url> {
        let parsed = Url::parse(url).ok().filter(Url::has_host);
        let parsed = parsed.context("the address is none: give https://HOST/PATH")?;
        let text = shown(&parsed);
        match parsed.scheme() {
            "https" => Ok(parsed),
            "http" if self.options.allow_http => Ok(parsed),
            "http" => bail!(
                "cannot fetch {text} over plain http: give https://, or --insecure-options=http if the network can be trusted"
            ),
            _ => bail!("cannot fetch {text}: give https://HOST/PATH"),
        }
    }
}

/// A download under way.
struct Transfer<'a> {
    client: Client,
    url: &'a Url,
    known: Option<&'a Validators>,
    partial: &'a PartialUrl,
    limit: u64,
    progress: &'a dyn Progress,
    bar: Option<Box<dyn Bar>>,
    note: Note,
    done: u64,
}

impl<'a> Transfer<'a> {
    fn new(
        client: Client,
        url: &'a Url,
        known: Option<&'a Validators>,
        partial: &'a PartialUrl,
        limit: u64,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let note = read_note(&partial.note)?;
        let done = partial.file.metadata()?.len().min(note.safe);
        partial
            .file
            .set_len(done)
            .context("cannot shorten what was downloaded before")?;
        Ok(Self {
            client,
            url,
            known,
            partial,
            limit,
            progress,
            bar: None,
            note,
            done,
        })
    }

    async fn run(&mut self, network: &Network) -> Attempt<Fetched> {
        let (mut failures, mut last) = (0, self.done);
        // The first time a wrong name shows, later ones are a matter of the network.
        let mut reached = false;
        loop {
            let failure = match self.attempt(&mut reached).await {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => failure,
            };
            if !reached && failure.kind == Kind::Unreached {
                return Err(failure);
            }
            if self.done.saturating_sub(last) >= HEADWAY {
                failures = 0;
            }
            (failures, last) = (failures + 1, self.done);
            pause(&network.options.retry, failures, failure).await?;
        }
    }

    async fn attempt(&mut self, reached: &mut bool) -> Attempt<Fetched> {
        let host = host_of(self.url);
        let request = self.client.get(self.url.clone()).headers(self.headers());
        let answer = request.send().await;
        let mut answer = answer.map_err(|error| of_request(&error, &host))?;
        *reached = true;
        match answer.status() {
            StatusCode::NOT_MODIFIED if self.known.is_some() => return Ok(Fetched::Unchanged),
            StatusCode::OK => self.begin(&answer)?,
            StatusCode::PARTIAL_CONTENT if self.continues(&answer) => self.go_on(&answer)?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if self.done > 0 => {
                self.start_anew(Validators::default())?;
                return Err(Failure::soon(anyhow!(
                    "{host} does not continue where the download stopped"
                )));
            }
            _ => return Err(refusal(answer).await),
        }
        let host = host_of(answer.url());
        while let Some(chunk) = next_chunk(&mut answer, &host).await? {
            self.take(&chunk)?;
        }
        if let Some(bar) = &self.bar {
            bar.finish();
        }
        Ok(Fetched::File(FetchedFile {
            size: self.done,
            validators: self.note.validators.clone(),
            url: shown(answer.url()),
        }))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name, value: Option<&String>| {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        };
        if let Some(known) = self.known {
            set(IF_NONE_MATCH, known.etag.as_ref());
            set(IF_MODIFIED_SINCE, known.last_modified.as_ref());
        }
        if let (true, Some(same)) = (self.done > 0, self.note.validators.strong()) {
            set(IF_RANGE, Some(same));
            headers.insert(RANGE, range_from(self.done));
        }
        headers
    }

    /// Whether an answer goes on with what is there.
    fn continues(&self, answer: &Response) -> bool {
        let validators = Validators::of(answer.headers());
        let same = match validators.strong() {
            Some(strong) => Some(strong) == self.note.validators.strong(),
            None => true,
        };
        self.done > 0 && same && starts_at(answer) == Some(self.done)
    }

    /// The file comes from its beginning.
    fn begin(&mut self, answer: &Response) -> Result<()> {
        self.start_anew(Validators::of(answer.headers()))?;
        let size = answer.content_length();
        self.check(size.unwrap_or(0))?;
        self.bar = Some(self.progress.start(&self.name(), size));
        Ok(())
    }

    /// The rest of the file comes.
    fn go_on(&mut self, answer: &Response) -> Result<()> {
        let rest = answer.content_length();
        self.check(rest.unwrap_or(0))?;
        if self.bar.is_none() {
            let size = rest.map(|rest| self.done + rest);
            let bar = self.progress.start(&self.name(), size);
            bar.advance(self.done);
            self.bar = Some(bar);
        }
        Ok(())
    }

    fn start_anew(&mut self, validators: Validators) -> Result<()> {
        empty(&self.partial.file)?;
        self.done = 0;
        self.note = Note {
            validators,
            safe: 0,
        };
        write_note(&self.partial.note, &self.note)
    }

    fn take(&mut self, chunk: &[u8]) -> Result<()> {
        self.check(chunk.len() as u64)?;
        let written = self.partial.file.write_all_at(chunk, self.done);
        written.context("cannot write what is downloaded")?;
        self.done += chunk.len() as u64;
        if let Some(bar) = &self.bar {
            bar.advance(chunk.len() as u64);
        }
        if self.done - self.note.safe >= CHECKPOINT {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Checks that `more` bytes may come.
    fn check(&self, more: u64) -> Result<()> {
        let limit = self.limit;
        ensure!(
            more <= limit.saturating_sub(self.done),
            "it has more than the {limit} bytes that an image may have"
        );
        Ok(())
    }

    /// Makes sure of what is there, so that it is not downloaded again.
    fn checkpoint(&mut self) -> Result<()> {
        if self.done == self.note.safe {
            return Ok(());
        }
        self.partial
            .file
            .sync_data()
            .context("cannot write what is downloaded to the disk")?;
        self.note.safe = self.done;
        write_note(&self.partial.note, &self.note)
    }

    /// What progress calls it: the last part of the path.
    fn name(&self) -> String {
        let name = self.url.path().rsplit('/').next().unwrap_or_default();
        match name {
            "" => host_of(self.url),
            name => name.to_owned(),
        }
    }
}

/// What an answer that is no success means.
async fn refusal(answer: Response) -> Failure {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let host = host_of(answer.url());
    let body = read_beginning(answer).await;
    of_status(&Refusal {
        what: "the file",
        host: &host,
        status,
        headers: &headers,
        body: &body,
        login: false,
    })
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
