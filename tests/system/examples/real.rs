//! Examples of Docker itself: the tour.

use super::table::How::Says;
use super::table::Need::Running;
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::skim;

const DOCKER: &[&str] = &["docker.aci", "containerd.aci"];

/// What README calls the pod.
const POD: &str = "e6b6";

#[test]
fn examples_of_docker() {
    try_all(&mut World::new(true), ROWS);
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim run --detach docker.aci containerd.aci", &[], SUCCEEDS, |_, said| {
        assert_eq!(skim(["list", "--quiet", "--state=running"]).line(), said.stdout.trim_end());
    }),
    row("skim status e6b6", &[Running(POD, DOCKER)], SUCCEEDS, |_, said| {
        assert!(said.stdout.starts_with("state=running\n"), "{said:#?}");
        assert!(said.stdout.contains("unit-containerd="), "{said:#?}");
    }),
    row("skim enter --app=docker e6b6 -- docker ps", &[Running(POD, DOCKER)], SUCCEEDS,
        |_, said| assert!(said.stdout.starts_with("CONTAINER ID"), "{said:#?}")),
    row("skim enter 6ba7b810 --app=docker -- docker ps", &[Running("6ba7b810", DOCKER)], SUCCEEDS,
        |_, said| assert!(said.stdout.starts_with("CONTAINER ID"), "{said:#?}")),
    row("skim logs -f e6b6 docker", &[Running(POD, DOCKER)], Says("API listen on"),
        |world, _| assert_eq!(world.state(POD), "running")),
    row("skim stop e6b6", &[Running(POD, DOCKER)], SUCCEEDS, |world, said| {
        assert_eq!(said.stdout, format!("\"{}\"\n", world.uuid(POD)));
        assert_eq!(world.state(POD), "exited");
    }),
    row("skim image relocations docker.aci", &[], SUCCEEDS,
        |_, said| assert!(said.stdout.contains("/usr/sbin/dockerd: interpreter"), "{said:#?}")),
];
