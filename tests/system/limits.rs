//! Limits limit. A kernel of their own is what these tests need: in the container that the others
//! run in, there may be no controllers, and then every limit is accepted and does nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::cgroup::{self, Cgroup};
use crate::support::command::{Outcome, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::pod::Pod;
use crate::support::systemd;

/// 128 + SIGKILL.
const KILLED: Option<i32> = Some(137);

/// 64 MiB, as the kernel writes it.
const LIMIT: &str = "67108864";

#[track_caller]
fn host() -> Host {
    cgroup::require(&["cpu", "memory"]);
    Host::new()
}

/// An image whose app runs a script.
#[track_caller]
fn script(host: &Host, name: &str, script: &str) -> PathBuf {
    let exec = ["/bin/sh", "-c", script];
    Image::busybox(host, name).exec(&exec).build()
}

#[track_caller]
fn sleeper(host: &Host, name: &str) -> PathBuf {
    script(host, name, "exec sleep 1000000")
}

/// Takes so much memory, and gives it back and exits with 0 if it gets it: dd(1) fills a buffer of
/// the block size.
fn take(size: &str) -> String {
    format!("exec busybox dd if=/dev/zero of=/dev/null count=1 bs={size}")
}

/// As [`take`], but keeps it: dd cannot get rid of its block, as nobody reads the pipe.
fn keep(size: &str) -> String {
    let keep = format!("exec busybox dd if=/dev/zero count=1 bs={size} 1<>pipe");
    format!("busybox mkfifo pipe && {keep}")
}

/// Of each app that was killed for want of memory since the cursor, the service.
#[track_caller]
fn out_of_memory(cursor: &Cursor) -> Vec<String> {
    let messages = cursor.messages(&["_PID=1"]).into_iter();
    messages
        .filter(|message| message.text.ends_with("Failed with result 'oom-kill'."))
        .map(|message| message.unit)
        .collect()
}

/// `ONE FLAGS… --- TWO`: the flags are those of the first app.
fn two(one: &Path, flags: &[&str], two: &Path) -> Vec<OsString> {
    let flags = flags.iter().map(OsString::from);
    let first = [OsString::from(one)].into_iter().chain(flags);
    first.chain(["---".into(), two.into()]).collect()
}

#[track_caller]
fn run_pod(args: Vec<OsString>) -> Outcome {
    skim([OsString::from("run")].into_iter().chain(args))
}

#[test]
fn an_app_is_killed_at_its_memory() {
    let flag = "--memory=64M";
    let host = host();
    let bystander = Pod::start([sleeper(&host, "bystander")]);
    let within = script(&host, "within", &take("16M"));
    skim(["run".as_ref(), within.as_os_str(), flag.as_ref()]).success();
    let hog = script(&host, "hog", &take("200M"));
    // There is as much: it is the limit that kills.
    skim(["run".as_ref(), hog.as_os_str()]).success();

    let cursor = Cursor::now();
    let outcome = run_pod(two(&hog, &[flag], &sleeper(&host, "peer")));

    assert_eq!(outcome.code, KILLED, "{outcome:#?}");
    let killed = out_of_memory(&cursor);
    assert_eq!(killed.len(), 1, "{killed:?}");
    assert!(killed[0].ends_with("-hog.service"), "{killed:?}");
    // The app took its pod with it, as every app that fails does, and no other pod.
    let bystander = bystander.service("bystander");
    assert_eq!(systemd::state(&bystander), "active (running)");
    journal::until("only the bystander's pod is left", || {
        let apps = systemd::skim_units().into_iter();
        let services: Vec<_> = apps.filter(|unit| unit.contains(".service")).collect();
        services.len() == 1 && services[0].contains(&bystander)
    });
}

/// Two apps spin; one of them may have a fifth of a processor.
#[test]
fn a_spinning_app_is_held_to_its_cpu() {
    let host = host();
    let spin = "while :; do :; done";
    let (bounded, free) = (script(&host, "bounded", spin), script(&host, "free", spin));
    let pod = Pod::start(two(&bounded, &["--cpu=200m"], &free));
    let bounded = Cgroup::of(&pod.service("bounded"));
    let free = Cgroup::of(&pod.service("free"));
    let usage = || (bounded.cpu("usage_usec"), free.cpu("usage_usec"));

    let (start, before, periods) = (Instant::now(), usage(), bounded.cpu("nr_periods"));
    journal::until("four seconds' worth of periods have passed", || {
        bounded.cpu("nr_periods") >= periods + 40
    });
    let (after, elapsed) = (usage(), start.elapsed().as_micros());

    let (bounded_usage, free_usage) = (after.0 - before.0, after.1 - before.1);
    let told = format!("{bounded_usage} and {free_usage} of {elapsed} µs");
    // A fifth, and half as much again.
    assert!(u128::from(bounded_usage) * 10 < elapsed * 3, "{told}");
    assert!(free_usage > bounded_usage * 2, "{told}");
    assert!(bounded.cpu("nr_throttled") > 0, "{told}");
    assert_eq!(free.read("cpu.max"), "max 100000");
}

/// The flags, that give an app 64 MiB, a fifth of a processor and half of the usual weight, reach
/// the kernel, and for this app alone.
#[track_caller]
fn assert_limits_stand_in_the_cgroup(flags: [&str; 3]) {
    let host = host();
    let (limited, other) = (sleeper(&host, "limited"), sleeper(&host, "other"));
    let pod = Pod::start(two(&limited, &flags, &other));
    let limits = |app| {
        let cgroup = Cgroup::of(&pod.service(app));
        ["memory.max", "cpu.max", "cpu.weight"].map(|file| cgroup.read(file))
    };
    assert_eq!(limits("limited"), [LIMIT, "20000 100000", "50"]);
    assert_eq!(limits("other"), ["max", "max 100000", "100"]);
}

#[test]
fn properties_stand_in_the_apps_cgroup() {
    let properties = ["MemoryMax=64M", "CPUQuota=20%", "CPUWeight=50"];
    let flags = properties.map(|property| format!("--property={property}"));
    assert_limits_stand_in_the_cgroup(flags.each_ref().map(String::as_str));
}

#[test]
fn flags_stand_in_the_apps_cgroup() {
    assert_limits_stand_in_the_cgroup(["--memory=64Mi", "--cpu=200m", "--cpu-shares=512"]);
}

/// A file with a manifest of a pod of these images, each an app of the image's name, and with
/// these isolators of the pod.
#[track_caller]
fn pod_manifest(host: &Host, images: &[(&str, &Path)], isolators: &[(&str, &str)]) -> OsString {
    let app = |&(name, image): &(&str, &Path)| {
        let id = skim(["fetch".as_ref(), "--full".as_ref(), image.as_os_str()]).line();
        json!({ "name": name, "image": { "name": format!("example.com/{name}"), "id": id } })
    };
    let isolator =
        |(name, limit): &(&str, &str)| json!({ "name": name, "value": { "limit": limit } });
    let manifest = json!({
        "acKind": "PodManifest",
        "acVersion": "0.8.11",
        "apps": images.iter().map(app).collect::<Value>(),
        "isolators": isolators.iter().map(isolator).collect::<Value>(),
    });
    let path = host.scratch().join("pod.json");
    fs::write(&path, manifest.to_string()).expect("cannot write the pod's manifest");
    let mut flag = OsString::from("--pod-manifest=");
    flag.push(path);
    flag
}

/// No app of the pod has a limit of its own, and each takes less than the pod may have.
#[test]
fn a_pods_memory_isolator_covers_all_its_apps() {
    let host = host();
    let (one, another) = (
        script(&host, "one", &keep("40M")),
        script(&host, "two", &keep("40M")),
    );
    let alone = script(&host, "alone", &take("40M"));
    let isolators = [("resource/memory", LIMIT)];
    run_pod(vec![pod_manifest(&host, &[("alone", &alone)], &isolators)]).success();

    let cursor = Cursor::now();
    let apps = [("one", one.as_path()), ("two", &another)];
    let outcome = run_pod(vec![pod_manifest(&host, &apps, &isolators)]);

    assert_eq!(outcome.code, KILLED, "{outcome:#?}");
    let killed = out_of_memory(&cursor);
    // The kernel takes the other one, too, where the first takes long to die.
    assert!(!killed.is_empty(), "{outcome:#?}");
    journal::until("no unit is left", || systemd::skim_units().is_empty());
}

#[test]
fn a_pods_isolators_stand_in_its_slices_cgroup() {
    let host = host();
    let image = sleeper(&host, "limited");
    let isolators = [("resource/memory", LIMIT), ("resource/cpu", "200m")];
    let manifest = pod_manifest(&host, &[("limited", &image)], &isolators);
    let pod = Pod::start([manifest]);
    let slice = Cgroup::of(&pod.slice());
    assert_eq!(slice.read("memory.max"), LIMIT);
    assert_eq!(slice.read("cpu.max"), "20000 100000");
}
