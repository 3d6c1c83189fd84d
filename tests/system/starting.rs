//! Pods that are ended before they are up.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal;
use crate::support::pod::{Pod, gc};
use crate::support::systemd;
use crate::support::trace::Trace;

const NAME: &str = "unready";

/// `skim run --detach` of an app that never says that it is ready.
struct Starting {
    skim: Child,
    pod: Pod,
}

impl Starting {
    #[track_caller]
    fn new(host: &Host, script: &str) -> Self {
        let image = Image::busybox(host, NAME)
            .exec(&["/bin/sh", "-c", script])
            .annotation(
                "skim.dropin",
                "[Service]\nType=notify\nTimeoutSec=infinity\n",
            )
            .build();
        let child = Command::new("timeout")
            .args(["--foreground", "--kill-after=5", "60", "skim"])
            .args(["run", "--detach"])
            .arg(image)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot run skim");
        let mut pod = None;
        journal::until("the app is starting", || {
            let uuid = skim(["list", "--quiet"]).success().stdout;
            let found = Pod {
                uuid: uuid.trim_end().to_owned(),
            };
            let is_starting = systemd::state(&found.service(NAME)) == "activating (start)";
            pod = is_starting.then_some(found);
            is_starting
        });
        Self {
            skim: child,
            pod: pod.expect("the pod was found"),
        }
    }

    /// Sends a signal to skim, of which timeout(1) is the parent.
    #[track_caller]
    fn signal(&self, signal: &str) {
        let timeout = self.skim.id().to_string();
        run("pkill", ["--signal", signal, "--parent", &timeout]).success();
    }

    #[track_caller]
    fn end(self) -> Outcome {
        let output = self.skim.wait_with_output();
        output.expect("cannot wait for skim").into()
    }
}

#[track_caller]
fn assert_never_up(outcome: &Outcome, says: &str) {
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    assert!(outcome.stderr.contains(says), "{outcome:#?}");
    Trace::assert_none();
}

#[test]
fn a_pod_that_is_stopped_before_it_is_up_does_not_count_as_up() {
    let host = Host::new();
    let starting = Starting::new(&host, "exec sleep 1000000");
    starting.pod.stop();
    assert_never_up(&starting.end(), "was stopped before it was up");
}

#[test]
fn ctrl_c_before_a_pod_is_up_leaves_nothing() {
    let host = Host::new();
    let starting = Starting::new(&host, "exec sleep 1000000");
    starting.signal("INT");
    assert_never_up(&starting.end(), "was stopped before it was up");
}

#[test]
fn a_second_ctrl_c_kills_what_does_not_stop() {
    let host = Host::new();
    let starting = Starting::new(&host, "trap '' TERM; while :; do sleep 1000; done");
    let service = starting.pod.service(NAME);
    starting.signal("INT");
    journal::until("the app is asked to stop", || {
        systemd::state(&service).starts_with("deactivating")
    });
    starting.signal("INT");
    let outcome = starting.end();
    assert_eq!(outcome.code, Some(137), "{outcome:#?}");
    gc();
}

#[test]
fn a_holder_that_is_killed_before_its_pod_is_up_leaves_nothing() {
    let host = Host::new();
    let starting = Starting::new(&host, "exec sleep 1000000");
    run("kill", ["-KILL", &starting.pod.holder().to_string()]).success();
    assert_never_up(&starting.end(), "killed by signal 9");
}

#[test]
fn a_pod_that_nobody_waits_for_any_more_stops_when_it_is_up() {
    let host = Host::new();
    let fifo = host.scratch().join("fifo");
    run("mkfifo", [&fifo]).success();
    // Of type oneshot, it is up when somebody has written to the pipe, and stays so.
    let image = Image::busybox(&host, NAME)
        .exec(&["/bin/cat"])
        .annotation(
            "skim.dropin",
            "[Service]\nType=oneshot\nRemainAfterExit=yes\n",
        )
        .build();
    let mut caller = Command::new("skim")
        .args(["run", "--detach"])
        .arg(image)
        .arg("--")
        .arg(&fifo)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run skim");
    journal::until("the app is starting", || {
        systemd::skim_units()
            .iter()
            .any(|unit| unit.contains("activating"))
    });
    caller.kill().expect("cannot kill skim");
    // Until it has ended it could still be told.
    caller.wait().expect("cannot wait for skim");
    std::fs::write(&fifo, "").expect("cannot write to the pipe");
    journal::until("the pod has stopped", || systemd::skim_units().is_empty());
    // The holder has inherited it, so that this is what the holder said, too.
    let mut said = String::new();
    let stderr = caller.stderr.as_mut().expect("stderr is a pipe");
    stderr.read_to_string(&mut said).expect("it is text");
    assert_eq!(said, "");
    gc();
}
