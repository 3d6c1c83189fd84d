//! Examples of pods that run as services of systemd: their updates.

use std::fs;

use super::table::Need::Does;
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::{run, skim};

const UNIT: &str = "/run/systemd/system/web.service";

/// The unit of the examples, gone when dropped.
struct Unit;

impl Unit {
    #[track_caller]
    fn new() -> Self {
        let text = "[Service]\nType=notify\nNotifyAccess=main\nExecStart=skim service run web\n";
        fs::write(UNIT, text).expect("it can be written");
        run("systemctl", ["daemon-reload"]).success();
        Self
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        done();
        fs::remove_file(UNIT).expect("it is there");
        run("systemctl", ["daemon-reload"]);
    }
}

/// Takes away what an example has left: a store's images cannot go before.
fn done() {
    run("systemctl", ["stop", "web.service"]);
    run("rm", ["-rf", "/var/lib/skim/services"]).success();
}

#[test]
fn examples_of_services() {
    let mut world = World::new(false);
    let unit = Unit::new();
    try_all(&mut world, ROWS);
    drop(unit);
}

/// A pod that runs from a file which holds something else by now.
const OUTDATED: &str = "set -e; mkdir -p /etc/skim; cp -L web.aci live.aci
    printf '[Pod]\nGenerate=no\nAutoUpdate=yes\nUpdateSettleSec=0\n[App web]\nImage=%s\n' \"$PWD/live.aci\" >/etc/skim/web.skim
    systemctl start web; cp -L docker.aci live.aci";

/// A pod with versions 2, 3 and 4.
const OF_VERSIONS: &str = "set -e; mkdir -p /etc/skim
    for image in web docker containerd web; do
        printf '[Pod]\nGenerate=no\nUpdateSettleSec=0\n[App web]\nImage=%s\n' \"$PWD/$image.aci\" >/etc/skim/web.skim
        systemctl restart web
    done";

/// The number of the version that is current.
#[track_caller]
fn current() -> u64 {
    let list = skim(["rollback", "--list", "--format=json", "web"])
        .success()
        .stdout;
    let list: serde_json::Value = serde_json::from_str(&list).expect("it is JSON");
    let mut versions = list.as_array().expect("it is a list").iter();
    let current = versions.find(|version| version["current"] == true);
    current.expect("one is current")["version"]
        .as_u64()
        .expect("it has a number")
}

#[track_caller]
fn ends_with(version: u64) {
    assert_eq!(current(), version);
    done();
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim update web", &[Does(OUTDATED)], SUCCEEDS, |_, _| ends_with(2)),
    row("skim update --dry-run web", &[Does(OUTDATED)], SUCCEEDS, |_, said| {
        assert!(said.stdout.starts_with("NAME  APP"), "{said:#?}");
        ends_with(1);
    }),
    row("skim update --all", &[Does(OUTDATED)], SUCCEEDS, |_, _| ends_with(2)),
    row("skim rollback web", &[Does(OF_VERSIONS)], SUCCEEDS, |_, _| ends_with(3)),
    row("skim rollback --list web", &[Does(OF_VERSIONS)], SUCCEEDS, |_, said| {
        assert_eq!(said.stdout.lines().count(), 4, "{said:#?}");
        ends_with(4);
    }),
    row("skim rollback --to=3 web", &[Does(OF_VERSIONS)], SUCCEEDS, |_, _| ends_with(3)),
];
