//! What rkt refuses, skim refuses: one line, exit code 254, nothing left. The messages are rkt's
//! where they fit.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::store::assert_one_line;
use crate::support::trace::Trace;

/// `skim VERB --quiet ARGS…` is refused with one line that says this, by `run` and by `prepare`.
#[track_caller]
fn refused(says: &str, args: &[OsString]) {
    for verb in ["run", "prepare"] {
        let words = [verb, "--quiet"].map(OsString::from);
        assert_one_line(&skim(words.iter().chain(args)), says);
        Trace::assert_none();
    }
}

fn image_with(host: &Host, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let image = Image::busybox(host, name);
    let mut manifest = image.manifest();
    change(&mut manifest);
    image.build_with(&manifest.to_string(), &["manifest", "rootfs"])
}

#[test]
fn what_an_image_s_manifest_says_wrong() {
    let host = Host::new();
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &str)] = &[
        (
            "empty-exec",
            |manifest| manifest["app"]["exec"] = json!([]),
            "has an empty \"exec\" (try --exec=BINARY)",
        ),
        (
            "missing-binary",
            |manifest| manifest["app"]["exec"] = json!(["/nothing"]),
            "unable to open \"/nothing\"",
        ),
        (
            "bare-name",
            |manifest| manifest["app"]["exec"] = json!(["nothing"]),
            "unable to find \"nothing\" in",
        ),
        (
            "no-app",
            |manifest| drop(manifest.as_object_mut().map(|all| all.remove("app"))),
            "has no app section and --exec is not given",
        ),
        (
            "no-user",
            |manifest| manifest["app"]["user"] = json!("user2"),
            "\"user2\" user not found",
        ),
        (
            "no-path",
            |manifest| manifest["app"]["user"] = json!("/nothing"),
            "unable to stat \"/nothing\"",
        ),
        (
            "no-group",
            |manifest| manifest["app"]["group"] = json!("group2"),
            "\"group2\" group not found",
        ),
        (
            "kind",
            |manifest| manifest["acKind"] = json!("Foo"),
            "bad ACKind: \"Foo\"",
        ),
        (
            "no-kind",
            |manifest| drop(manifest.as_object_mut().map(|all| all.remove("acKind"))),
            "missing acKind",
        ),
        (
            "isolator",
            |manifest| manifest["app"]["isolators"] = json!([{"name": "os/nothing", "value": 1}]),
            "os/nothing",
        ),
        (
            "low-memory",
            |manifest| {
                manifest["app"]["isolators"] =
                    json!([{"name": "resource/memory", "value": {"limit": "16m"}}]);
            },
            "too low",
        ),
    ];
    for (name, change, says) in cases {
        let image = image_with(&host, name, change);
        refused(says, &[image.into()]);
    }
}

#[test]
fn what_the_command_line_says_wrong() {
    let host = Host::new();
    let image = OsString::from(Image::busybox(&host, "good").build());
    for (flags, says) in [
        (&["--exec="][..], "has an empty \"exec\""),
        (&["--exec=/nothing"], "unable to open \"/nothing\""),
        (&["--user=user2"], "\"user2\" user not found"),
        (&["--memory=16m"], "too low"),
        (&["--memory=lots"], "--memory"),
        (&["--memory=-1"], "--memory"),
        (&["--cpu=0"], "--cpu"),
        (&["--cpu-shares=1"], "--cpu-shares"),
        (&["--oom-score-adj=1001"], "--oom-score-adj"),
        (&["--caps-retain=CAP_NOTHING"], "CAP_NOTHING"),
        (
            &["--caps-retain=CAP_CHOWN", "--caps-remove=CAP_KILL"],
            "cannot be used with",
        ),
        (&["--seccomp=mode=allow,read"], "--seccomp"),
        (&["--stop-signal=SIGNOTHING"], "SIGNOTHING"),
        (
            &["--working-dir=relative"],
            "no absolute path|not an absolute path",
        ),
        (&["--working-dir=/nothing"], "no directory in the image"),
        (&["--volume=v,kind=host"], "source is missing"),
        (&["--volume=v,kind=host,source=relative"], "source"),
        (
            &["--volume=v,kind=empty", "--volume=v,kind=empty"],
            "duplicate volume name",
        ),
        (
            &["--mount=volume=v,target=/v"],
            "dangling mount point \"/v\": volume \"v\" not found",
        ),
        (&["--set-env=A"], "NAME=VALUE"),
        (&["--set-env=A-B=1"], "--set-env"),
        (&["--requires=nothing"], "nothing"),
        (&["--name=Not_A_Name"], "no AC Name"),
        (&["--", "{volume:nothing}"], "nothing"),
        (
            &["--net=host"],
            "--net cannot be used: apps share the host's network",
        ),
    ] {
        let flags = flags.iter().map(OsString::from);
        let args: Vec<_> = [image.clone()].into_iter().chain(flags).collect();
        refused(says, &args);
    }
    refused("multiple apps with name good", &[image.clone(), image]);
}

#[test]
fn what_is_no_image() {
    let host = Host::new();
    let text = host.scratch().join("text.aci");
    fs::write(&text, "no archive".repeat(1000)).expect("cannot write");
    refused("cannot import", &[text.into()]);
    let image = Image::busybox(&host, "no-manifest").build_with("{}", &["rootfs"]);
    refused("missing manifest", &[image.into()]);
    let good = Image::busybox(&host, "cut").build();
    let whole = fs::read(&good).expect("it is there");
    fs::write(&good, &whole[..whole.len() / 2]).expect("cannot write");
    refused("cannot import", &[good.into()]);
    refused(
        "no image IDs found",
        &[format!("sha512-{}", "0".repeat(128)).into()],
    );
}

#[test]
fn what_no_pod_is_called() {
    let _host = Host::new();
    for verb in [
        "status",
        "stop",
        "rm",
        "enter",
        "cat-manifest",
        "run-prepared",
    ] {
        assert_one_line(&skim([verb, "0000"]), "no matches found for \"0000\"");
        assert_one_line(&skim([verb, ""]), "UUID cannot be empty");
    }
}

/// A kernel without overlayfs, as far as skim can see.
#[test]
fn a_kernel_without_overlayfs() {
    let host = Host::new();
    let image = Image::busybox(&host, "overlay").build();
    skim(["fetch".as_ref(), image.as_os_str()]).success();
    let filter = [
        "--property=SystemCallFilter=~fsopen",
        "--property=SystemCallErrorNumber=ENODEV",
    ];
    let words = [
        "--quiet",
        "--wait",
        "--pipe",
        "--collect",
        filter[0],
        filter[1],
        "--",
        "skim",
        "run",
    ];
    let words = words.map(OsString::from).into_iter().chain([image.into()]);
    assert_one_line(&run("systemd-run", words), "this kernel has no overlayfs");
    Trace::assert_none();
}
