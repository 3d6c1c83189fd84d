//! Behaviours of pods that rkt's own tests demand, named after those tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::support::command::{outcome, run, skim, spawn};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::store::assert_one_line;
use crate::support::trace::{STATE, Trace, mounts};

fn sleeper(host: &Host, name: &str) -> PathBuf {
    Image::busybox(host, name)
        .exec(&["/bin/sleep", "1000000"])
        .build()
}

/// Runs an image to its end, and returns its pod.
#[track_caller]
fn run_to_the_end(host: &Host, image: &Path) -> Pod {
    let file = host.scratch().join("uuid-of-a-run");
    let save = format!("--uuid-file-save={}", file.display());
    skim(["run", &save, &image.to_string_lossy()]).success();
    let uuid = fs::read_to_string(&file).expect("the UUID was saved");
    Pod { uuid }
}

#[track_caller]
fn state(pod: &Pod) -> String {
    let status = skim(["status", &pod.uuid]).success().stdout;
    let line = status.lines().next().unwrap_or_default();
    line.strip_prefix("state=").unwrap_or_default().to_owned()
}

/// rkt_gc, TestGC: finished, prepared and aborted pods; --mark-only keeps all, 0 empties.
/// Adapted: what broke off is made by hand.
#[test]
fn rkt_gc_mark_only_keeps_and_no_grace_period_empties() {
    let host = Host::new();
    let image = Image::busybox(&host, "brief").exec(&["/bin/true"]).build();
    let finished = [run_to_the_end(&host, &image), run_to_the_end(&host, &image)];
    skim(["prepare".as_ref(), image.as_os_str()]).success();
    let aborted = "00000000-0000-4000-8000-000000000002";
    let path: PathBuf = [STATE, "pods/prepare", aborted].iter().collect();
    fs::create_dir(path).expect("cannot make a pod");
    skim(["gc", "--mark-only"]).success();
    let marked = Trace::take();
    assert_eq!(marked.pods.len(), 4, "{marked:#?}");
    assert_eq!(marked.unit_files, Vec::<String>::new());
    assert_eq!(marked.mounts, Vec::<String>::new());
    for pod in &finished {
        assert_eq!(state(pod), "exited garbage");
    }
    skim(["gc", "--grace-period=1h"]).success();
    let left = Trace::take().pods.len();
    assert_eq!(left, 3, "what was marked and what was prepared stay");
    skim(["gc", "--grace-period=0s", "--expire-prepared=0s"]).success();
    Trace::assert_none();
}

/// rkt_gc, TestGCAfterUnmount: a pod whose rootfs was unmounted before.
#[test]
fn rkt_gc_after_unmount() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "unmounted")]);
    pod.stop();
    run("umount", [pod.rootfs("unmounted")]).success();
    gc();
    Trace::assert_none();
}

/// rkt_stop: stop, stop --force, stop --uuid-file; exited within 15 s.
#[test]
fn rkt_stop_by_name_by_force_and_by_file() {
    let host = Host::new();
    let image = sleeper(&host, "stopped");
    let file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let from_file = format!("--uuid-file={}", file.display());
    for flags in [None, Some("--force"), Some(from_file.as_str())] {
        let pod = Pod::start([save.as_ref(), image.as_os_str()]);
        let mut args = vec!["stop"];
        match flags {
            Some(flag) if flag == from_file => args.push(flag),
            Some(flag) => args.extend([flag, &pod.uuid]),
            None => args.push(&pod.uuid[..8]),
        }
        assert_eq!(skim(&args).line(), format!("\"{}\"", pod.uuid));
        let status = skim(["status", &pod.uuid, "--wait=15s"]).success().stdout;
        assert!(status.starts_with("state=exited\n"), "{status}");
        // Stopped already.
        skim(&args).success();
        gc();
    }
}

/// rkt_rm: pods that have run and one that was prepared, a bad UUID and an empty one.
#[test]
fn rkt_rm_removes_and_refuses_what_is_no_uuid() {
    let host = Host::new();
    let image = Image::busybox(&host, "brief").exec(&["/bin/true"]).build();
    let prepared = skim(["prepare".as_ref(), image.as_os_str()]).line();
    let pods = [
        run_to_the_end(&host, &image),
        run_to_the_end(&host, &image),
        Pod { uuid: prepared },
    ];
    assert_one_line(&skim(["rm", ""]), "UUID cannot be empty");
    assert_one_line(&skim(["rm", "some-nonexistent-uuid"]), "no matches found");
    let outcome = skim([
        "rm",
        "ffffffff",
        &pods[0].uuid,
        "",
        &pods[1].uuid,
        &pods[2].uuid,
    ]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    let removed = pods.each_ref().map(|pod| format!("\"{}\"\n", pod.uuid));
    assert_eq!(outcome.stdout, removed.concat());
    Trace::assert_none();
}

/// rkt_list: image and app are told after the image is gone from the store; the times are right
/// within 2 s.
#[test]
fn rkt_list_survives_the_removal_of_the_image_and_tells_the_time() {
    let host = Host::new();
    let image = sleeper(&host, "listed");
    let before = seconds();
    let pod = Pod::start([&image]);
    let after = seconds();
    skim(["image", "rm", "example.com/listed"]);
    let list = skim(["list", "--full", "--no-legend"]).success().stdout;
    for part in [
        &pod.uuid,
        "listed",
        "example.com/listed:1.0.0",
        "sha512-",
        "running",
    ] {
        assert!(list.contains(part), "{part} is not in {list}");
    }
    let json = skim(["list", "--format=json"]).success().stdout;
    let json: Value = serde_json::from_str(&json).expect("list printed JSON");
    for (key, unit) in [("created_at", 1), ("started_at", 1)] {
        let time = json[0][key].as_i64().expect("a time is a number") / unit;
        assert!(
            (before - 2..=after + 2).contains(&time),
            "{key} {time} is not between {before} and {after}"
        );
    }
    let app = &json[0]["apps"][0];
    let nanoseconds = app["started_at"].as_i64().expect("a time is a number");
    assert_eq!(nanoseconds / 1_000_000_000, json[0]["started_at"]);
    assert_eq!(json[0]["app_names"][0], "listed");
    assert_eq!(app["state"], "running");
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.expect("it is after 1970").as_secs()).expect("it is before the end")
}

/// rkt_status: a pod told by a file.
#[test]
fn rkt_status_by_uuid_file() {
    let host = Host::new();
    let image = Image::busybox(&host, "ended")
        .exec(&["/bin/sh", "-c", "exit 3"])
        .build();
    let file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let outcome = skim(["run", &save, &image.to_string_lossy()]);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    let flag = format!("--uuid-file={}", file.display());
    let status = skim(["status", &flag]).success().stdout;
    for line in ["state=exited", "exited=true", "app-ended=3"] {
        assert!(status.lines().any(|other| other == line), "{status}");
    }
    let bad = skim(["status", "--uuid-file=/nowhere/uuid"]);
    assert_one_line(&bad, "/nowhere/uuid");
}

/// What the app of [`rkt_export_runs_again`] leaves, and what its export is asked for.
const WRITTEN: &str = "written by the app";

#[track_caller]
fn export_and_run_again(host: &Host, before_export: impl Fn(&Pod)) {
    let script = format!("echo {WRITTEN} >kept");
    let image = Image::busybox(host, "exported")
        .exec(&["/bin/sh", "-c", &script])
        .build();
    let pod = run_to_the_end(host, &image);
    before_export(&pod);
    let file = host.scratch().join("exported-again.aci");
    let path = file.to_string_lossy();
    skim(["export", "--overwrite", &pod.uuid, &path]).success();
    let again = ["run", "--rm", &path, "--exec=/bin/cat", "--", "kept"];
    assert_eq!(skim(again).line(), WRITTEN);
    gc();
    Trace::assert_none();
}

/// rkt_export: what an app wrote is in its export, and the export runs.
#[test]
fn rkt_export_runs_again() {
    let host = Host::new();
    export_and_run_again(&host, |_| ());
}

/// rkt_export, overlaySimulateReboot: the overlay is not mounted any more.
#[test]
fn rkt_export_after_a_simulated_reboot() {
    let host = Host::new();
    export_and_run_again(&host, |pod| {
        run("umount", [pod.rootfs("exported")]).success();
        let left = mounts();
        assert_eq!(left, Vec::<String>::new());
    });
}

/// rkt_export: of a pod that gc has marked.
#[test]
fn rkt_export_of_a_marked_pod() {
    let host = Host::new();
    export_and_run_again(&host, |pod| {
        skim(["gc", "--mark-only"]).success();
        assert_eq!(state(pod), "exited garbage");
    });
}

/// rkt_export: of several apps one has to be named.
#[test]
fn rkt_export_of_several_apps_wants_one_named() {
    let host = Host::new();
    let image = |name: &str, text: &str| {
        let script = format!("echo {text} >kept");
        Image::busybox(&host, name)
            .exec(&["/bin/sh", "-c", &script])
            .build()
    };
    let file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let (one, two) = (image("one", "first"), image("two", "second"));
    skim([
        "run".as_ref(),
        save.as_ref(),
        one.as_os_str(),
        two.as_os_str(),
    ])
    .success();
    let uuid = fs::read_to_string(&file).expect("the UUID was saved");
    let aci = host.scratch().join("out.aci");
    let aci = aci.to_string_lossy();
    assert_one_line(&skim(["export", &uuid, &aci]), "several apps");
    assert_one_line(&skim(["export", "--app=three", &uuid, &aci]), "no app");
    skim(["export", "--app=two", &uuid, &aci]).success();
    let again = ["run", "--rm", &aci, "--exec=/bin/cat", "--", "kept"];
    assert_eq!(skim(again).line(), "second");
}

#[track_caller]
fn enter(pod: &Pod) -> Child {
    spawn(&["enter", &pod.uuid, "--", "echo", "in"])
}

/// Takes a pod's file with its holder's process ID away, and says where it is and was.
#[track_caller]
fn hide_pid(pod: &Pod) -> (PathBuf, PathBuf) {
    let directory: PathBuf = [STATE, "pods/run", &pod.uuid].iter().collect();
    let (pid, aside) = (directory.join("pid"), directory.join("pid.aside"));
    fs::rename(&pid, &aside).expect("cannot move the file");
    (aside, pid)
}

/// rkt_pid_file, TestPidFileDelayedStart: enter waits for the process ID.
#[test]
fn rkt_pid_file_enter_waits_for_it() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "delayed")]);
    let (aside, pid) = hide_pid(&pod);
    let waiting = run(
        "timeout",
        ["0.5", "skim", "enter", &pod.uuid, "--", "echo", "in"],
    );
    assert_eq!(waiting.code, Some(124), "it did not wait: {waiting:#?}");
    let waiting = enter(&pod);
    fs::rename(&aside, &pid).expect("cannot move the file");
    assert_eq!(outcome(waiting).line(), "in");
}

/// rkt_pid_file, TestPidFileAbortedStart: enter gives up less than a second after the pod's end.
#[test]
fn rkt_pid_file_enter_gives_up_when_the_pod_dies() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "aborted")]);
    hide_pid(&pod);
    let mut waiting = enter(&pod);
    assert!(waiting.try_wait().expect("it can be waited for").is_none());
    run("kill", ["-KILL", &pod.holder().to_string()]).success();
    let killed = Instant::now();
    let outcome = outcome(waiting);
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    assert_one_line(&outcome, "is exited");
    pod.wait_until_gone();
    gc();
}
