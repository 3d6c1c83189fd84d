//! Requests to one registry for one repository, with what it wants to be shown
//! (distribution-spec; distribution's token authentication).

use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};
use oci_client::RegistryOperation;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciEnvelope};
use oci_client::secrets::RegistryAuth;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};

use super::client::{Network, USER_AGENT, host_of, persist, read_beginning};
use super::error::{Attempt, Failure, Kind, Refusal, of_request, of_status, one_line};
use crate::image::reference::RegistryReference;

/// A registry that answers, asked for one image.
pub struct Registry<'n> {
    pub(super) network: &'n Network,
    pub(super) reference: RegistryReference,
    /// The same as the library has it, which knows where Docker Hub is.
    target: oci_client::Reference,
    http: Client,
    /// `https` or `http`.
    scheme: &'static str,
    /// Who asks.
    credentials: RegistryAuth,
    /// What the registry wants to be shown for that: nothing, the same, or a token.
    shown: Mutex<RegistryAuth>,
}

impl Network {
    /// Turns to the registry of `reference` as whom `credentials` say; these go to no other host,
    /// but for the one that the registry says gives tokens.
    ///
    /// # Errors
    /// Where it cannot be reached, is not trusted, or does not accept who asks.
    pub fn registry(
        &self,
        reference: &RegistryReference,
        credentials: RegistryAuth,
    ) -> Result<Registry<'_>> {
        let target = oci_client::Reference::with_tag(
            reference.registry.clone(),
            reference.repository.clone(),
            reference.reference(),
        );
        let mut registry = Registry {
            network: self,
            reference: reference.clone(),
            http: self.client(target.resolve_registry())?,
            target,
            scheme: "https",
            credentials,
            shown: Mutex::new(RegistryAuth::Anonymous),
        };
        let connected = self.wait_for(registry.connect());
        let context = || format!("cannot fetch docker://{reference}");
        connected
            .map_err(|failure| failure.error)
            .with_context(context)?;
        Ok(registry)
    }
}

impl Registry<'_> {
    /// `HOST[:PORT]` that requests go to.
    pub(super) fn host(&self) -> &str {
        self.target.resolve_registry()
    }

    /// Finds out how the registry is spoken to, and logs in.
    async fn connect(&mut self) -> Attempt<()> {
        let challenge = match self.challenge().await {
            Err(secure) if self.falls_back(&secure) => {
                self.scheme = "http";
                match (self.challenge().await, secure.kind) {
                    // That it does not speak https either way says more.
                    (Err(_), Kind::Unreached) => return Err(secure),
                    (challenge, _) => challenge?,
                }
            }
            challenge => challenge?,
        };
        if let Some(challenge) = challenge {
            self.log_in(&challenge).await?;
        }
        Ok(())
    }

    fn falls_back(&self, failure: &Failure) -> bool {
        self.network.options.allow_http && matches!(failure.kind, Kind::NoTls | Kind::Unreached)
    }

    /// What the registry wants to be shown, as it says it; nothing where it is open to all.
    async fn challenge(&self) -> Attempt<Option<String>> {
        let host = self.host();
        let url = format!("{}://{host}/v2/", self.scheme);
        persist(&self.network.options.retry, false, async || {
            let answer = self.http.get(&url).send().await;
            let answer = answer.map_err(|error| of_request(&error, host))?;
            let status = answer.status();
            if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                return Err(self.refusal("an answer", answer).await);
            }
            Ok(challenge_of(&answer))
        })
        .await
    }

    /// Gets what the registry wants to be shown.
    async fn log_in(&self, challenge: &str) -> Attempt<()> {
        let kinds = challenge.to_ascii_lowercase();
        let basic = matches!(self.credentials, RegistryAuth::Basic(..)) && kinds.contains("basic");
        let mut shown = RegistryAuth::Anonymous;
        if kinds.contains("bearer") {
            self.check_realm(&kinds)?;
            let retry = &self.network.options.retry;
            if let Some(token) = persist(retry, false, async || self.token().await).await? {
                shown = RegistryAuth::Bearer(token);
            }
        }
        if basic && shown == RegistryAuth::Anonymous {
            shown = self.credentials.clone();
        }
        *self
            .shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = shown;
        Ok(())
    }

    /// Refuses to send a password in the clear because a registry that speaks https says so.
    fn check_realm(&self, challenge: &str) -> Result<()> {
        let in_clear = self.scheme == "https" && challenge.contains("realm=\"http:");
        ensure!(
            !in_clear
                || self.credentials == RegistryAuth::Anonymous
                || self.network.options.allow_http,
            "{} wants the password sent over plain http: if the network can be trusted, give --insecure-options=http",
            self.reference.registry
        );
        Ok(())
    }

    /// A token for this repository; none where the registry wants another thing after all.
    async fn token(&self) -> Attempt<Option<String>> {
        let client = self.token_client()?;
        let reference = &self.target;
        let answer = client.auth(reference, &self.credentials, RegistryOperation::Pull);
        answer.await.map_err(|error| self.of_login(error))
    }

    /// The client that gets tokens.
    fn token_client(&self) -> Result<oci_client::Client> {
        let options = &self.network.options;
        let certificates = options.certificates_for(self.host())?;
        let certificates = certificates.into_iter().map(|data| Certificate {
            encoding: CertificateEncoding::Pem,
            data,
        });
        let config = ClientConfig {
            protocol: match self.scheme {
                "http" => ClientProtocol::Http,
                _ => ClientProtocol::Https,
            },
            accept_invalid_certificates: !options.tls_verify,
            extra_root_certificates: certificates.collect(),
            connect_timeout: Some(options.connect_timeout),
            read_timeout: Some(options.idle_timeout),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        // Its errors are those of `Network::client`, which has succeeded by now.
        oci_client::Client::try_from(config).context("cannot set up TLS")
    }

    /// What it means that no token was to be had.
    fn of_login(&self, error: OciDistributionError) -> Failure {
        let host = &self.reference.registry;
        match error {
            OciDistributionError::RequestError(error) => of_request(&error, self.host()),
            OciDistributionError::AuthenticationFailure(body) => {
                let words = words_of(&body);
                Failure::never(match &self.credentials {
                    RegistryAuth::Basic(user, _) => anyhow!(
                        "{host} does not accept the login of {user:?}{words}: log in again with `podman login {host}` or `docker login {host}`"
                    ),
                    _ => anyhow!(
                        "{host} gives nobody access without a login{words}: log in with `podman login {host}` or `docker login {host}`"
                    ),
                })
            }
            other => {
                let words = one_line(&other.to_string());
                Failure::never(anyhow!("{host} gives no token: {words}"))
            }
        }
    }

    /// Asks for `path` of the repository. What is shown has its time, so it is renewed once.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Attempt<Response> {
        let host = self.host();
        let repository = &self.reference.repository;
        let url = format!("{}://{host}/v2/{repository}/{path}", self.scheme);
        let mut renewed = false;
        loop {
            let request = self
                .http
                .request(method.clone(), &url)
                .headers(headers.clone());
            let answer = self.show(request).send().await;
            let answer = answer.map_err(|error| of_request(&error, host))?;
            let own = answer.url().scheme() == self.scheme && host_of(answer.url()) == host;
            let refused = answer.status() == StatusCode::UNAUTHORIZED;
            match challenge_of(&answer) {
                Some(challenge) if refused && own && !renewed => self.log_in(&challenge).await?,
                _ => return Ok(answer),
            }
            renewed = true;
        }
    }

    fn show(&self, request: RequestBuilder) -> RequestBuilder {
        let shown = self
            .shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*shown {
            RegistryAuth::Anonymous => request,
            RegistryAuth::Basic(user, password) => request.basic_auth(user, Some(password)),
            RegistryAuth::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// What an answer that is no success means.
    pub(super) async fn refusal(&self, what: &str, answer: Response) -> Failure {
        let (status, headers) = (answer.status(), answer.headers().clone());
        // After a redirect it is another host that refuses.
        let host = match host_of(answer.url()) {
            host if host == self.host() => self.reference.registry.clone(),
            host => host,
        };
        let body = read_beginning(answer).await;
        of_status(&Refusal {
            what,
            host: &host,
            status,
            headers: &headers,
            body: &body,
            login: true,
        })
    }
}

/// What an answer says is to be shown.
fn challenge_of(answer: &Response) -> Option<String> {
    let values = answer.headers().get_all(WWW_AUTHENTICATE);
    let texts: Vec<_> = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// What a server that gives tokens says, in brackets.
fn words_of(body: &str) -> String {
    let envelope: Option<OciEnvelope> = serde_json::from_str(body).ok();
    let message = envelope.and_then(|envelope| Some(envelope.errors.first()?.message.clone()));
    match one_line(message.as_deref().unwrap_or(body)) {
        words if words.is_empty() => words,
        words => format!(" ({words})"),
    }
}
