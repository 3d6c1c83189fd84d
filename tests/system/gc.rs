//! What is left after gc: nothing.

use std::path::Path;

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::Cursor;
use crate::support::pod::{Pod, gc};
use crate::support::systemd;
use crate::support::trace::Trace;

const BATCH: usize = 10;

fn image(host: &Host) -> std::path::PathBuf {
    Image::busybox(host, "garbage")
        .exec(&["/bin/sleep", "1000000"])
        .build()
}

#[test]
fn ten_pods_leave_nothing_after_one_gc_with_one_daemon_reload() {
    let host = Host::new();
    let image = image(&host);
    let cursor = Cursor::now();
    let pods: Vec<_> = (0..BATCH).map(|_| Pod::start([&image])).collect();
    assert_eq!(Trace::take().pods.len(), BATCH);
    skim(
        ["stop"]
            .into_iter()
            .chain(pods.iter().map(|pod| pod.uuid.as_str())),
    )
    .success();
    assert_eq!(
        systemd::reloads_since(&cursor),
        0,
        "a reload stood in the way of starting or stopping"
    );

    gc();

    Trace::assert_none();
    assert_eq!(systemd::reloads_since(&cursor), 1);
}

#[test]
fn gc_without_garbage_reloads_nothing() {
    let host = Host::new();
    let pod = Pod::start([image(&host)]);
    let cursor = Cursor::now();
    gc();
    assert_eq!(systemd::reloads_since(&cursor), 0);
    assert_eq!(systemd::state(&pod.service("garbage")), "active (running)");
}

#[test]
fn gc_spares_pods_within_the_grace_period() {
    let host = Host::new();
    let pod = Pod::start([image(&host)]);
    pod.stop();
    skim(["gc", "--grace-period=1h"]).success();
    assert_eq!(Trace::take().pods.len(), 1);
    gc();
    Trace::assert_none();
}

#[test]
fn a_dry_run_of_gc_names_the_pod_and_leaves_it() {
    let host = Host::new();
    let pod = Pod::start([image(&host)]);
    pod.stop();
    let before = Trace::take();
    let outcome = skim(["gc", "--grace-period=0s", "--dry-run"]).success();
    assert!(outcome.stdout.contains(&pod.uuid), "{outcome:#?}");
    assert_eq!(Trace::take(), before);
}

#[test]
fn rm_removes_one_exited_pod_and_refuses_a_running_one() {
    let host = Host::new();
    let image = image(&host);
    let (exited, running) = (Pod::start([&image]), Pod::start([&image]));
    exited.stop();
    let outcome = skim(["rm", &running.uuid, &exited.uuid]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(
        systemd::state(&running.service("garbage")),
        "active (running)"
    );
    let pods = Trace::take().pods;
    assert_eq!(pods.len(), 1, "{pods:?}");
    assert!(pods[0].ends_with(&running.uuid), "{pods:?}");
}

#[test]
fn run_with_rm_leaves_nothing() {
    let host = Host::new();
    let image = Image::busybox(&host, "vanishing")
        .exec(&["/bin/echo", "here"])
        .build();
    let outcome = skim(["run".as_ref(), "--rm".as_ref(), image.as_os_str()]).success();
    assert_eq!(outcome.stdout, "here\n");
    Trace::assert_none();
}

#[test]
fn the_shipped_timer_calls_gc() {
    let _host = Host::new();
    let units = ["skim-gc.service", "skim-gc.timer"]
        .map(|unit| Path::new("/usr/local/lib/systemd/system").join(unit));
    let verify = crate::support::command::run(
        "systemd-analyze",
        [
            "verify".as_ref(),
            "--man=no".as_ref(),
            units[0].as_os_str(),
            units[1].as_os_str(),
        ],
    )
    .success();
    assert_eq!(verify.stdout + &verify.stderr, "");
}

/// Whoever can open a pod's directory can lock it, and so pass for its holder.
#[test]
fn nobody_but_root_can_open_or_read_a_pod() {
    let host = Host::new();
    let pod = Pod::start([image(&host)]);
    let rootfs = pod.rootfs("garbage");
    let directory = rootfs.ancestors().nth(3).expect("a pod's directory");
    for path in [directory.to_path_buf(), directory.join("pod")] {
        let path = path.to_str().expect("the path is UTF-8");
        let outcome = run("setpriv", ["--reuid=65534", "--clear-groups", "cat", path]);
        assert_ne!(outcome.code, Some(0), "{path}");
        assert!(outcome.stderr.contains("Permission denied"), "{outcome:#?}");
    }
}

#[test]
fn skim_s_directory_may_be_reached_through_a_symbolic_link() {
    let host = Host::new();
    let image = image(&host);
    let (real, link) = (host.scratch().join("real"), host.scratch().join("link"));
    std::os::unix::fs::symlink(&real, &link).expect("cannot make a link");
    std::fs::create_dir(&real).expect("cannot make a directory");
    let dir = format!("--dir={}", link.display());
    let image = image.to_string_lossy();
    let uuid = skim([&dir, "run", "--detach", &image]).line();
    skim([&dir, "stop", &uuid]).success();
    skim([&dir, "gc"]).success();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("cannot read mountinfo");
    assert!(!mounts.contains(&real.display().to_string()), "{mounts}");
}

#[test]
fn a_forced_stop_ends_what_outlived_an_exited_pod() {
    let host = Host::new();
    let image = Image::busybox(&host, "garbage")
        .exec(&["/bin/sh", "-c", "sleep 1000000 & exec sleep 1000000"])
        .annotation("skim.dropin", "[Service]\nKillMode=process\n")
        .build();
    let pod = Pod::start([image]);
    pod.stop();
    let kept = skim(["gc"]);
    assert_eq!(
        (kept.code, kept.stdout.as_str()),
        (Some(0), ""),
        "{kept:#?}"
    );
    assert!(kept.stderr.contains("(sleep "), "{kept:#?}");
    let refused = skim(["rm", &pod.uuid]);
    assert_eq!(refused.code, Some(254), "{refused:#?}");
    skim(["stop", "--force", &pod.uuid]).success();
    gc();
    Trace::assert_none();
}

#[test]
fn a_pod_of_very_many_apps_is_collected() {
    const APPS: usize = 270;
    let host = Host::new();
    let image = Image::busybox(&host, "many").exec(&["/bin/true"]).build();
    let mut args = vec!["run".to_owned()];
    for number in 0..APPS {
        args.push(image.to_string_lossy().into_owned());
        args.push(format!("--name=app{number}"));
        args.push("--requires=".to_owned());
    }
    skim(args).success();
    gc();
    Trace::assert_none();
}

#[test]
fn gc_takes_away_what_a_killed_skim_left_among_the_unit_files() {
    let host = Host::new();
    let pod = Pod::start([image(&host)]);
    pod.stop();
    let units = Path::new("/run/systemd/system");
    let aside = units.join(format!(".{}.new", pod.slice()));
    std::fs::write(&aside, "").expect("cannot write a unit file");
    gc();
    assert!(!aside.exists(), "{} is left", aside.display());

    let slice = units.join("skim.slice");
    std::fs::write(&slice, "").expect("cannot write a unit file");
    gc();
    assert!(!slice.exists(), "{} is left", slice.display());
}
