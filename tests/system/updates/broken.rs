//! Images that do not come up: what ran before runs again.

use super::web::{FOREVER, NOTIFY, Web};
use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::systemd;

/// The update has failed, version 1 runs, and the timer does not try again.
#[track_caller]
fn assert_went_back(web: &Web<'_>, outcome: &Outcome, why: &str) {
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let versions = web.versions();
    assert!(
        outcome.stderr.contains("did not come up"),
        "{outcome:#?}\n{versions:#}"
    );
    assert!(outcome.stderr.contains(why), "{why}: {outcome:#?}");
    let again = format!("version {} runs again", web.current());
    assert!(
        outcome.stderr.contains(&again),
        "{outcome:#?}\n{versions:#}"
    );
    assert_eq!(web.runs(), "1");
    assert_eq!(systemd::state(&web.unit), "active (running)");
    let invocation = systemd::property(&web.unit, "InvocationID");
    let again = skim(["update", "--all", "--format=json"]).success();
    assert!(again.stdout.contains("\"skipped\""), "{again:#?}");
    assert_eq!(systemd::property(&web.unit, "InvocationID"), invocation);
    let pods = skim(["list", "--quiet"]).success().stdout;
    assert_eq!(pods.lines().count(), 1, "{pods}");
}

#[track_caller]
fn broken(host: &Host, name: &'static str, app: &str, good: &str, bad: &str, why: &[&str]) {
    let web = Web::new(host, name, "AutoUpdate=yes\n", app);
    web.put("1", good);
    web.start();
    web.put("2", bad);
    let outcome = web.update(&["--timeout=10s"]);
    for why in why {
        assert_went_back(&web, &outcome, why);
    }
}

#[test]
fn a_missing_program() {
    let host = Host::new();
    let web = Web::new(&host, "test-missing", "AutoUpdate=yes\n", "");
    web.put("1", FOREVER);
    web.start();
    web.put_without_program("2");
    let outcome = web.update(&[]);
    // It shows while the pod is made, before anything is stopped, or else at its start.
    assert!(matches!(outcome.code, Some(1 | 254)), "{outcome:#?}");
    assert!(outcome.stderr.contains("/bin/missing"), "{outcome:#?}");
    assert_eq!((web.runs().as_str(), web.current()), ("1", 1));
}

/// The interpreter of a script, which shows only when it is executed.
#[test]
fn a_program_that_cannot_be_executed() {
    let host = Host::new();
    let web = Web::new(&host, "test-interpreter", "AutoUpdate=yes\n", "Exec=/app\n");
    web.put_file("1", "#!/bin/sh\nexec sleep 1000\n");
    web.start();
    web.put_file("2", "#!/bin/missing-interpreter\n");
    let outcome = web.update(&[]);
    assert!(outcome.stderr.contains("203"), "{outcome:#?}");
    assert_went_back(&web, &outcome, "missing-interpreter");
}

#[test]
fn an_app_that_exits_at_once() {
    let host = Host::new();
    broken(
        &host,
        "test-exits",
        "",
        FOREVER,
        "echo oh no; exit 7",
        &["code 7", "oh no"],
    );
}

#[test]
fn an_app_that_exits_with_0_soon() {
    let host = Host::new();
    let why = ["ended soon after it was ready"];
    broken(&host, "test-ends", "", FOREVER, "sleep 1", &why);
}

#[test]
fn an_app_that_is_never_ready() {
    let host = Host::new();
    let good = "systemd-notify --ready; exec sleep 1000";
    let why = ["not ready within 10s"];
    broken(&host, "test-unready", NOTIFY, good, FOREVER, &why);
}

#[test]
fn an_app_that_is_restarted_again_and_again() {
    let host = Host::new();
    let why = ["its app web ended soon after it was ready, and was restarted"];
    let app = "Restart=always\nRestartSec=100ms\nStartLimitIntervalSec=0\n";
    broken(
        &host,
        "test-app-restarts",
        app,
        FOREVER,
        "sleep 1; exit 1",
        &why,
    );
}

/// A service that systemd starts again however it ends, and whose new image runs `script`.
fn restarted_again_and_again(name: &'static str, script: &str) {
    let host = Host::new();
    let web = Web::new(&host, name, "AutoUpdate=yes\n", "");
    let limit = "[Unit]\nStartLimitIntervalSec=0\n";
    web.write_unit(&format!(
        "{limit}[Service]\nRestart=always\nRestartSec=100ms\n"
    ));
    web.put("1", FOREVER);
    web.start();
    web.put("2", script);
    let outcome = web.update(&[]);
    assert_went_back(&web, &outcome, "did not come up");
}

#[test]
fn a_service_that_is_restarted_again_and_again() {
    restarted_again_and_again("test-restarts", "exit 1");
}

#[test]
fn a_service_that_is_restarted_again_and_again_after_a_while() {
    restarted_again_and_again("test-later", "sleep 1; exit 1");
}

#[test]
fn neither_comes_up() {
    let host = Host::new();
    let flag = host.scratch().join("down");
    let good = format!("test -e {} && exit 3; exec sleep 1000", flag.display());
    let web = Web::new(&host, "test-down", "", "");
    web.put("1", &good);
    web.start();
    web.put("2", &format!("touch {}; exit 4", flag.display()));
    let outcome = web.update(&[]);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    assert!(outcome.stderr.contains("test-down IS DOWN"), "{outcome:#?}");
    assert_eq!(web.current(), 1);
    run("rm", [&flag]).success();
    web.start();
    assert_eq!(web.runs(), "1");
}
