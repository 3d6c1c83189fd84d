//! systemd executed anew (`systemctl daemon-reexec`), as at every update of its package.

use std::fs;

use crate::support::command::{outcome, run, skim, spawn};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::{journal, systemd};

/// An image of an app that waits for a file, and then goes on with `then`.
struct Waiting {
    file: String,
    image: String,
}

impl Waiting {
    fn new(host: &Host, name: &str, then: &str) -> Self {
        let file = host.scratch().join("go").display().to_string();
        let script = format!("until test -e {file}; do sleep 0.1; done; {then}");
        let image = Image::busybox(host, name).exec(&["/bin/sh", "-c", &script]);
        Self {
            file,
            image: image.build().display().to_string(),
        }
    }

    fn go(&self) {
        fs::write(&self.file, "").expect("cannot write");
    }
}

#[track_caller]
fn reexecute() {
    run("systemctl", ["daemon-reexec"]).success();
}

#[test]
fn the_end_of_an_app_is_noticed_afterwards() {
    let host = Host::new();
    let waiting = Waiting::new(&host, "waiting", "exit 6");
    let pod = Pod::start([&waiting.image]);
    let holder = pod.holder();
    reexecute();
    assert_eq!(pod.holder(), holder);
    waiting.go();
    pod.wait_until_gone();
    let status = skim(["status", "--wait", &pod.uuid]).success().stdout;
    assert!(status.contains("app-waiting=6"), "{status}");
    gc();
}

#[test]
fn a_pod_is_stopped_afterwards() {
    let host = Host::new();
    let waiting = Waiting::new(&host, "waiting", "exit 6");
    let pod = Pod::start([&waiting.image]);
    reexecute();
    pod.stop();
    pod.wait_until_gone();
    gc();
}

#[test]
fn a_pod_that_starts_meanwhile_comes_up() {
    let host = Host::new();
    let then = "systemd-notify --ready; exec sleep 1000000";
    let waiting = Waiting::new(&host, "waiting", then);
    let notify = ["--notify", "--property=NotifyAccess=all"];
    let start = spawn(&[&["run", "--detach", &waiting.image], &notify[..]].concat());
    journal::until("the app is starting", || {
        let units = systemd::skim_units();
        let mut names = units.iter().filter_map(|unit| unit.split(' ').next());
        let service = names.find(|name| name.ends_with("-waiting.service"));
        service.is_some_and(|service| systemd::main_pid(service) != 0)
    });
    reexecute();
    waiting.go();
    let start = outcome(start).success();
    skim(["stop", start.stdout.trim()]).success();
    gc();
}
