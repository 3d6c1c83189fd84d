//! From a name to the documents of an image, and what stands in the way.

use std::net::TcpListener;

use oci_client::secrets::RegistryAuth;

use super::super::client::Network;
use super::super::options::NetworkOptions;
use super::super::testing::{Reply, Server, network, options};
use super::{Fixture, Pull, amd64, reference};
use crate::image::blob::Sha256;
use crate::image::oci::platform::Platform;
use crate::image::reference::RegistryReference;

#[test]
fn an_image_comes_once() {
    let fixture = Fixture::new();
    let server = Server::http(move |request| Fixture::new().reply(request));
    let pull = Pull::new(&server);
    let image = pull.run().unwrap();
    let expected = (Sha256::of(&fixture.manifest), fixture.manifest.clone());
    assert_eq!(image.manifest, Some(expected));
    assert_eq!(image.names, [reference(&server, ":1").to_name()]);
    assert_eq!(image.layers.len(), 3);
    pull.succeeds();
    for layer in [0, 1] {
        assert_eq!(server.count(&fixture.path(layer)), 1);
    }
}

#[test]
fn the_digest_is_of_what_the_tag_names() {
    for header in [true, false] {
        let fixture = Fixture::new();
        let index = Sha256::of(&fixture.index);
        let server = Server::http(move |request| match request.path.as_str() {
            "/v2/team/app/manifests/1" if !header => Reply::new(200, fixture.index.clone()),
            _ => fixture.reply(request),
        });
        let network = network();
        let registry = network.registry(&reference(&server, ":1"), RegistryAuth::Anonymous);
        let registry = registry.unwrap();
        assert_eq!(registry.digest().unwrap(), index);
        let methods: Vec<_> = server
            .seen()
            .into_iter()
            .map(|request| request.method)
            .collect();
        assert_eq!(methods[1], "HEAD");
        assert_eq!(methods.len(), if header { 2 } else { 3 });
        assert_eq!(registry.resolve(&amd64()).unwrap().digest, index);
    }
}

#[test]
fn documents_are_what_was_asked_for() {
    let server = Server::http(|request| {
        let fixture = Fixture::new();
        match request.path.as_str() {
            // The tags differ in what is wrong with them.
            "/v2/team/app/manifests/lie" => Reply::new(200, fixture.index)
                .header("docker-content-digest", Sha256::of(b"another")),
            "/v2/team/app/manifests/big" => Reply::new(200, vec![b' '; 5 << 20]),
            "/v2/team/app/manifests/text" => Reply::new(200, "<html>"),
            path if path.ends_with(&Sha256::of(b"pinned").to_string()) => {
                Reply::new(200, fixture.index)
            }
            path if path.ends_with(&Sha256::of(b"another").to_string()) => {
                Reply::new(200, "forged!")
            }
            _ => fixture.reply(request),
        }
    });
    let pinned = format!("@{}", Sha256::of(b"pinned"));
    let s390x = Platform::new("linux", "s390x", None);
    let riscv = Platform::new("linux", "riscv64", None);
    for (rest, platform, part) in [
        (":lie", amd64(), "not the one that was asked for"),
        (":big", amd64(), "more for the manifest than the 4194304"),
        (":text", amd64(), "not valid JSON"),
        (&pinned, amd64(), "not the one that was asked for"),
        (":1", s390x, "has the digest"),
        (":1", riscv, "it has linux/s390x, linux/amd64"),
        (":2", amd64(), "it knows no such tag or digest"),
    ] {
        let network = network();
        let registry = network.registry(&reference(&server, rest), RegistryAuth::Anonymous);
        let text = format!("{:#}", registry.unwrap().resolve(&platform).unwrap_err());
        assert!(
            text.contains(part) && !text.contains('\n'),
            "{rest}: {text}"
        );
        assert!(
            text.starts_with("cannot fetch docker://127.0.0.1"),
            "{text}"
        );
    }
    let pinned = format!(":1@{}", Sha256::of(&Fixture::new().manifest));
    let network = network();
    let registry = network.registry(&reference(&server, &pinned), RegistryAuth::Anonymous);
    registry.unwrap().resolve(&amd64()).unwrap();
}

#[test]
fn servers_that_cannot_be_talked_to_say_what_to_do() {
    let connect = |text: &str, allow_http| {
        let network = Network::new(NetworkOptions {
            allow_http,
            ..options()
        });
        let reference = RegistryReference::parse(text).unwrap();
        let network = network.unwrap();
        let connected = network.registry(&reference, RegistryAuth::Anonymous);
        format!("{:#}", connected.err().unwrap())
    };
    let server = Server::http(|request| Fixture::new().reply(request));
    let text = connect(&format!("{}/app", server.address), false);
    assert!(text.contains("give --insecure-options=http"), "{text}");
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for allow_http in [false, true] {
        let text = connect(&format!("{closed}/app"), allow_http);
        assert!(
            text.contains(&format!("cannot reach {closed}: Connection refused")),
            "{text}"
        );
    }
}

#[test]
fn manifest_and_configuration_must_tell_of_as_many_layers() {
    let server = Server::http(|request| Fixture::with_diff_ids(&[0, 1]).reply(request));
    let text = Pull::new(&server).fails();
    assert!(
        text.contains("the manifest has 3 layers and the configuration 2 diff_ids"),
        "{text}"
    );
}
