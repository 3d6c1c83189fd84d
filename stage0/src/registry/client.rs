//! The HTTP client that all requests go through, and how failures that may pass are outlasted.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use reqwest::redirect::{Action, Attempt as Redirect, Policy};
use reqwest::{Client, Response, Url};
use tokio::runtime::Runtime;

use super::error::{Attempt, Failure, Kind, RefusedRedirect, of_request};
use super::options::{NetworkOptions, Retry};

/// Redirects that are followed for one request.
const REDIRECTS: usize = 10;
/// What skim calls itself.
pub(super) const USER_AGENT: &str = concat!("skim/", env!("CARGO_PKG_VERSION"));

/// What images are fetched through. Its functions block until they are done.
///
/// Proxies are taken from `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` by the HTTP
/// library.
#[derive(Debug)]
pub struct Network {
    runtime: Runtime,
    pub(super) options: NetworkOptions,
}

impl Network {
    /// Makes ready. Nothing is sent yet.
    ///
    /// # Errors
    /// Where the system refuses what an event loop needs.
    pub fn new(options: NetworkOptions) -> Result<Self> {
        // It fails where there is a default already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot set up the network")?;
        Ok(Self { runtime, options })
    }

    /// The client for requests that go to `host`, `HOST[:PORT]`, first.
    pub(super) fn client(&self, host: &str) -> Result<Client> {
        let mut certificates = Vec::new();
        for pem in self.options.certificates_for(host)? {
            let parsed = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| {
                anyhow!("a certificate among those for {host} in certs.d is broken")
            })?;
            certificates.extend(parsed);
        }
        Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(self.options.connect_timeout)
            .read_timeout(self.options.idle_timeout)
            .tls_certs_merge(certificates)
            .tls_danger_accept_invalid_certs(!self.options.tls_verify)
            .referer(false)
            .redirect(Policy::custom(redirect))
            .build()
            .map_err(|error| {
                let failure = of_request(&error, host);
                failure.error.context("cannot set up TLS: install ca-certificates, or name a file with CAs in SSL_CERT_FILE")
            })
    }

    /// Waits for `future`.
    pub(super) fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Follows a redirect, unless it leads from https to plain http.
///
/// The library takes `Authorization` away when the scheme, the host or the port changes.
fn redirect(attempt: Redirect<'_>) -> Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if secure && attempt.url().scheme() != "https" {
        let from = attempt.previous().last().map(host_of).unwrap_or_default();
        let to = shown(attempt.url());
        return attempt.error(RefusedRedirect(format!(
            "{from} redirects from https to {to}, which is refused"
        )));
    }
    attempt.follow()
}

/// `HOST[:PORT]` of an address.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// An address without what may be secret in it: password, query.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_of(url), url.path())
}

/// All of an answer, which has at most `limit` bytes.
pub(super) async fn read_bounded(
    mut response: Response,
    limit: u64,
    what: &str,
) -> Attempt<Vec<u8>> {
    let host = host_of(response.url());
    let mut content = Vec::new();
    while let Some(chunk) = next_chunk(&mut response, &host).await? {
        if content.len() as u64 + chunk.len() as u64 > limit {
            return Err(Failure::never(anyhow!(
                "{host} sends more for {what} than the {limit} bytes that are taken"
            )));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// The beginning of an answer that is an error, as far as it can be had.
pub(super) async fn read_beginning(mut response: Response) -> Vec<u8> {
    const BEGINNING: usize = 16 << 10;
    let mut content = Vec::new();
    // A failure to read why something failed does not matter beside the failure.
    while content.len() < BEGINNING
        && let Ok(Some(chunk)) = response.chunk().await
    {
        content.extend_from_slice(&chunk[..chunk.len().min(BEGINNING - content.len())]);
    }
    content
}

/// The next bytes of an answer; none at its end.
pub(super) async fn next_chunk(
    response: &mut Response,
    host: &str,
) -> Attempt<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>> {
    let chunk = response.chunk().await;
    chunk.map_err(|error| of_request(&error, host))
}

/// Does something until it succeeds, fails for good or has failed too often. A server that was
/// not reached at all is tried again only where `patient`, as its name may be wrong.
pub(super) async fn persist<T>(
    retry: &Retry,
    patient: bool,
    mut attempt: impl AsyncFnMut() -> Attempt<T>,
) -> Attempt<T> {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) if failure.kind == Kind::Unreached && !patient => return Err(failure),
            Err(failure) => {
                failures += 1;
                pause(retry, failures, failure).await?;
            }
        }
    }
}

/// Waits after the `failures`th failure in a row, or fails where it is to be given up.
pub(super) async fn pause(retry: &Retry, failures: u32, failure: Failure) -> Attempt<()> {
    let asked = match failure.kind {
        Kind::Final | Kind::NoTls => return Err(failure),
        Kind::Unreached => None,
        Kind::Passing(asked) => asked,
    };
    let Some(wait) = retry.wait(failures, asked) else {
        return Err(failure);
    };
    log::info!("{:#}; trying again in {} s", failure.error, seconds(wait));
    tokio::time::sleep(wait).await;
    Ok(())
}

/// Whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let url = Url::parse("https://user:hunter2@host:5000/x.aci?token=hunter2#hunter2").unwrap();
        assert_eq!(shown(&url), "https://host:5000/x.aci");
        assert_eq!(host_of(&Url::parse("https://[::1]:443/").unwrap()), "[::1]");
    }
}
