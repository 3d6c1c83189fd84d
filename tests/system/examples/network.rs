//! Examples of images that come over the network.

use std::fs;

use super::files;
use super::table::Need::Stored;
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::{Outcome, run, skim};
use crate::support::registry::{Guard, Registry};
use crate::support::server::https_at;
use crate::support::store::image;

const HOSTS: &str = "/etc/hosts";

/// The names of the examples, for as long as this is kept.
struct Hosts(String);

impl Hosts {
    #[track_caller]
    fn new() -> Self {
        let before = fs::read_to_string(HOSTS).expect("cannot read the hosts");
        let names = "127.0.0.1 registry.example.com\n127.0.0.2 example.com\n";
        fs::write(HOSTS, format!("{before}{names}")).expect("cannot write the hosts");
        Self(before)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        fs::write(HOSTS, &self.0).expect("cannot write the hosts");
    }
}

#[test]
fn examples_of_the_network() {
    let mut world = World::new(false);
    let registry = Registry::listen(&world.host, Guard::Tls, 443);
    let plain = Registry::listen(&world.host, Guard::None, 5000);
    let source = format!("oci:{}", image("app.oci:1.0"));
    for (registry, name) in [
        (&registry, "app:1.2"),
        (&registry, "app:latest"),
        (&plain, "app:latest"),
    ] {
        registry.push(&source, name, &[]);
    }
    let files = world.host.scratch().join(files::DIRECTORY);
    let server = https_at("127.0.0.2:443", &files, registry.authority());
    world.variable("SSL_CERT_FILE", registry.authority().root());
    world.keep((Hosts::new(), server, registry, plain));
    try_all(&mut world, ROWS);
    assert!(run("getent", ["hosts", "registry.example.com"]).code == Some(0));
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim run docker://registry.example.com/app:1.2", &[], SUCCEEDS, |_, said| {
        runs(said);
        is_stored("registry.example.com/app:1.2");
    }),
    row("skim fetch docker://registry.example.com/app:1.2", &[], SUCCEEDS, |_, said| {
        assert!(said.stdout.starts_with("sha256-"), "{said:#?}");
        is_stored("registry.example.com/app:1.2");
    }),
    row("skim run registry.example.com/app:1.2", &[Stored("docker://registry.example.com/app:1.2")], SUCCEEDS,
        |_, said| runs(said)),
    row("skim fetch docker://registry.example.com/app", &[], SUCCEEDS,
        |_, _| is_stored("registry.example.com/app:latest")),
    row("skim fetch https://example.com/app.aci", &[], SUCCEEDS, |_, said| {
        assert!(said.stdout.starts_with("sha512-"), "{said:#?}");
        is_stored("example.com/app:1.0.0");
    }),
    row("skim fetch --insecure-options=http docker://localhost:5000/app", &[], SUCCEEDS,
        |_, _| is_stored("localhost:5000/app:latest")),
];

#[track_caller]
fn runs(said: &Outcome) {
    assert!(said.stdout.contains("args: one two words"), "{said:#?}");
}

#[track_caller]
fn is_stored(name: &str) {
    let names = skim(["image", "list", "--fields=name", "--no-legend"])
        .success()
        .stdout;
    assert!(
        names.lines().any(|line| line.trim_end() == name),
        "{name} is not in {names}"
    );
}
