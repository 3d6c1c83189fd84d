//! The verbs around a pod's life: what they wait for, print and refuse.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::command::{limited, outcome, run, skim, spawn};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};
use crate::support::store::assert_one_line;
use crate::support::trace::{STATE, Trace};

/// UUIDs of pods that the tests make by hand.
const BY_HAND: [&str; 3] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
];

fn sleeper(host: &Host, name: &str) -> PathBuf {
    Image::busybox(host, name)
        .exec(&["/bin/sleep", "1000000"])
        .build()
}

/// An app that is up only once the file `go` is there.
fn late(host: &Host, go: &Path) -> PathBuf {
    let script = format!(
        "until test -e {}; do /bin/sleep 0.1; done; systemd-notify --ready; exec /bin/sleep 1000000",
        go.display()
    );
    Image::busybox(host, "late")
        .exec(&["/bin/sh", "-c", &script])
        .annotation("skim.dropin", "[Service]\nType=notify\nNotifyAccess=all\n")
        .build()
}

#[track_caller]
fn until_there_is_a_pod() {
    let began = Instant::now();
    while !skim(["list", "--quiet"]).success().stdout.contains('-') {
        assert!(began.elapsed() < Duration::from_secs(60), "no pod came up");
    }
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Makes a pod's directory in the directory of a state.
#[track_caller]
fn make_by_hand(stage: &str, uuid: &str) -> PathBuf {
    let path = [STATE, "pods", stage, uuid].iter().collect::<PathBuf>();
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

#[test]
fn status_waits_until_the_pod_has_exited() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "awaited")]);
    let too_short = skim(["status", &pod.uuid, "--wait=200ms"]);
    assert_one_line(&too_short, "has not exited in the time given");
    let mut waiting = spawn(&["status", &pod.uuid, "--wait"]);
    assert!(waiting.try_wait().expect("it can be waited for").is_none());
    pod.stop();
    let outcome = outcome(waiting).success();
    assert!(outcome.stdout.starts_with("state=exited\n"), "{outcome:#?}");
    assert!(outcome.stdout.contains("\nexited=true\n"), "{outcome:#?}");
    let at_once = skim(["status", &pod.uuid, "--wait=0s"]).success().stdout;
    assert!(at_once.contains("\napp-awaited="), "{at_once}");
}

#[test]
fn status_waits_until_every_app_is_up() {
    let host = Host::new();
    let (go, file) = (host.scratch().join("go"), host.scratch().join("uuid"));
    let image = late(&host, &go);
    let save = format!("--uuid-file-save={}", file.display());
    let starting = spawn(&["run", "--detach", &save, &image.to_string_lossy()]);
    until_there_is_a_pod();
    let from_file = format!("--uuid-file={}", file.display());
    let too_short = skim(["status", &from_file, "--wait-ready=300ms"]);
    assert_one_line(&too_short, "was not ready in the time given");
    let before = skim(["status", &from_file]).success().stdout;
    assert!(before.contains("\nready=false\n"), "{before}");
    let waiting = spawn(&["status", &from_file, "--wait-ready=60s"]);
    fs::write(&go, "").expect("cannot write the file");
    let outcome_of_wait = outcome(waiting).success();
    assert!(
        outcome_of_wait.stdout.contains("\nready=true\n"),
        "{outcome_of_wait:#?}"
    );
    let uuid = outcome(starting).line();
    assert_eq!(uuid, fs::read_to_string(&file).expect("it was written"));
    let shown = json(&skim(["status", "--format=json", &uuid]).success().stdout);
    assert_eq!(shown["ready"], true);
}

#[test]
fn an_interactive_pod_is_ready_once_its_app_runs() {
    let host = Host::new();
    let image = Image::busybox(&host, "asking").exec(&["/bin/sh", "-c", "read line"]);
    let mut pod = limited("skim")
        .args(["run", "--interactive", &image.build().to_string_lossy()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("cannot run skim");
    until_there_is_a_pod();
    let uuid = skim(["list", "--quiet"]).line();
    let status = skim(["status", "--wait-ready=60s", &uuid]).success().stdout;
    assert!(status.contains("\nready=true\n"), "{status}");
    drop(pod.stdin.take());
    pod.wait().expect("cannot wait for skim");
}

#[test]
fn status_shows_several_pods_and_goes_on_after_an_unknown_one() {
    let host = Host::new();
    let image = sleeper(&host, "several");
    let pods = [Pod::start([&image]), Pod::start([&image])];
    let args = ["status", &pods[0].uuid, "ffffffff", &pods[1].uuid];
    let text = skim(args);
    assert_eq!(text.code, Some(254), "{text:#?}");
    assert_eq!(text.stderr.lines().count(), 1, "{text:#?}");
    for pod in &pods {
        let head = format!("uuid={}\nstate=running\n", pod.uuid);
        assert!(text.stdout.contains(&head), "{text:#?}");
    }
    let both = ["status", "--format=json", &pods[0].uuid, &pods[1].uuid];
    let shown = json(&skim(both).success().stdout);
    let names = pods.each_ref().map(|pod| pod.uuid.as_str());
    assert_eq!([&shown[0]["name"], &shown[1]["name"]], names);
}

#[test]
fn every_verb_of_a_pod_takes_its_uuid_from_a_file() {
    let host = Host::new();
    let file = host.scratch().join("uuid");
    let image =
        Image::busybox(&host, "filed").exec(&["/bin/sh", "-c", "echo said; exec sleep 1000000"]);
    let save = format!("--uuid-file-save={}", file.display());
    let pod = Pod::start([save.as_ref(), image.build().as_os_str()]);
    // As an editor leaves it.
    fs::write(&file, format!("{}\n", pod.uuid)).expect("cannot write the file");
    let flag = format!("--uuid-file={}", file.display());
    let status = skim(["status", &flag]).success().stdout;
    assert!(status.starts_with("state=running\n"), "{status}");
    assert_eq!(skim(["enter", &flag, "--", "echo", "in"]).line(), "in");
    let manifest = json(&skim(["cat-manifest", &flag]).success().stdout);
    assert_eq!(manifest["apps"][0]["name"], "filed");
    skim(["stop", &flag]).success();
    let logs = skim(["logs", &flag, "filed"]).success().stdout;
    assert!(logs.contains("said"), "{logs}");
    let exported = host.scratch().join("filed-exported.aci");
    skim(["export", &flag, &exported.to_string_lossy()]).success();
    assert!(exported.exists());
    assert_eq!(skim(["rm", &flag]).line(), format!("\"{}\"", pod.uuid));
    Trace::assert_none();
}

#[test]
fn a_file_without_a_uuid_is_told_in_one_line() {
    let host = Host::new();
    let file = host.scratch().join("uuid");
    let flag = format!("--uuid-file={}", file.display());
    for (content, says) in [
        (None, "no such file"),
        (Some(""), "holds no uuid"),
        (Some("\u{1b}[2J\n"), "holds no uuid"),
        (Some("ffffffff"), "no matches found"),
    ] {
        if let Some(content) = content {
            fs::write(&file, content).expect("cannot write the file");
        }
        for verb in ["status", "stop", "rm", "enter", "cat-manifest", "logs"] {
            assert_one_line(&skim([verb, &flag]), says);
        }
    }
    for verb in ["status", "stop", "rm", "enter", "cat-manifest"] {
        let both = skim([verb, &flag, "ffffffff"]);
        assert_one_line(&both, "cannot be used with");
        assert_one_line(&skim([verb]), "required");
    }
}

#[test]
fn stop_and_rm_say_of_a_pod_what_is_in_the_way() {
    let host = Host::new();
    let running = Pod::start([sleeper(&host, "busy")]);
    make_by_hand("prepared", BY_HAND[0]);
    assert_one_line(&skim(["stop", BY_HAND[0]]), "is prepared: it does not run");
    assert_one_line(&skim(["rm", &running.uuid]), "is running: stop it first");
    // A prepared pod is removed, and the others are gone on with.
    let outcome = skim(["rm", "ffffffff", BY_HAND[0]]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(outcome.stdout, format!("\"{}\"\n", BY_HAND[0]));
    assert_eq!(Trace::take().pods.len(), 1);
}

#[test]
fn gc_expires_prepared_pods_by_their_age_and_takes_what_broke_off_at_once() {
    let _host = Host::new();
    for (stage, uuid) in ["prepared", "prepare", "garbage"].into_iter().zip(BY_HAND) {
        make_by_hand(stage, uuid);
    }
    skim(["gc", "--mark-only", "--expire-prepared=0s"]).success();
    assert_eq!(Trace::take().pods.len(), 3, "--mark-only removes nothing");
    skim(["gc"]).success();
    assert_eq!(Trace::take().pods, [format!("prepared/{}", BY_HAND[0])]);
    skim(["gc", "--expire-prepared=1h"]).success();
    assert_eq!(Trace::take().pods.len(), 1, "it is not an hour old");
    let outcome = skim(["gc", "--expire-prepared=0s"]);
    assert_eq!(outcome.line(), format!("removed {}", BY_HAND[0]));
    Trace::assert_none();
}

#[test]
fn a_prepared_pod_that_somebody_holds_is_not_taken_away() {
    let _host = Host::new();
    let path = make_by_hand("prepared", BY_HAND[0]);
    // As run-prepared holds it on its way to run.
    let mut holder = Command::new("flock")
        .arg("--exclusive")
        .arg(&path)
        .args(["sh", "-c", "echo held; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cannot run flock");
    let mut held = [0; 5];
    let stdout = holder.stdout.as_mut().expect("stdout is a pipe");
    std::io::Read::read_exact(stdout, &mut held).expect("flock has the lock");
    let outcome = skim(["rm", BY_HAND[0]]);
    assert_one_line(&outcome, "somebody else has just taken it");
    skim(["gc", "--expire-prepared=0s"]).success();
    assert_eq!(Trace::take().pods.len(), 1);
    drop(holder.stdin.take());
    holder.wait().expect("cannot wait for flock");
    skim(["rm", BY_HAND[0]]).success();
    Trace::assert_none();
}

#[test]
fn a_prepared_pod_is_waited_for_until_it_has_run() {
    let host = Host::new();
    let image = Image::busybox(&host, "later").exec(&["/bin/true"]).build();
    let uuid = skim(["prepare".as_ref(), image.as_os_str()]).line();
    let status = skim(["status", &uuid]).success().stdout;
    assert!(
        status.starts_with("state=prepared\n") && !status.contains("ready="),
        "{status}"
    );
    assert_one_line(&skim(["status", "--wait=100ms", &uuid]), "is prepared");
    assert_one_line(&skim(["enter", &uuid]), "is prepared");
    assert_one_line(&skim(["export", &uuid, "x.aci"]), "has not run");
    let waiting = spawn(&["status", "--wait", &uuid]);
    skim(["run-prepared", &uuid]).success();
    let shown = outcome(waiting).success().stdout;
    assert!(shown.contains("\napp-later=0\n"), "{shown}");
}

#[test]
fn enter_without_a_command_is_a_shell_of_the_image() {
    let host = Host::new();
    let pod = Pod::start([sleeper(&host, "shell")]);
    let mut shell = Command::new("skim")
        .args(["enter", &pod.uuid])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cannot run skim");
    let mut stdin = shell.stdin.take().expect("stdin is a pipe");
    stdin
        .write_all(b"readlink /proc/$$/exe; exit 7\n")
        .expect("the shell reads");
    drop(stdin);
    let outcome = outcome(shell);
    assert_eq!(outcome.code, Some(7), "{outcome:#?}");
    let expected = pod.rootfs("shell").join("bin/busybox");
    assert_eq!(outcome.stdout.trim_end(), expected.to_string_lossy());
}

#[test]
fn cat_manifest_says_in_the_images_paths_what_a_pod_runs() {
    let host = Host::new();
    let image = Image::busybox(&host, "described")
        .exec(&["/bin/sleep", "1000000"])
        .user("33", "44");
    let flags = [
        "--set-env=A=b c",
        "--set-env=WHERE={volume:data}/x",
        "--volume=data,kind=empty,mode=1777",
        "--mount=volume=data,target=/srv",
        "--readonly-rootfs",
        "--oom-score-adj=5",
        "--no-new-privileges",
        "--caps-remove=CAP_SYS_BOOT",
        "--property=Nice=3",
    ];
    let image = image.build();
    let pod = Pod::start(
        [image.as_os_str()]
            .into_iter()
            .chain(flags.map(AsRef::as_ref)),
    );
    let pretty = skim(["cat-manifest", &pod.uuid]).success().stdout;
    assert!(pretty.lines().count() > 10, "{pretty}");
    let plain = skim(["cat-manifest", "--pretty-print=false", &pod.uuid]).line();
    let manifest = json(&plain);
    assert_eq!(manifest, json(&pretty));
    assert_eq!(manifest["acKind"], "PodManifest");
    let app = &manifest["apps"][0]["app"];
    assert_eq!(app["exec"], serde_json::json!(["/bin/sleep", "1000000"]));
    assert_eq!((&app["user"], &app["group"]), (&"33".into(), &"44".into()));
    let environment = serde_json::json!([
        {"name": "A", "value": "b c"}, {"name": "WHERE", "value": "{volume:data}/x"},
    ]);
    assert_eq!(app["environment"], environment);
    assert_eq!(app["isolators"].as_array().map(Vec::len), Some(3), "{app}");
    assert_eq!(
        manifest["apps"][0]["image"]["name"],
        "example.com/described"
    );
    let file = host.scratch().join("manifest");
    fs::write(&file, plain).expect("cannot write the manifest");
    let flag = format!("--pod-manifest={}", file.display());
    let other = Pod::start([flag]);
    let again = json(&skim(["cat-manifest", &other.uuid]).success().stdout);
    assert_eq!(again, manifest, "the manifest does not give the same pod");
    let tell = ["enter", &other.uuid, "--", "printenv", "WHERE"];
    let place = other.rootfs("described").join("srv/x");
    assert_eq!(skim(tell).line(), place.to_string_lossy());
    make_by_hand("prepare", BY_HAND[0]);
    let unplanned = skim(["cat-manifest", BY_HAND[0]]);
    assert_one_line(&unplanned, "is aborted prepare");
    gc();
}

#[test]
fn config_tells_what_is_in_effect_and_no_secret() {
    let host = Host::new();
    let local = host.directory("etc");
    run("chmod", ["0755".as_ref(), local.as_os_str()]).success();
    let policies = local.join("policy.d");
    fs::create_dir(&policies).expect("cannot make a directory");
    let policy = r#"{"skimKind": "policy", "skimVersion": "v1", "rules": []}"#;
    fs::write(policies.join("own.json"), policy).expect("cannot write the policy");
    let auth = host.scratch().join("auth.json");
    fs::write(
        &auth,
        r#"{"auths": {"r.example.com": {"auth": "c2VjcmV0"}}}"#,
    )
    .expect("written");
    let variable = format!("REGISTRY_AUTH_FILE={}", auth.display());
    let flag = format!("--local-config={}", local.display());
    let outcome = run("env", [&variable, "skim", "config", &flag]).success();
    assert!(!outcome.stdout.contains("c2VjcmV0"), "{outcome:#?}");
    let config = json(&outcome.stdout);
    let path = |path: &Path| Value::from(path.to_string_lossy());
    assert_eq!(config["directories"]["dir"], STATE);
    assert_eq!(config["directories"]["local_config"], path(&local));
    assert_eq!(config["stage1"], "/usr/local/bin/stage1-skim");
    assert_eq!(config["policies"][0], path(&policies.join("own.json")));
    assert_eq!(config["credentials"][0], path(&auth));
    assert_eq!(config["trusted_keys"]["keys"], serde_json::json!([]));
    fs::write(policies.join("own.json"), "{").expect("cannot write the policy");
    // It is a file that counts still; whoever fetches is told what is wrong with it.
    skim(["config", &flag]).success();
    run("chmod", ["0777".as_ref(), policies.as_os_str()]).success();
    let refused = skim(["config", &flag]);
    assert_eq!(refused.code, Some(254), "{refused:#?}");
    assert!(refused.stderr.contains("policy.d"), "{refused:#?}");
}

#[test]
fn version_tells_all_three() {
    let _host = Host::new();
    let text = skim(["version"]).success().stdout;
    let systemd = run("systemctl", ["--version"]).success().stdout;
    let systemd = systemd.split_whitespace().nth(1).expect("it has a version");
    let mut lines = text.lines();
    for start in ["skim 0.", "stage1-skim 0.", &format!("systemd {systemd}")] {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(start), "{text}");
    }
    let versions = json(&skim(["version", "--format=json"]).success().stdout);
    let contract = versions["contract"].as_u64().expect("it is a number");
    let stage1 = versions["stage1"]["version"].as_str().unwrap_or_default();
    let said = format!("(contract {contract})");
    assert!(stage1.ends_with(&said), "{versions}");
}

#[test]
fn completion_is_a_script_that_bash_takes() {
    let host = Host::new();
    let script = skim(["completion", "bash"]).success().stdout;
    let file = host.scratch().join("skim.bash");
    fs::write(&file, script).expect("cannot write the script");
    let complete = format!(
        ". {}; COMP_WORDS=(skim sta); COMP_CWORD=1; _skim skim sta skim; echo \"${{COMPREPLY[*]}}\"",
        file.display()
    );
    assert_eq!(run("bash", ["-c", &complete]).line(), "status");
}

#[test]
fn man_writes_a_page_for_every_verb() {
    let host = Host::new();
    let directory = host.scratch().join("man/man1");
    skim(["man".as_ref(), directory.as_os_str()]).success();
    for page in ["skim.1", "skim-run.1", "skim-image-list.1", "skim-gc.1"] {
        let text = fs::read_to_string(directory.join(page)).expect("the page was written");
        assert!(text.contains("\n.SH EXAMPLES\n"), "{page}: {text}");
    }
    let gc = fs::read_to_string(directory.join("skim-gc.1")).expect("the page was written");
    assert!(gc.contains("expire\\-prepared"), "{gc}");
}

#[test]
fn verbs_of_rkts_that_are_not_here_are_refused_by_name() {
    let _host = Host::new();
    for (args, says) in [
        (&["attach", "--mode=list", "6ba7"][..], "skim logs -f"),
        (&["api-service"], "skim list --format=json"),
        (&["metadata-service", "--listen-port=1"], "skim status"),
        (&["app", "add", "6ba7", "x"], "skim run"),
        (&["app", "--help"], "skim run"),
    ] {
        let outcome = skim(args);
        assert_one_line(&outcome, says);
        let named = format!("there is no {}", args[0]);
        assert!(outcome.stderr.contains(&named), "{outcome:#?}");
    }
    let help = skim(["--help"]).success().stdout;
    assert!(!help.contains("attach"), "{help}");
}

#[test]
fn an_empty_list_is_empty_in_json_too() {
    let _host = Host::new();
    make_by_hand("embryo", BY_HAND[0]);
    make_by_hand("garbage", BY_HAND[1]);
    assert_eq!(skim(["list", "--format=json"]).line(), "[]");
    assert_eq!(skim(["list", "--no-legend"]).success().stdout, "");
    let headings = skim(["list", "--full"]).line();
    let columns: Vec<_> = headings
        .split("  ")
        .filter(|text| !text.is_empty())
        .collect();
    let expected = [
        "UUID",
        "APP",
        "IMAGE NAME",
        "IMAGE ID",
        "STATE",
        "CREATED",
        "STARTED",
    ];
    assert_eq!(columns, expected);
    gc();
}

#[test]
fn notes_of_the_user_are_listed_and_in_the_manifest() {
    let host = Host::new();
    let image = Image::busybox(&host, "noted").build();
    let flags = ["--annotation=example.com/owner=me", "--label=tier=1"];
    let words = ["prepare".as_ref(), image.as_os_str()];
    let uuid = skim(words.into_iter().chain(flags.map(AsRef::as_ref))).line();
    let listed = skim(["list", "--format=json"]).success().stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let app = &listed[0]["apps"][0];
    assert_eq!(
        app["user_annotations"]["example.com/owner"], "me",
        "{listed}"
    );
    assert_eq!(app["user_labels"]["tier"], "1", "{listed}");
    let manifest = skim(["cat-manifest", &uuid]).success().stdout;
    assert!(manifest.contains("example.com/owner"), "{manifest}");
    skim(["rm", &uuid]).success();
}
