//! Who asks, and who gets to see it.

use std::sync::Mutex;

use oci_client::secrets::RegistryAuth;

use super::super::client::Network;
use super::super::options::NetworkOptions;
use super::super::testing::{Reply, Server, network, options};
use super::{Fixture, Pull, amd64, reference, user};
use crate::image::blob::Sha256;
use crate::progress::Silent;

#[test]
fn a_password_is_shown_where_it_is_asked_for() {
    let fixture = Fixture::new();
    let server = Server::http(move |request| match request.header("authorization") {
        // user:hunter2
        "Basic dXNlcjpodW50ZXIy" => fixture.reply(request),
        _ => Reply::new(401, "").header("www-authenticate", "Basic realm=\"it\""),
    });
    let mut pull = Pull::new(&server);
    let text = pull.fails();
    let host = server.address.to_string();
    assert!(text.contains(&format!("podman login {host}")), "{text}");
    pull.auth = RegistryAuth::Basic("user".to_owned(), "wrong".to_owned());
    assert!(pull.fails().contains("401"));
    pull.auth = user();
    pull.succeeds();
    let open = Server::http(|request| Fixture::new().reply(request));
    let mut pull = Pull::new(&open);
    pull.auth = user();
    pull.succeeds();
    assert!(
        open.seen()
            .iter()
            .all(|request| request.header("authorization").is_empty())
    );
}

/// A registry that wants a token, of which each is good for `good` requests; it gives them to
/// the user alone.
fn token_server(good: usize) -> Server {
    let (fixture, left) = (Fixture::new(), Mutex::new(0));
    Server::http(move |request| {
        if let Some(query) = request.path.strip_prefix("/token?") {
            assert!(
                query.contains("scope=repository%3Ateam%2Fapp%3Apull"),
                "{query}"
            );
            if request.header("authorization") != "Basic dXNlcjpodW50ZXIy" {
                return Reply::new(401, "{\"details\":\"no\nway\"}");
            }
            *left.lock().unwrap() = good;
            return Reply::new(200, r#"{"token": "opaque"}"#);
        }
        let mut left = left.lock().unwrap();
        if request.header("authorization") == "Bearer opaque" && *left > 0 {
            *left -= 1;
            return fixture.reply(request);
        }
        let realm = format!("http://{}/token", request.header("host"));
        let challenge = format!("Bearer realm=\"{realm}\",service=\"it\"");
        Reply::new(401, "").header("www-authenticate", challenge)
    })
}

#[test]
fn a_token_is_got_and_renewed() {
    for (good, tokens) in [(100, 1), (2, 3)] {
        let server = token_server(good);
        let pull = Pull::new(&server);
        let network = network();
        let registry = network.registry(&reference(&server, ":1"), user()).unwrap();
        // One request after the other: index, manifest, configuration, layer, layer.
        let resolved = registry.resolve(&amd64()).unwrap();
        for layer in [0, 1] {
            let mut one = resolved.clone();
            one.found.manifest.layers.retain(|descriptor| {
                descriptor.digest == Sha256::of(&Fixture::new().layers[layer])
            });
            registry.fetch(&one, &pull.sink(), &Silent).unwrap();
        }
        assert_eq!(server.count("/token"), tokens);
    }
}

#[test]
fn a_token_that_is_not_given_says_so() {
    let server = token_server(100);
    let mut pull = Pull::new(&server);
    assert!(pull.fails().contains("gives nobody access without a login"));
    pull.auth = RegistryAuth::Basic("user".to_owned(), "wrong".to_owned());
    let text = pull.fails();
    assert!(
        text.contains("does not accept the login of \"user\""),
        "{text}"
    );
}

#[test]
fn a_redirect_takes_no_password_along() {
    let elsewhere = Server::http(|request| Fixture::new().reply(request));
    let to = elsewhere.address;
    let fixture = Fixture::new();
    let server = Server::http(move |request| match request.header("authorization") {
        "" => Reply::new(401, "").header("www-authenticate", "Basic realm=\"it\""),
        _ if request.path.contains("/blobs/") => {
            Reply::new(307, "").header("location", format!("http://{to}{}", request.path))
        }
        _ => fixture.reply(request),
    });
    let mut pull = Pull::new(&server);
    pull.auth = user();
    pull.succeeds();
    let seen = elsewhere.seen();
    assert!(
        seen.len() == 3
            && seen
                .iter()
                .all(|request| request.header("authorization").is_empty())
    );
}

#[test]
fn a_password_is_not_sent_in_the_clear_on_the_word_of_a_registry() {
    let server = Server::https(|_| {
        let challenge = "Bearer realm=\"http://127.0.0.1:1/token\",service=\"it\"";
        Reply::new(401, "").header("www-authenticate", challenge)
    });
    let network = Network::new(NetworkOptions {
        allow_http: false,
        ..options()
    });
    let network = network.unwrap();
    let connected = network.registry(&reference(&server, ":1"), user());
    let text = format!("{:#}", connected.err().unwrap());
    assert!(
        text.contains("wants the password sent over plain http"),
        "{text}"
    );
}
