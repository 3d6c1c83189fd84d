//! Updates that something comes between.

use std::process::Child;

use super::web::{FOREVER, NOTIFY, Web};
use crate::support::command::{outcome, run, skim, spawn};
use crate::support::host::Host;
use crate::support::{journal, systemd};

const GOOD: &str = "systemd-notify --ready; exec sleep 1000";

/// An update to a version that is never ready, as far as that.
struct Stuck<'a> {
    web: Web<'a>,
    update: Child,
}

impl<'a> Stuck<'a> {
    #[track_caller]
    fn new(host: &'a Host, name: &'static str) -> Self {
        let web = Web::new(host, name, "", NOTIFY);
        web.put("1", GOOD);
        web.start();
        web.put("2", FOREVER);
        let update = spawn(&["update", "--timeout=50s", name]);
        journal::until("the new version is starting", || {
            let is_starting = systemd::state(&web.unit) == "activating (start)";
            is_starting && web.current() == 2 && is_on(&web, "2")
        });
        Self { web, update }
    }

    /// A signal to skim, whose parent is a timeout(1).
    #[track_caller]
    fn signal(&self, signal: &str) {
        let timeout = self.update.id().to_string();
        run("pkill", ["--signal", signal, "--parent", &timeout]).success();
    }
}

/// Whether a pod of this version runs.
fn is_on(web: &Web<'_>, version: &str) -> bool {
    let pods = skim(["list", "--quiet"]).success().stdout;
    pods.lines().any(|uuid| {
        let service = format!("skim-{}-web.service", uuid.replace('-', ""));
        let variable = format!("WEB={version}");
        let is_its = systemd::property(&service, "Environment").contains(&variable);
        is_its && systemd::main_pid(&service) != 0 && !web.name.is_empty()
    })
}

#[test]
fn two_at_once() {
    let host = Host::new();
    let stuck = Stuck::new(&host, "test-two");
    let second = stuck.web.update(&[]);
    assert_eq!(second.code, Some(254), "{second:#?}");
    let says = "skim update (process ";
    assert!(second.stderr.contains(says), "{second:#?}");
    let rollback = skim(["rollback", stuck.web.name]);
    assert!(rollback.stderr.contains(says), "{rollback:#?}");
    stuck.signal("INT");
    let Stuck { web, update } = stuck;
    let first = outcome(update);
    assert_eq!(first.code, Some(254), "{first:#?}");
    assert!(first.stderr.contains("version 1 runs again"), "{first:#?}");
    assert_eq!((web.runs().as_str(), web.current()), ("1", 1));
    // It was no fault of the version's.
    assert_eq!(web.versions().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_killed_update_is_undone_by_the_next_start() {
    let host = Host::new();
    let stuck = Stuck::new(&host, "test-killed");
    stuck.signal("KILL");
    let Stuck { web, update } = stuck;
    outcome(update);
    assert_eq!(web.current(), 2);
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!((web.runs().as_str(), web.current()), ("1", 1));
    let log = run("journalctl", ["--unit", &web.unit, "--lines=50"]).stdout;
    assert!(
        log.contains("the switch to version 2 was broken off"),
        "{log}"
    );
}

#[test]
fn a_killed_update_is_cleaned_up_by_the_next_update() {
    let host = Host::new();
    let stuck = Stuck::new(&host, "test-killed-twice");
    stuck.signal("KILL");
    let Stuck { web, update } = stuck;
    outcome(update);
    web.put("3", GOOD);
    let next = web.update(&[]);
    assert!(next.stderr.contains("was broken off"), "{next:#?}");
    assert_eq!(next.code, Some(0), "{next:#?}");
    assert_eq!(web.runs(), "3");
}

#[test]
fn who_stops_the_service_has_the_say() {
    let host = Host::new();
    let stuck = Stuck::new(&host, "test-stopped");
    run("systemctl", ["stop", &stuck.web.unit]).success();
    let Stuck { web, update } = stuck;
    let update = outcome(update);
    assert_eq!(update.code, Some(254), "{update:#?}");
    assert!(update.stderr.contains("somebody stopped"), "{update:#?}");
    let state = systemd::property(&web.unit, "ActiveState");
    assert!(matches!(state.as_str(), "inactive" | "failed"), "{state}");
    assert_eq!(web.current(), 1);
    web.start();
    assert_eq!(web.runs(), "1");
}

#[test]
fn systemd_may_be_executed_anew_meanwhile() {
    let host = Host::new();
    let web = Web::new(&host, "test-reexec", "", NOTIFY);
    web.put("1", GOOD);
    web.start();
    let go = host.scratch().join("go");
    let wait = format!("until test -e {}; do sleep 0.1; done", go.display());
    web.put("2", &format!("{wait}; {GOOD}"));
    let update = spawn(&["update", "--timeout=50s", web.name]);
    journal::until("the new version is starting", || is_on(&web, "2"));
    run("systemctl", ["daemon-reexec"]).success();
    run("touch", [&go]).success();
    journal::until("the new version is up", || {
        systemd::state(&web.unit) == "active (running)"
    });
    run("systemctl", ["daemon-reexec"]).success();
    let update = outcome(update).success();
    assert!(!update.stderr.contains("broken off"), "{update:#?}");
    assert_eq!((web.runs().as_str(), web.current()), ("2", 2));
}
