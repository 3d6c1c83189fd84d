//! The end of a pod, by whatever way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::daemons::DockerPod;
use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::pod::{Pod, gc};
use crate::support::{process, systemd};

/// systemd.journal-fields(7): the job that stops a unit begins, and has ended.
const STOPPING: &str = "MESSAGE_ID=de5b426a63be47a7b6ac3eaac82e2f6f";
const STOPPED: &str = "MESSAGE_ID=9d1aaa27d60140bd96365438aad20286";

/// The position of each unit's first such message.
fn order(cursor: &Cursor, message: &str) -> BTreeMap<String, u64> {
    let mut positions = BTreeMap::new();
    for entry in cursor.messages(&["_PID=1", message]) {
        positions.entry(entry.unit).or_insert(entry.time);
    }
    positions
}

#[track_caller]
fn assert_docker_stopped_first(cursor: &Cursor, docker: &DockerPod) {
    let stopped = order(cursor, STOPPED);
    let stopping = order(cursor, STOPPING);
    let dockerd = stopped.get(&docker.dockerd()).expect("dockerd was stopped");
    let containerd = stopping
        .get(&docker.containerd())
        .expect("containerd was stopped");
    assert!(
        dockerd <= containerd,
        "dockerd had stopped at {dockerd}, containerd was told to at {containerd}"
    );
}

#[test]
fn stop_stops_dockerd_before_containerd_and_leaves_no_unit() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let cursor = Cursor::now();
    docker.pod.stop();
    assert_eq!(systemd::skim_units(), Vec::<String>::new());
    assert_docker_stopped_first(&cursor, &docker);
}

#[test]
fn a_killed_holder_stops_dockerd_before_containerd_and_leaves_no_unit() {
    let host = Host::new();
    let docker = DockerPod::start(&host);
    let cursor = Cursor::now();
    run("kill", ["-KILL", &docker.pod.holder().to_string()]).success();
    docker.pod.wait_until_gone();
    assert_eq!(systemd::skim_units(), Vec::<String>::new());
    assert_docker_stopped_first(&cursor, &docker);
    gc();
}

fn sleeper(host: &Host, name: &str) -> PathBuf {
    Image::busybox(host, name)
        .exec(&["/bin/sleep", "1000000"])
        .build()
}

#[test]
fn a_forced_stop_kills() {
    let host = Host::new();
    // A shell that ignores SIGTERM would hold up a stop for 90 seconds.
    let image = Image::busybox(&host, "stubborn").exec(&[
        "/bin/sh",
        "-c",
        "trap '' TERM; while :; do sleep 1000; done",
    ]);
    let pod = Pod::start([image.build()]);
    let pid = systemd::main_pid(&pod.service("stubborn"));
    skim(["stop", "--force", &pod.uuid]).success();
    assert_eq!(process::start_time(pid), None, "the app lives on");
    pod.wait_until_gone();
}

#[test]
fn stopping_a_stopped_pod_succeeds() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "twice")]);
    pod.stop();
    pod.stop();
}

#[test]
fn an_app_that_fails_stops_the_pod_with_its_code() {
    let host = Host::new();
    let peer = sleeper(&host, "peer");
    let failing = Image::busybox(&host, "failing")
        .exec(&["/bin/sh", "-c", "exit 5"])
        .build();
    let outcome = skim([
        "run".into(),
        peer.into_os_string(),
        failing.into_os_string(),
    ]);
    assert_eq!(outcome.code, Some(5), "{outcome:#?}");
    journal::until("no unit is left", || systemd::skim_units().is_empty());
}

#[test]
fn a_clean_exit_leaves_the_others_running() {
    let host = Host::new();
    let brief = Image::busybox(&host, "brief").exec(&["/bin/true"]).build();
    let pod = Pod::start([sleeper(&host, "lasting"), brief]);
    let brief = pod.service("brief");
    journal::until("the brief app has exited", || {
        !systemd::state(&brief).starts_with("activ")
    });
    assert_eq!(systemd::state(&pod.service("lasting")), "active (running)");
    assert_eq!(systemd::state(&pod.scope()), "active (running)");
}

/// Each time in another order of systemd's choice: what it stops for the sake of an app that has
/// ended already, it must stop for the pod's.
#[test]
fn apps_after_one_that_has_ended_stop_with_their_pod() {
    let host = Host::new();
    let brief = Image::busybox(&host, "brief").exec(&["/bin/true"]).build();
    let lasting = sleeper(&host, "lasting");
    let cursor = Cursor::now();
    for round in 0..6 {
        let pod = Pod::start([&brief, &lasting]);
        let brief = pod.service("brief");
        journal::until("the brief app has exited", || {
            systemd::state(&brief) == "inactive (dead)"
        });
        match round % 3 {
            // As the package does when it is removed.
            0 => drop(run("systemctl", ["stop", "skim.slice"]).success()),
            _ => pod.stop(),
        }
        pod.wait_until_gone();
        gc();
    }
    // Else the holder waits for its apps until systemd kills it, and then they are stopped.
    let messages = cursor.messages(&["_PID=1"]).into_iter();
    let late: Vec<_> = messages
        .filter(|message| message.text.contains("timed out"))
        .map(|message| message.text)
        .collect();
    assert_eq!(late, Vec::<String>::new());
}

#[test]
fn a_pod_whose_apps_have_all_exited_has_exited() {
    let host = Host::new();
    let one = Image::busybox(&host, "one").exec(&["/bin/true"]).build();
    let two = Image::busybox(&host, "two")
        .exec(&["/bin/sh", "-c", "exit 0"])
        .build();
    assert_eq!(
        skim(["run".into(), one.into_os_string(), two.into_os_string()]).code,
        Some(0)
    );
    journal::until("no unit is left", || systemd::skim_units().is_empty());
}
