//! Examples of images in the store.

use serde_json::Value;

use super::table::Need::{Absent, Exited, Id, Running, Stored};
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::{Outcome, skim};

#[test]
fn examples_of_images() {
    try_all(&mut World::new(false), ROWS);
}

const DOCKER: &str = "docker.aci";
const BUSYBOX: &str = "docker-archive:busybox.docker.tar";
/// Its name in the store is docker:1.0.
const LAYOUT: &str = "oci:docker.oci:1.0";
const TWO: &str = "docker.aci app.aci";

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim fetch docker.aci saved.tar", &[], SUCCEEDS, |_, said| {
        let kinds: Vec<_> = said.stdout.lines().map(|id| &id[..7]).collect();
        assert_eq!(kinds, ["sha512-", "sha256-"]);
    }),
    row("skim fetch oci:layout:1.2 docker-archive:saved.tar:app:1.2", &[], SUCCEEDS,
        |_, said| assert_eq!(said.stdout.lines().count(), 2, "{said:#?}")),
    row("skim image list", &[Stored(TWO)], SUCCEEDS, |_, said| {
        says(said, "example.com/docker:28.0");
        says(said, "example.com/app:1.0.0");
    }),
    row("skim image list --full", &[Stored(TWO)], SUCCEEDS, |_, said| says(said, "docker.aci")),
    row("skim image list --sort=size --order=desc", &[Stored(TWO)], SUCCEEDS, |_, said| {
        let at = |name| said.stdout.find(name).unwrap_or_else(|| panic!("{name}: {said:#?}"));
        assert!(at("example.com/app:") < at("example.com/docker:"), "{said:#?}");
    }),
    row("skim image list --fields=name,digest --no-legend", &[Stored(TWO)], SUCCEEDS,
        |_, said| assert!(!said.stdout.contains("DIGEST"), "{said:#?}")),
    row("skim image list --format=json", &[Stored(TWO)], SUCCEEDS,
        |_, said| assert!(json(said)[0]["id"].is_string(), "{said:#?}")),
    row("skim image inspect example.com/docker", &[Stored(DOCKER)], SUCCEEDS,
        |_, said| assert!(json(said)[0]["app"]["exec"].is_array(), "{said:#?}")),
    row("skim image inspect docker:1.0", &[Stored(LAYOUT)], SUCCEEDS,
        |_, said| assert_eq!(json(said)[0]["app"]["exec"][0], "/bin/sh")),
    row("skim image inspect sha256-1a2b | jq '.[0].app.exec'", &[Id("sha256-1a2b", LAYOUT)], SUCCEEDS,
        |_, said| assert_eq!(json(said)[0], "/bin/sh")),
    row("skim image cat-manifest example.com/docker", &[Stored(DOCKER)], SUCCEEDS,
        |_, said| assert_eq!(json(said)["name"], "example.com/docker")),
    row("skim image cat-manifest docker:1.0", &[Stored(LAYOUT)], SUCCEEDS,
        |_, said| assert!(json(said)["layers"].is_array(), "{said:#?}")),
    row("skim image cat-manifest --config docker.io/library/busybox", &[Stored(BUSYBOX)], SUCCEEDS,
        |_, said| assert_eq!(json(said)["config"]["Entrypoint"][0], "/bin/sh")),
    row("skim image cat-manifest --pretty-print=false sha256-1a2b", &[Id("sha256-1a2b", LAYOUT)], SUCCEEDS,
        |_, said| assert!(json(said)["layers"].is_array(), "{said:#?}")),
    row("skim image relocations sha512-1a2b --format=json", &[Id("sha512-1a2b", DOCKER)], SUCCEEDS,
        |_, said| says(said, "/bin/busybox")),
    row("skim image relocations docker:1.0", &[Stored(LAYOUT)], SUCCEEDS, |_, _| ()),
    row("skim image verify", &[Stored(TWO)], SUCCEEDS, |_, said| says(said, "(example.com/docker:28.0)")),
    row("skim image verify example.com/docker", &[Stored(DOCKER)], SUCCEEDS,
        |_, said| says(said, "successfully verified")),
    row("skim image verify docker:1.0", &[Stored(LAYOUT)], SUCCEEDS, |_, said| says(said, "(docker:1.0)")),
    row("skim image verify --repair sha512-1a2b", &[Id("sha512-1a2b", DOCKER)], SUCCEEDS,
        |_, said| says(said, "example.com/docker:28.0")),
    row("skim image export example.com/docker docker.aci", &[Stored(DOCKER), Absent("docker.aci")], SUCCEEDS,
        |world, _| assert_eq!(imported(world, "docker.aci"), id("example.com/docker:28.0"))),
    row("skim image export docker:1.0 docker.tar", &[Stored(LAYOUT)], SUCCEEDS,
        |world, _| assert_eq!(imported(world, "docker.tar"), id("docker:1.0"))),
    row("skim image export docker.io/library/busybox busybox.tar", &[Stored(BUSYBOX)], SUCCEEDS,
        |world, _| assert!(imported(world, "busybox.tar").starts_with("sha256-"))),
    row("skim image export sha256-1a2b - | ssh host 'cat >app.tar && skim fetch ./app.tar'",
        &[Id("sha256-1a2b", LAYOUT)], SUCCEEDS, |world, said| {
            says(said, "sha256-");
            assert!(world.has("host/app.tar"));
        }),
    row("skim image extract example.com/docker docker", &[Stored(DOCKER)], SUCCEEDS, |world, _| {
        assert!(world.has("docker/manifest") && world.has("docker/rootfs/bin/busybox"));
    }),
    row("skim image extract --rootfs-only docker.io/library/busybox busybox", &[Stored(BUSYBOX)], SUCCEEDS,
        |world, _| assert!(world.has("busybox/bin/busybox") && !world.has("busybox/manifest"))),
    row("skim image extract docker:1.0 dir", &[Stored(LAYOUT)], SUCCEEDS,
        |world, _| assert!(world.has("dir/manifest") && world.has("dir/rootfs/bin/busybox"))),
    row("skim image render example.com/docker docker", &[Stored(DOCKER)], SUCCEEDS,
        |world, _| assert!(world.has("docker/rootfs/bin/busybox"))),
    row("skim image render --overwrite example.com/docker docker",
        &[Stored(DOCKER), super::table::Need::Does("mkdir docker && touch docker/old")], SUCCEEDS, |world, _| {
            assert!(world.has("docker/rootfs/bin/busybox") && !world.has("docker/old"));
        }),
    row("skim image render example.com/app dir", &[Stored("app.aci")], SUCCEEDS,
        |world, _| assert!(world.has("dir/rootfs/srv/app"))),
    row("skim image rm example.com/docker:28.0", &[Stored(DOCKER)], SUCCEEDS,
        |_, _| assert!(!stored("example.com/docker:28.0"))),
    row("skim image rm example.com/app:1.0.0", &[Stored("app.aci")], SUCCEEDS,
        |_, _| assert!(!stored("example.com/app:1.0.0"))),
    row("skim image rm sha512-1a2b sha256-3c4d", &[Id("sha512-1a2b", DOCKER), Id("sha256-3c4d", LAYOUT)], SUCCEEDS,
        |_, _| assert!(!stored("example.com/docker:28.0") && !stored("docker:1.0"))),
    row("skim image rm --force sha512-1a2b", &[Running("6ba7b810", &[DOCKER]), Id("sha512-1a2b", DOCKER)], SUCCEEDS,
        |world, _| {
            assert!(!stored("example.com/docker:28.0"));
            assert_eq!(world.state("6ba7b810"), "running");
        }),
    row("skim image gc --dry-run", &[Stored(TWO)], SUCCEEDS, |_, _| assert!(stored("example.com/docker:28.0"))),
    row("skim image gc", &[Stored(TWO)], SUCCEEDS, |_, _| assert!(stored("example.com/docker:28.0"))),
    row("skim image gc --grace-period=720h", &[Stored(TWO)], SUCCEEDS,
        |_, _| assert!(stored("example.com/docker:28.0"))),
    row("skim image gc --grace-period=0s", &[Exited("6ba7b810", &[DOCKER]), Stored(TWO)], SUCCEEDS,
        |_, _| assert!(stored("example.com/docker:28.0") && !stored("example.com/app:1.0.0"))),
];

#[track_caller]
fn says(said: &Outcome, text: &str) {
    assert!(said.stdout.contains(text), "{text:?} is not in {said:#?}");
}

#[track_caller]
fn json(said: &Outcome) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

/// The ID of what an example wrote.
#[track_caller]
fn imported(world: &World, file: &str) -> String {
    let file = world.directory.join(file);
    skim(["fetch".as_ref(), "--full".as_ref(), file.as_os_str()]).line()
}

#[track_caller]
fn id(name: &str) -> String {
    let images = skim(["image", "list", "--full", "--no-legend", "--fields=id,name"])
        .success()
        .stdout;
    let line = images
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in {images}"));
    line.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[track_caller]
fn stored(name: &str) -> bool {
    let images = skim(["image", "list", "--no-legend", "--fields=name"])
        .success()
        .stdout;
    images.lines().any(|line| line.trim_end() == name)
}
