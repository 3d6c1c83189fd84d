//! Examples of pods that run as services of systemd: their updates.

use std::fs;

use super::table::Need::Does;
use super::table::{Row, SUCCEEDS, row};
use super::try_all;
use super::world::World;
use crate::support::command::{Outcome, run, skim};

const UNIT: &str = "/run/systemd/system/web.service";

/// The unit of the examples, gone when dropped.
struct Unit;

impl Unit {
    #[track_caller]
    fn new() -> Self {
        let text = "[Service]\nType=notify\nNotifyAccess=main\nExecStart=skim service run web\n\
                    ExecReload=skim service reload web\n";
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

/// A pod file.
const OF_WEB: &str = "set -e; mkdir -p /etc/skim
    printf '[Pod]\nGenerate=no\n[App web]\nImage=%s\nExecReload=true\n' \"$PWD/web.aci\" >/etc/skim/web.skim";

/// The same pod, and it runs.
const UP: &str = "systemctl start web";

/// A pod file beside the example, and one that a generator makes units of.
const OF_DOCKER: &str = "set -e; mkdir -p /etc/skim
    printf '[App docker]\nImage=%s\n' \"$PWD/docker.aci\" | tee web.skim >/etc/skim/docker.skim";

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

/// `web.service` is in this state; then it is taken away.
#[track_caller]
fn is(state: &str) {
    assert_eq!(run("systemctl", ["is-active", "web"]).stdout.trim(), state);
    done();
}

#[track_caller]
fn says(said: &Outcome, text: &str) {
    assert!(said.stdout.contains(text), "{said:#?}");
    done();
    fs::remove_file("/etc/skim/docker.skim").expect("it is there");
}

#[track_caller]
fn ends_with(version: u64) {
    assert_eq!(current(), version);
    done();
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("skim check", &[Does(OF_DOCKER)], SUCCEEDS, |_, said| says(said, "docker: right")),
    row("skim check docker", &[Does(OF_DOCKER)], SUCCEEDS, |_, said| says(said, "docker: right")),
    row("skim check ./web.skim", &[Does(OF_DOCKER)], SUCCEEDS, |_, said| says(said, "web: right")),
    row("skim check --dry-run docker", &[Does(OF_DOCKER)], SUCCEEDS, |_, said| says(said, "# /run/systemd/generator/docker.service")),
    row("skim check web", &[Does(OF_WEB)], SUCCEEDS, |_, said| {
        assert!(said.stdout.starts_with("web: right"), "{said:#?}");
        is("inactive");
    }),
    row("systemctl daemon-reload", &[Does(OF_WEB)], SUCCEEDS, |_, _| is("inactive")),
    row("systemctl start web", &[Does(OF_WEB)], SUCCEEDS, |_, _| is("active")),
    row("systemctl status web", &[Does(OF_WEB), Does(UP)], SUCCEEDS, |_, said| {
        assert!(said.stdout.contains("running: web"), "{said:#?}");
        is("active");
    }),
    row("journalctl OBJECT_SYSTEMD_UNIT=web.service", &[Does(OF_WEB), Does(UP)], SUCCEEDS, |_, _| is("active")),
    row("systemctl reload web", &[Does(OF_WEB), Does(UP)], SUCCEEDS, |_, _| is("active")),
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
