//! Updates and rollbacks of pods that run as services of systemd.

mod broken;
mod docker;
mod interrupted;
mod sockets;
mod web;

use std::fs;
use std::path::Path;

use serde_json::Value;

use self::web::{FOREVER, HTTP, NOTIFY, Web};
use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::registry::{Guard, PASSWORD, Registry, credentials};
use crate::support::systemd;

#[test]
fn an_update_runs_what_the_file_holds_now() {
    let host = Host::new();
    let web = Web::new(&host, "test-update", "", "");
    web.put("1", FOREVER);
    web.start();
    let invocation = systemd::property(&web.unit, "InvocationID");
    let outcome = web.update(&[]).success();
    assert_eq!(outcome.stdout, "test-update: up to date (version 1)\n");
    web.put("2", FOREVER);
    // A restart is no update.
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!(web.runs(), "1");
    assert_ne!(systemd::property(&web.unit, "InvocationID"), invocation);
    let invocation = systemd::property(&web.unit, "InvocationID");
    let before = web.versions();
    let outcome = web.update(&["--dry-run", "--format=json"]).success();
    let looked: Value = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    assert_eq!(looked[0]["result"], "available", "{looked:#}");
    let app = &looked[0]["apps"][0];
    assert!(
        app["current"] != app["new"] && app["new"].is_string(),
        "{looked:#}"
    );
    assert_eq!(web.versions(), before);
    assert_eq!(systemd::property(&web.unit, "InvocationID"), invocation);
    let outcome = web.update(&[]).success();
    assert_eq!(outcome.stdout, "test-update: version 2 runs\n");
    assert_eq!(web.runs(), "2");
    assert_eq!(web.versions()[1]["apps"][0]["image_id"], app["new"]);
    // What was before is swept.
    let pods = skim(["list", "--quiet"]).success().stdout;
    assert_eq!(pods.lines().count(), 1, "{pods}");
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!(web.runs(), "2");
}

#[test]
fn a_pod_that_does_not_run_is_updated_at_its_next_start() {
    let host = Host::new();
    let web = Web::new(&host, "test-idle", "AutoUpdate=yes\n", "");
    web.put("1", FOREVER);
    web.start();
    run("systemctl", ["stop", &web.unit]).success();
    web.put("2", FOREVER);
    let unasked = skim(["update", "--all"]).success();
    assert!(unasked.stdout.is_empty(), "{unasked:#?}");
    assert_eq!(web.current(), 1);
    let outcome = web.update(&[]).success();
    assert!(
        outcome.stdout.contains("does not run: version 2"),
        "{outcome:#?}"
    );
    assert_eq!(systemd::property(&web.unit, "ActiveState"), "inactive");
    web.start();
    assert_eq!(web.runs(), "2");
}

#[test]
fn a_rollback_holds_over_restarts_and_against_the_timer() {
    let host = Host::new();
    let web = Web::new(&host, "test-rollback", "AutoUpdate=yes\n", "");
    for version in ["1", "2"] {
        web.put(version, FOREVER);
        if version == "1" {
            web.start();
        } else {
            web.update(&[]).success();
        }
    }
    let outcome = skim(["rollback", web.name]).success();
    assert_eq!(outcome.stdout, "test-rollback: version 1 runs\n");
    assert_eq!(web.runs(), "1");
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!(web.runs(), "1");
    // The timer does not undo it; somebody may.
    skim(["update", "--all"]).success();
    assert_eq!(web.runs(), "1");
    let list = skim(["rollback", "--list", web.name]).success().stdout;
    let notes: Vec<_> = list
        .lines()
        .filter(|line| line.ends_with("current"))
        .collect();
    assert!(notes.len() == 1 && notes[0].starts_with('1'), "{list}");
    assert!(list.contains("rejected: it was rolled back from"), "{list}");
    web.update(&[]).success();
    assert_eq!(web.runs(), "2");
    let outcome = skim(["rollback", "--to=9", web.name]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("there is no version 9"),
        "{outcome:#?}"
    );
}

/// What root has logged in to, root's services may use: `systemctl start` and the timer.
#[test]
fn images_of_a_registry_that_wants_a_password() {
    let host = Host::new();
    let registry = Registry::start(&host, Guard::Basic);
    let _trusted = registry.authority().trusted();
    let image = registry.image("web:1");
    let web = Web::of(&host, "test-private", "AutoUpdate=yes\n", "", &image);
    web.push(&registry, "1");
    assert_ne!(run("systemctl", ["start", &web.unit]).code, Some(0));
    let file = credentials(&host, "config.json", &registry.address(), PASSWORD);
    let login = Login::new(&file);
    web.start();
    assert_eq!(web.runs(), "1");
    web.push(&registry, "2");
    run("systemctl", ["start", "skim-update.service"]).success();
    assert_eq!((web.runs().as_str(), web.current()), ("2", 2));
    drop(login);
}

/// What `docker login` of root's has left, gone when dropped.
struct Login;

impl Login {
    const PLACE: &str = "/root/.docker/config.json";

    #[track_caller]
    fn new(file: &Path) -> Self {
        let place = Path::new(Self::PLACE);
        fs::create_dir_all(place.parent().expect("it is a file")).expect("it can be made");
        fs::copy(file, place).expect("it can be copied");
        Self
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        fs::remove_file(Self::PLACE).expect("it is there");
    }
}

#[test]
fn what_was_started_often_can_be_updated_and_rolled_back() {
    let host = Host::new();
    let web = Web::new(&host, "test-often", "", "");
    web.write_unit("[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n");
    web.put("1", FOREVER);
    web.start();
    run("systemctl", ["restart", &web.unit]).success();
    web.put("2", FOREVER);
    web.update(&[]).success();
    assert_eq!(web.runs(), "2");
    run("systemctl", ["restart", &web.unit]).success();
    skim(["rollback", web.name]).success();
    assert_eq!((web.runs().as_str(), web.current()), ("1", 1));
}

#[test]
fn a_registry_is_asked_by_updates_alone() {
    let host = Host::new();
    let registry = Registry::start(&host, Guard::None);
    let web = Web::of(&host, "test-registry", HTTP, "", &registry.image("web:1"));
    web.push(&registry, "1");
    web.start();
    assert_eq!(web.runs(), "1");
    let requests = || registry.requests().len();
    let before = requests();
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!((requests(), web.runs().as_str()), (before, "1"));
    web.push(&registry, "2");
    let is_layer = |line: &String| line.contains("GET /v2/web/blobs/");
    let blobs = || {
        registry
            .requests()
            .iter()
            .filter(|line| is_layer(line))
            .count()
    };
    let before = blobs();
    let table = web.update(&["--dry-run"]).success().stdout;
    assert!(table.contains("sha256-"), "{table}");
    // The configuration, and no layer.
    assert!(blobs() <= before + 1, "{:#?}", registry.requests());
    web.update(&[]).success();
    assert_eq!(web.runs(), "2");
    drop(registry);
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!(web.runs(), "2");
    let outcome = web.update(&[]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(web.runs(), "2");
    // And back, offline.
    skim(["rollback", web.name]).success();
    assert_eq!(web.runs(), "1");
}

#[test]
fn images_of_versions_are_kept() {
    let host = Host::new();
    let web = Web::new(&host, "test-keep", "KeepVersions=2\n", "");
    web.put("1", FOREVER);
    web.start();
    for version in ["2", "3"] {
        web.put(version, FOREVER);
        web.update(&[]).success();
    }
    let versions = web.versions();
    let id = |at: usize| {
        versions[at]["apps"][0]["image_id"]
            .as_str()
            .unwrap_or_default()
    };
    assert_eq!(versions.as_array().map(Vec::len), Some(2), "{versions:#}");
    let refused = skim(["image", "rm", id(0)]);
    assert!(
        refused.stderr.contains("version 2 of test-keep"),
        "{refused:#?}"
    );
    skim(["image", "gc", "--grace-period=0s"]).success();
    let images = skim(["image", "list", "--format=json", "--full"])
        .success()
        .stdout;
    assert!(images.contains(id(0)) && images.contains(id(1)), "{images}");
    skim(["rollback", web.name]).success();
    assert_eq!(web.runs(), "2");
    // An image that is gone is not replaced by whatever is there now.
    skim(["image", "rm", "--force", id(1)]).success();
    let outcome = skim(["rollback", "--to=3", web.name]).success();
    assert!(
        outcome.stdout.contains("version 3 runs"),
        "the file still has it: {outcome:#?}"
    );
    skim(["image", "rm", "--force", id(0)]).success();
    let outcome = skim(["rollback", "--to=2", web.name]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("gone from the store"),
        "{outcome:#?}"
    );
    assert_eq!(web.runs(), "3");
}

#[test]
fn another_reference_in_the_file_counts_at_the_next_start() {
    let host = Host::new();
    let web = Web::new(&host, "test-reference", "", "");
    web.put("1", FOREVER);
    web.start();
    let other = web.build("other", FOREVER);
    web.write_file(&other.display().to_string());
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!(web.runs(), "other");
    assert_eq!(web.current(), 2);
    skim(["rollback", web.name]).success();
    run("systemctl", ["restart", &web.unit]).success();
    assert_eq!(web.runs(), "1");
}

#[test]
fn an_app_that_tells_when_it_is_ready_is_waited_for() {
    let host = Host::new();
    let web = Web::new(&host, "test-notify", "", NOTIFY);
    let script = "sleep 1; systemd-notify --ready; exec sleep 1000";
    web.put("1", script);
    web.start();
    web.put("2", script);
    web.update(&[]).success();
    assert_eq!(web.runs(), "2");
}
