//! Isolators hold: what the app may do is what was asked for, whoever it runs as.

use serde_json::{Value, json};

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::systemd;
use crate::support::trace::Trace;

/// All capabilities that there are in this machine: those of its systemd.
fn all_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/1/status").expect("/proc is mounted");
    capabilities(&status)[0]
}

/// An image whose app prints what /proc/self/status says of it.
fn status_image(host: &Host, name: &str) -> Image {
    Image::busybox(host, name).exec(&["/bin/busybox", "cat", "/proc/self/status"])
}

fn isolators(image: Image, isolators: &[(&str, Value)]) -> Image {
    let list: Vec<_> = isolators
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    image.app("isolators", list.into())
}

/// `skim run IMAGE FLAGS…` in the foreground.
#[track_caller]
fn run_with(image: Image, flags: &[&str]) -> Outcome {
    let mut args = vec!["run".into(), image.build().into_os_string()];
    args.extend(flags.iter().map(Into::into));
    skim(args)
}

/// A field of /proc/PID/status.
#[track_caller]
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
}

/// The bounding, ambient, effective, permitted and inheritable sets.
#[track_caller]
fn capabilities(status: &str) -> [u64; 5] {
    ["CapBnd", "CapAmb", "CapEff", "CapPrm", "CapInh"].map(|name| {
        let value = field(status, name);
        u64::from_str_radix(value, 16).unwrap_or_else(|_| panic!("{name} is {value}"))
    })
}

/// What of systemd's own inheritable set a service of root's gets: nothing, but from systemd 257
/// where that is the PID 1 of a container, which has one.
#[track_caller]
fn inherited() -> u64 {
    let status = ["--quiet", "--wait", "--pipe", "cat", "/proc/self/status"];
    let status = run("systemd-run", status).success().stdout;
    capabilities(&status)[4]
}

// capabilities(7)
const CHOWN: u64 = 1;
const SETUID: u64 = 1 << 7;
const NET_BIND_SERVICE: u64 = 1 << 10;
const SYS_ADMIN: u64 = 1 << 21;

#[test]
fn without_isolators_an_app_has_all_rights_of_its_user() {
    let host = Host::new();
    let all = all_capabilities();
    let root = run_with(status_image(&host, "root"), &[]).success().stdout;
    assert_eq!(capabilities(&root), [all, 0, all, all, inherited()]);
    let user = status_image(&host, "user").user("4242", "4343");
    let user = run_with(user, &[]).success().stdout;
    assert_eq!(capabilities(&user), [all, 0, 0, 0, 0]);
    for status in [root, user] {
        assert_eq!(field(&status, "NoNewPrivs"), "0");
        assert_eq!(field(&status, "Seccomp"), "0");
    }
}

#[test]
fn a_root_app_has_exactly_the_capabilities_that_it_retains() {
    let host = Host::new();
    let kept = CHOWN | NET_BIND_SERVICE;
    let image = status_image(&host, "retains");
    let status = run_with(image, &["--caps-retain=CAP_CHOWN,net_bind_service"]);
    let status = status.success().stdout;
    let inheritable = kept & inherited();
    assert_eq!(capabilities(&status), [kept, 0, kept, kept, inheritable]);
}

#[test]
fn an_app_of_another_user_has_exactly_the_capabilities_that_it_retains() {
    let host = Host::new();
    let set = json!({ "set": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"] });
    let image = status_image(&host, "retains").user("4242", "4343");
    let image = isolators(image, &[("os/linux/capabilities-retain-set", set)]);
    let status = run_with(image, &[]).success().stdout;
    assert_eq!(field(&status, "Uid"), "4242\t4242\t4242\t4242");
    assert_eq!(capabilities(&status), [CHOWN | NET_BIND_SERVICE; 5]);
}

#[test]
fn capabilities_are_removed_even_those_that_skim_needs_to_start_the_app() {
    let host = Host::new();
    let left = all_capabilities() & !(SETUID | SYS_ADMIN);
    for (name, user, expected) in [
        ("root", "0", [left, 0, left, left, left & inherited()]),
        ("user", "4242", [left, 0, 0, 0, 0]),
    ] {
        let image = status_image(&host, name).user(user, user);
        let status = run_with(image, &["--caps-remove=CAP_SETUID,CAP_SYS_ADMIN"]);
        assert_eq!(capabilities(&status.success().stdout), expected, "{name}");
    }
}

#[test]
fn event_handlers_have_no_more_than_the_app() {
    let host = Host::new();
    let out = host.directory("out");
    let out = out.join("status").display().to_string();
    let script = format!("#!/bin/sh\n/bin/busybox cat /proc/self/status >{out}\n");
    let image = Image::busybox(&host, "handlers")
        .file("prestart", script, 0o755)
        .user("4242", "4343")
        .app(
            "eventHandlers",
            json!([{ "name": "pre-start", "exec": ["/prestart"] }]),
        );
    run_with(image, &["--caps-retain=CAP_CHOWN,CAP_DAC_OVERRIDE"]).success();
    let status = std::fs::read_to_string(out).expect("the handler wrote its status");
    assert_eq!(field(&status, "Uid"), "0\t0\t0\t0");
    assert_eq!(capabilities(&status)[..1], [CHOWN | 1 << 1]);
    assert_eq!(capabilities(&status)[2], CHOWN | 1 << 1);
}

#[test]
fn a_flag_replaces_what_the_image_says() {
    let host = Host::new();
    let set = json!({ "set": ["CAP_CHOWN"] });
    let image = isolators(
        status_image(&host, "replaced"),
        &[
            ("os/linux/capabilities-remove-set", set),
            ("os/linux/no-new-privileges", json!(true)),
        ],
    );
    let flags = ["--caps-retain=CAP_CHOWN", "--no-new-privileges=false"];
    let status = run_with(image, &flags).success().stdout;
    assert_eq!(capabilities(&status)[..3], [CHOWN, 0, CHOWN]);
    assert_eq!(field(&status, "NoNewPrivs"), "0");
}

#[test]
fn no_new_privileges_hold_for_root_and_for_another_user() {
    let host = Host::new();
    for user in ["0", "4242"] {
        let image = status_image(&host, &format!("user{user}")).user(user, user);
        let image = isolators(image, &[("os/linux/no-new-privileges", json!(true))]);
        let status = run_with(image, &["--oom-score-adj=-17"]).success().stdout;
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{user}");
        assert!(field(&status, "Uid").starts_with(user), "{status}");
    }
}

#[test]
fn the_oom_score_is_adjusted() {
    let host = Host::new();
    let image = Image::busybox(&host, "oom")
        .user("4242", "4343")
        .exec(&["/bin/cat", "/proc/self/oom_score_adj"]);
    let image = isolators(image, &[("os/linux/oom-score-adj", json!(321))]);
    assert_eq!(run_with(image, &[]).line(), "321");
}

/// An image whose app runs a command of busybox.
fn busybox(host: &Host, name: &str, user: &str, command: &[&str]) -> Image {
    let exec: Vec<_> = ["/bin/busybox"].iter().chain(command).copied().collect();
    Image::busybox(host, name).user(user, user).exec(&exec)
}

#[test]
fn a_blocked_system_call_fails_with_the_error_that_was_asked_for() {
    let host = Host::new();
    for (user, errno, message) in [
        ("0", "EPERM", "Operation not permitted"),
        ("4242", "EPERM", "Operation not permitted"),
        ("0", "ENOTSUP", "not supported"),
        ("4242", "EXDEV", "ross-device"),
    ] {
        let image = busybox(
            &host,
            &format!("{user}-{errno}").to_lowercase(),
            user,
            &["mkdir", "/tmp/x"],
        );
        let value = json!({ "set": ["mkdir", "mkdirat"], "errno": errno });
        let image = isolators(image, &[("os/linux/seccomp-remove-set", value)]);
        let outcome = run_with(image, &[]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        assert!(outcome.stdout.contains(message), "{outcome:#?}");
    }
}

#[test]
fn a_blocked_system_call_kills_where_no_error_was_asked_for() {
    let host = Host::new();
    for user in ["0", "4242"] {
        let image = busybox(&host, &format!("user{user}"), user, &["mkdir", "/tmp/x"]);
        let outcome = run_with(image, &["--seccomp=mode=remove,mkdir,mkdirat"]);
        // signal(7): SIGSYS is 31.
        assert_eq!(outcome.code, Some(128 + 31), "{outcome:#?}");
    }
}

/// What stage1-skim itself needs is blocked for the app all the same.
#[test]
fn system_calls_that_skim_needs_to_start_the_app_are_blocked_for_the_app() {
    let host = Host::new();
    let blocked = "--seccomp=mode=remove,errno=EPERM,open,openat,setresuid,setgroups";
    for user in ["0", "4242"] {
        let image = busybox(
            &host,
            &format!("opens{user}"),
            user,
            &["cat", "/etc/passwd"],
        );
        let outcome = run_with(image, &[blocked]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        assert!(outcome.stdout.contains("not permitted"), "{outcome:#?}");
    }
    let image = busybox(&host, "kills", "4242", &["cat", "/etc/passwd"]);
    let outcome = run_with(image, &["--seccomp=mode=remove,open,openat"]);
    assert_eq!(outcome.code, Some(128 + 31), "{outcome:#?}");
}

#[test]
fn only_retained_system_calls_are_left() {
    let host = Host::new();
    // What a static program writes a line with, and no more.
    let retained = "--seccomp=mode=retain,errno=EPERM,write,writev,ioctl,@systemd/default";
    for user in ["0", "4242"] {
        let says = busybox(&host, &format!("says{user}"), user, &["echo", "said"]);
        assert_eq!(run_with(says, &[retained]).line(), "said");
        let reads = busybox(
            &host,
            &format!("reads{user}"),
            user,
            &["cat", "/etc/passwd"],
        );
        let outcome = run_with(reads, &[retained]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    }
}

#[test]
fn a_filter_of_a_usual_service_needs_no_second_one() {
    let host = Host::new();
    let image = status_image(&host, "usual").user("4242", "4343");
    let status = run_with(image, &["--seccomp=mode=retain,@systemd/system-service"]);
    let status = status.success().stdout;
    assert_eq!(field(&status, "Seccomp"), "2");
    assert_eq!(field(&status, "NoNewPrivs"), "0");
}

#[test]
fn appcs_own_groups_mean_what_they_say() {
    let host = Host::new();
    for (name, set) in [
        ("retain", json!({ "set": ["@appc.io/all", "read"] })),
        ("remove", json!({ "set": ["@appc.io/empty", "read"] })),
    ] {
        let isolator = format!("os/linux/seccomp-{name}-set");
        let image = isolators(status_image(&host, name), &[(&isolator, set)]);
        let status = run_with(image, &[]).success().stdout;
        assert_eq!(field(&status, "Seccomp"), "0", "{name}");
    }
}

#[test]
fn resources_are_limits_of_the_service() {
    let host = Host::new();
    let image = Image::busybox(&host, "limited").exec(&["/bin/sleep", "1000000"]);
    let image = isolators(
        image,
        &[
            (
                "resource/memory",
                json!({ "request": "1M", "limit": "64Mi" }),
            ),
            ("resource/cpu", json!({ "limit": "125m" })),
            ("os/linux/cpu-shares", json!(2048)),
        ],
    );
    let image = image.build();
    let pod = Pod::start([image.as_os_str(), "--memory=1G".as_ref()]);
    let service = pod.service("limited");
    let property = |name| systemd::property(&service, name);
    assert_eq!(property("MemoryMax"), "1000000000");
    assert_eq!(property("CPUQuotaPerSecUSec"), "125ms");
    assert_eq!(property("CPUWeight"), "200");
    pod.stop();
    gc();
}

#[test]
fn the_isolators_of_a_pod_are_limits_of_its_slice() {
    let host = Host::new();
    let image = Image::busybox(&host, "limited")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let id = skim(["fetch".as_ref(), "--full".as_ref(), image.as_os_str()]).line();
    let manifest = json!({
        "acKind": "PodManifest",
        "acVersion": "0.8.11",
        "apps": [{ "name": "limited", "image": { "id": id } }],
        "isolators": [
            { "name": "resource/memory", "value": { "limit": "1Gi" } },
            { "name": "resource/cpu", "value": { "limit": "1500m" } },
        ],
    });
    let file = host.scratch().join("pod.json");
    std::fs::write(&file, manifest.to_string()).expect("cannot write the pod manifest");
    let pod = Pod::start([format!("--pod-manifest={}", file.display())]);
    let property = |name| systemd::property(&pod.slice(), name);
    assert_eq!(property("MemoryMax"), "1073741824");
    assert_eq!(property("CPUQuotaPerSecUSec"), "1.500000s");
    pod.stop();
    gc();
}

#[test]
fn what_this_host_cannot_apply_is_warned_of_by_name() {
    let host = Host::new();
    let image = isolators(
        Image::busybox(&host, "ignored"),
        &[(
            "resource/network-bandwidth",
            json!({ "default": true, "limit": "1G" }),
        )],
    );
    let outcome = run_with(image, &["--memory=64M"]).success();
    let warned = |text: &str| outcome.stderr.contains(text);
    assert!(
        warned("resource/network-bandwidth is not applied"),
        "{outcome:#?}"
    );
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    let controllers = controllers.expect("the unified hierarchy is mounted");
    let lacks = !controllers.split_whitespace().any(|own| own == "memory");
    assert_eq!(warned("no memory controller"), lacks, "{outcome:#?}");
}

#[test]
fn isolators_that_make_no_sense_are_refused_in_one_line() {
    let host = Host::new();
    let caps = json!({ "set": ["CAP_CHOWN"] });
    let calls = json!({ "set": ["reboot"] });
    let retain = "os/linux/capabilities-retain-set";
    let remove = "os/linux/capabilities-remove-set";
    for (index, (list, says)) in [
        (&[("example.com/own", json!(1))][..], "invalid isolator"),
        (
            &[("resource/memory", json!({ "limit": "16m" }))],
            "memory limit of 1 bytes too low",
        ),
        (
            &[("resource/memory", json!({ "limit": "1G", "default": true }))],
            "must be false",
        ),
        (&[("os/linux/cpu-shares", json!(1))], "2 to 262144"),
        (&[("os/linux/oom-score-adj", json!(1001))], "-1000 to 1000"),
        (&[(retain, json!({ "set": [] }))], "missing or empty"),
        (
            &[(retain, json!({ "set": ["CAP_X"] }))],
            "`CAP_X` is no capability",
        ),
        (
            &[(retain, caps.clone()), (remove, caps)],
            "exclude each other",
        ),
        (
            &[
                ("os/linux/seccomp-retain-set", calls.clone()),
                ("os/linux/seccomp-remove-set", calls),
            ],
            "exclude each other",
        ),
        (
            &[(
                "os/linux/seccomp-retain-set",
                json!({ "set": ["@docker/default-whitelist"] }),
            )],
            "@systemd/system-service",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let image = isolators(Image::busybox(&host, &format!("bad{index}")), list);
        refused(&run_with(image, &["--name=bad"]), &[list[0].0, says]);
    }
}

#[test]
fn flags_that_make_no_sense_are_refused_in_one_line() {
    let host = Host::new();
    let image = Image::busybox(&host, "good").build();
    skim(["fetch".as_ref(), image.as_os_str()]).success();
    for (flag, says) in [
        ("--memory=16m", "memory limit of 1 bytes too low"),
        ("--memory=lots", "`lots` is no quantity"),
        ("--cpu=1m", "too low"),
        ("--cpu-shares=1", "2 to 262144"),
        ("--oom-score-adj=-1001", "-1000 to 1000"),
        ("--caps-retain=CAP_X", "`CAP_X` is no capability"),
        ("--caps-retain=", "missing or empty"),
        ("--seccomp=reboot", "mode=retain"),
        (
            "--seccomp=mode=remove,nosuchcall",
            "`nosuchcall` is no system call",
        ),
        ("--property=RootDirectory=/x", "--root=image"),
    ] {
        let outcome = skim(["run".as_ref(), image.as_os_str(), flag.as_ref()]);
        let name = flag.split_once('=').map_or(flag, |(name, _)| name);
        refused(&outcome, &[name.trim_start_matches("--property"), says]);
    }
}

#[test]
fn settings_that_would_keep_skim_from_starting_the_app_are_refused() {
    let host = Host::new();
    let image = status_image(&host, "kept").user("4242", "4343").build();
    let run = |flags: &[&str]| {
        let flags = flags.iter().map(AsRef::as_ref);
        skim(["run".as_ref(), image.as_os_str()].into_iter().chain(flags))
    };
    for (flag, says) in [
        ("CapabilityBoundingSet=CAP_CHOWN", "--caps-retain"),
        ("SystemCallFilter=~@setuid", "--seccomp"),
    ] {
        refused(&run(&[&format!("--property={flag}")]), &["app kept", says]);
    }
    // What leaves skim what it needs holds.
    let flags = [
        "--property=CapabilityBoundingSet=CAP_SETUID CAP_SETGID",
        "--property=SystemCallFilter=@system-service",
    ];
    let status = run(&flags).success().stdout;
    assert_eq!(capabilities(&status)[0], SETUID | 1 << 6);
    assert_eq!(field(&status, "Seccomp"), "2");
}

/// One line with all these words, the code of skim's own errors, and nothing left.
#[track_caller]
fn refused(outcome: &Outcome, says: &[&str]) {
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    let last = outcome.stderr.lines().last().unwrap_or_default();
    let all = says.iter().all(|text| last.contains(text));
    assert!(all, "expected {says:?} in {outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    Trace::assert_none();
}
