//! What a failure on the network means to the user, and whether it may pass.

use std::error::Error;
use std::io;
use std::time::Duration;

use anyhow::anyhow;
use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Characters of a server's own words that are shown.
const WORDS: usize = 200;

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What to tell the user.
    pub(super) error: anyhow::Error,
    /// What kind of failure it is.
    pub(super) kind: Kind,
}

/// What may be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It will not pass.
    Final,
    /// The server does not speak TLS.
    NoTls,
    /// The server was not reached: a mistake in its name, or it is away for a moment.
    Unreached,
    /// It may pass, after as long as the server says.
    Passing(Option<Duration>),
}

/// What comes of a request.
pub(super) type Attempt<T> = std::result::Result<T, Failure>;

/// A server does not have what it should, or sends something else: to try again will not help.
#[derive(Clone, Debug)]
pub struct Damaged(pub(super) String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

impl Failure {
    /// A failure as what is sent is not what it should be.
    pub(super) fn damaged(text: String) -> Self {
        Self::never(Damaged(text).into())
    }

    /// A failure that will not pass.
    pub(super) fn never(error: anyhow::Error) -> Self {
        let kind = Kind::Final;
        Self { error, kind }
    }

    /// A failure that may pass.
    pub(super) fn soon(error: anyhow::Error) -> Self {
        let kind = Kind::Passing(None);
        Self { error, kind }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::never(error)
    }
}

/// What it means that no answer came from `host`, `HOST[:PORT]`, or not all of it.
///
/// The message is not the library's: that may hold addresses with secrets in them.
pub(super) fn of_request(error: &reqwest::Error, host: &str) -> Failure {
    // After a redirect it is another host that failed.
    let named = error.url().map(super::client::host_of);
    let host = named.as_deref().unwrap_or(host);
    let causes = causes(error);
    let last = causes
        .last()
        .map_or_else(|| "unknown reason".to_owned(), |cause| one_line(cause));
    if let Some(refusal) = find::<RefusedRedirect>(error) {
        return Failure::never(anyhow!("{refusal}"));
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return Failure {
            error: of_tls(tls, host),
            kind: match is_no_tls(tls) {
                true => Kind::NoTls,
                false => Kind::Final,
            },
        };
    }
    if error.is_builder() {
        return Failure::never(anyhow!("cannot ask {host}: {last}"));
    }
    if error.is_redirect() {
        return Failure::never(anyhow!("{host} redirects too often"));
    }
    if causes.iter().any(|cause| cause.starts_with("dns error")) {
        // The resolver's own words for it are those of its source code.
        let why = match last.starts_with("no records found") {
            true => "there is none",
            false => last.as_str(),
        };
        return Failure {
            error: anyhow!(
                "cannot find the address of {host}: {why}; check the name and the network"
            ),
            kind: Kind::Unreached,
        };
    }
    if error.is_connect() {
        let why = match error.is_timeout() {
            true => "it does not answer in time",
            false => last.as_str(),
        };
        return Failure {
            error: anyhow!("cannot reach {host}: {why}; check the name, the port and the network"),
            kind: Kind::Unreached,
        };
    }
    let ended =
        find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    Failure::soon(match error.is_timeout() {
        true => anyhow!("{host} has sent nothing for too long"),
        false if ended => anyhow!("the connection to {host} ended too early"),
        false => anyhow!("the connection to {host} broke: {last}"),
    })
}

/// Whether the server answered the beginning of TLS with something else.
fn is_no_tls(error: &rustls::Error) -> bool {
    use rustls::{Error as E, InvalidMessage};
    matches!(error, E::InvalidMessage(InvalidMessage::InvalidContentType))
}

fn of_tls(error: &rustls::Error, host: &str) -> anyhow::Error {
    use rustls::{CertificateError as C, Error as E};
    let insecure = "give --insecure-options=tls to do without the check";
    match error {
        error if is_no_tls(error) => anyhow!(
            "{host} does not speak https: if it speaks plain http and the network can be trusted, give --insecure-options=http"
        ),
        E::InvalidCertificate(C::UnknownIssuer) => anyhow!(
            "the certificate of {host} is from an unknown CA: put the CA's certificate into /etc/containers/certs.d/{host}/ca.crt, or {insecure}"
        ),
        // What `openssl req -x509` makes: rustls takes no CA for a server.
        E::InvalidCertificate(C::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            anyhow!(
                "the certificate of {host} is a CA's own (basicConstraints CA:TRUE): give the server one that a CA has signed, or {insecure}"
            )
        }
        E::InvalidCertificate(reason) => {
            let reason = one_line(&reason.to_string());
            anyhow!(
                "the certificate of {host} is refused ({reason}): check the name and this host's clock, or {insecure}"
            )
        }
        other => anyhow!("TLS with {host} fails: {}", one_line(&other.to_string())),
    }
}

/// An answer that is no success.
pub(super) struct Refusal<'a> {
    /// What was asked for.
    pub(super) what: &'a str,
    /// Who was asked, `HOST[:PORT]`.
    pub(super) host: &'a str,
    /// The answer.
    pub(super) status: StatusCode,
    /// The answer's headers.
    pub(super) headers: &'a HeaderMap,
    /// The beginning of what it says.
    pub(super) body: &'a [u8],
    /// Whether a login would help.
    pub(super) login: bool,
}

/// What an answer that is no success means.
pub(super) fn of_status(refusal: &Refusal<'_>) -> Failure {
    let Refusal {
        what, host, status, ..
    } = refusal;
    let envelope = serde_json::from_slice::<OciEnvelope>(refusal.body).ok();
    let first = envelope
        .as_ref()
        .and_then(|envelope| envelope.errors.first());
    let words = match first.map(|error| one_line(&error.message)) {
        Some(words) if !words.is_empty() => format!(" ({words})"),
        _ => String::new(),
    };
    let code = first.map(|error| &error.code);
    let asked = retry_after(refusal.headers);
    match *status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let advice = match refusal.login {
                true => format!(": log in with `podman login {host}` or `docker login {host}`"),
                false => String::new(),
            };
            Failure::never(anyhow!(
                "{host} refuses {what}: {status}{words}; it is private or does not exist{advice}"
            ))
        }
        StatusCode::NOT_FOUND if code == Some(&OciErrorCode::NameUnknown) => Failure::never(
            anyhow!("{host} does not have {what}: it knows no such name"),
        ),
        StatusCode::NOT_FOUND if code == Some(&OciErrorCode::ManifestUnknown) => Failure::never(
            anyhow!("{host} does not have {what}: it knows no such tag or digest"),
        ),
        // An answer to HEAD has no body that tells which.
        StatusCode::NOT_FOUND if refusal.login && refusal.body.is_empty() => Failure::never(
            anyhow!("{host} does not have {what}: it knows no such name, tag or digest"),
        ),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Failure::never(anyhow!("{host} does not have {what}: {status}{words}"))
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = match asked {
                Some(asked) => format!("; it asks to wait for {} s", asked.as_secs()),
                None => String::new(),
            };
            let advice = match refusal.login {
                true => ", or log in to be allowed more",
                false => "",
            };
            Failure {
                error: anyhow!(
                    "{host} refuses {what}: too many requests (429){words}{wait}: try again later{advice}"
                ),
                kind: Kind::Passing(asked),
            }
        }
        status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Failure {
            error: anyhow!("{host} fails to give {what}: {status}{words}"),
            kind: Kind::Passing(asked),
        },
        _ => Failure::never(anyhow!("{host} does not give {what}: {status}{words}")),
    }
}

/// How long the server asks to wait, where it says so in seconds (RFC 9110, 10.2.3); a date is
/// not heeded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// A redirect that is not followed.
#[derive(Debug)]
pub(super) struct RefusedRedirect(pub(super) String);

impl std::fmt::Display for RefusedRedirect {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for RefusedRedirect {}

/// Text that others have written, fit for a line of a message.
pub(super) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(WORDS).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}

/// Goes through an error and its causes. An [`io::Error`] hides the one that it is made of.
fn walk<'a>(error: &'a (dyn Error + 'static), mut visit: impl FnMut(&'a (dyn Error + 'static))) {
    let mut next = Some(error);
    // More than any library nests.
    for _ in 0..32 {
        let Some(error) = next else { return };
        visit(error);
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
}

/// The cause of that type.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut found = None;
    walk(error, |cause| found = found.or(cause.downcast_ref::<E>()));
    found
}

/// What the causes beneath the outermost say.
fn causes(error: &reqwest::Error) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(source) = error.source() {
        walk(source, |cause| all.push(cause.to_string()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: u16, body: &str) -> (String, Kind) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let failure = of_status(&Refusal {
            what: "app:1",
            host: "host:5000",
            status,
            headers: &headers,
            body: body.as_bytes(),
            login: true,
        });
        (format!("{:#}", failure.error), failure.kind)
    }

    #[test]
    fn answers_say_what_to_do() {
        let seven = Some(Duration::from_secs(7));
        let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no\nsuch","detail":{}}]}"#;
        let tag = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let denied = r#"{"errors":[{"code":"DENIED","message":"no\nway"}]}"#;
        for (status, body, part, kind) in [
            (401, "", "podman login host:5000", Kind::Final),
            (403, denied, "(no way); it is private", Kind::Final),
            (404, unknown, "it knows no such name", Kind::Final),
            (404, tag, "it knows no such tag or digest", Kind::Final),
            (
                404,
                "<html>",
                "does not have app:1: 404 Not Found",
                Kind::Final,
            ),
            (404, "", "no such name, tag or digest", Kind::Final),
            (429, "", "asks to wait for 7 s", Kind::Passing(seven)),
            (
                503,
                "\u{1b}[2J",
                "503 Service Unavailable",
                Kind::Passing(seven),
            ),
            (418, "", "418", Kind::Final),
        ] {
            let (text, found) = text(status, body);
            assert!(text.contains(part), "{status}: {text}");
            assert!(!text.contains(char::is_control), "{status}: {text}");
            assert_eq!(found, kind, "{status}");
        }
    }

    #[test]
    fn the_words_of_others_are_bounded() {
        assert_eq!(one_line(" a\r\n\tb\u{9b} "), "a   b");
        assert_eq!(one_line(&"ä".repeat(WORDS + 1)).chars().count(), WORDS + 1);
    }

    #[test]
    fn tls_failures_say_what_to_do() {
        use rustls::{CertificateError, Error as E, InvalidMessage};
        for (error, part) in [
            (
                E::InvalidMessage(InvalidMessage::InvalidContentType),
                "--insecure-options=http",
            ),
            (
                E::InvalidCertificate(CertificateError::UnknownIssuer),
                "/etc/containers/certs.d/host:1/ca.crt",
            ),
            (
                E::InvalidCertificate(CertificateError::Expired),
                "--insecure-options=tls",
            ),
            (E::HandshakeNotComplete, "TLS with host:1 fails"),
        ] {
            let text = of_tls(&error, "host:1").to_string();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn causes_are_found_inside_of_io_errors() {
        let inner = io::Error::other(rustls::Error::HandshakeNotComplete);
        let outer = io::Error::other(inner);
        assert!(find::<rustls::Error>(&outer).is_some());
        assert!(find::<RefusedRedirect>(&outer).is_none());
    }
}
