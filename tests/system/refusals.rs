//! Wrong input: one line, exit code 254, nothing left behind.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::trace::Trace;

#[track_caller]
fn assert_refused(outcome: &Outcome, says: &str) {
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    assert!(
        outcome.stderr.contains(says),
        "expected {says:?} in {outcome:#?}"
    );
    Trace::assert_none();
}

/// `skim run ARGS…` is refused with a message in which `says` occurs.
#[track_caller]
fn refuse<S: AsRef<OsStr>>(says: &str, args: impl IntoIterator<Item = S>) {
    // The images are new here, and their import is told.
    let mut command = ["run", "--quiet"]
        .map(|word| OsStr::new(word).to_owned())
        .to_vec();
    command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    assert_refused(&skim(command), says);
}

fn good(host: &Host, name: &str) -> PathBuf {
    Image::busybox(host, name).build()
}

#[test]
fn a_missing_file() {
    let host = Host::new();
    refuse("missing.aci", [host.scratch().join("missing.aci")]);
}

#[test]
fn a_file_that_is_no_aci() {
    let host = Host::new();
    for (name, contents) in [
        ("text.aci", "no archive at all".repeat(1000)),
        ("empty.aci", String::new()),
    ] {
        let file = host.scratch().join(name);
        std::fs::write(&file, contents).expect("cannot write the file");
        refuse(name, [file]);
    }
}

#[test]
fn an_image_without_a_manifest() {
    let host = Host::new();
    let image = Image::busybox(&host, "bare");
    let manifest = image.manifest().to_string();
    refuse("manifest", [image.build_with(&manifest, &["rootfs"])]);
}

#[test]
fn an_image_without_a_rootfs() {
    let host = Host::new();
    let image = Image::busybox(&host, "bare");
    let manifest = image.manifest().to_string();
    refuse("rootfs", [image.build_with(&manifest, &["manifest"])]);
}

#[test]
fn a_manifest_that_is_no_json() {
    let host = Host::new();
    refuse(
        "manifest",
        [Image::busybox(&host, "broken").build_with("{ not JSON", &["manifest", "rootfs"])],
    );
}

#[test]
fn a_truncated_image() {
    let host = Host::new();
    let image = good(&host, "truncated");
    run("truncate", ["--size=100000".as_ref(), image.as_os_str()]).success();
    refuse("truncated.aci", [image]);
}

#[test]
fn an_empty_exec() {
    let host = Host::new();
    refuse(
        "exec",
        [Image::busybox(&host, "empty")
            .app("exec", json!([]))
            .build()],
    );
}

#[test]
fn an_exec_that_is_not_found() {
    let host = Host::new();
    for exec in ["/bin/nothing", "nothing"] {
        let image = good(&host, exec.rsplit('/').next().unwrap_or(exec));
        refuse(exec, [image.as_os_str(), format!("--exec={exec}").as_ref()]);
        std::fs::remove_dir_all(image.with_extension("image"))
            .expect("cannot remove the image's directory");
    }
}

#[test]
fn an_unknown_user() {
    let host = Host::new();
    refuse(
        "nobody-here",
        [Image::busybox(&host, "stranger")
            .user("nobody-here", "0")
            .build()],
    );
}

#[test]
fn duplicate_app_names() {
    let host = Host::new();
    let image = good(&host, "twin");
    refuse("twin", [&image, &image]);
}

#[test]
fn a_requirement_of_an_unknown_app() {
    let host = Host::new();
    refuse(
        "absent",
        [
            good(&host, "lonely").as_os_str(),
            "--requires=absent".as_ref(),
        ],
    );
}

#[test]
fn a_dependency_cycle() {
    let host = Host::new();
    let (one, two) = (good(&host, "one"), good(&host, "two"));
    refuse(
        "cycle",
        [
            one.as_os_str(),
            "--requires=two".as_ref(),
            two.as_os_str(),
            "--requires=one".as_ref(),
        ],
    );
}

#[test]
fn a_stage1_that_is_missing() {
    let host = Host::new();
    let image = good(&host, "stageless");
    let outcome = skim([
        "--stage1-path=/nonexistent/stage1".as_ref(),
        "run".as_ref(),
        image.as_os_str(),
    ]);
    assert_refused(&outcome, "/nonexistent/stage1");
}

#[test]
fn a_flag_before_any_image() {
    let host = Host::new();
    refuse(
        "--exec",
        ["--exec=/bin/true".as_ref(), good(&host, "late").as_os_str()],
    );
}

#[test]
fn a_property_that_is_skims_own() {
    let host = Host::new();
    refuse(
        "ExecStart",
        [
            good(&host, "owned").as_os_str(),
            "--property=ExecStart=/bin/true".as_ref(),
        ],
    );
}

#[test]
fn a_drop_in_that_sets_what_is_skims_own() {
    let host = Host::new();
    refuse(
        "User",
        [Image::busybox(&host, "owned")
            .annotation("skim.dropin", "[Service]\nUser=nobody\n")
            .build()],
    );
}

#[test]
fn an_archive_that_reaches_out_of_its_tree() {
    let host = Host::new();
    let target = host.directory("outside");
    let image = Image::busybox(&host, "escape").symlink(&target.to_string_lossy(), "out");
    // A second member goes through the link that the first one made.
    let archive = image.build();
    let evil = host.directory("evil").join("rootfs/out");
    std::fs::create_dir_all(&evil).expect("cannot make a directory");
    std::fs::write(evil.join("file"), "evil").expect("cannot write a file");
    let from = host.scratch().join("evil");
    run(
        "tar",
        [
            "--append".as_ref(),
            "--file".as_ref(),
            archive.as_os_str(),
            "--directory".as_ref(),
            from.as_os_str(),
            "rootfs/out/file".as_ref(),
        ],
    )
    .success();
    refuse("escape.aci", [archive]);
    assert_eq!(
        std::fs::read_dir(&target)
            .expect("the directory is there")
            .count(),
        0,
        "a file landed outside"
    );
}

#[test]
fn a_host_without_systemd() {
    let host = Host::new();
    let image = good(&host, "uninitialised");
    let script = "mount -t tmpfs tmpfs /run/systemd && exec skim run \"$1\"";
    let unshare = [
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "sh",
        "-c",
        script,
        "sh",
    ]
    .map(OsStr::new);
    let outcome = run("unshare", unshare.into_iter().chain([image.as_os_str()]));
    assert_refused(&outcome, "systemd");
}

#[test]
fn a_user_who_is_not_root() {
    let host = Host::new();
    let image = good(&host, "unprivileged");
    let skim = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "skim",
        "run",
    ]
    .map(OsStr::new);
    let outcome = run("setpriv", skim.into_iter().chain([image.as_os_str()]));
    assert_refused(&outcome, "root");
}

#[test]
fn unknown_pods() {
    let _host = Host::new();
    for args in [
        ["status", "0123abcd"],
        ["stop", "0123abcd"],
        ["rm", "0123abcd"],
        ["enter", "0123abcd"],
    ] {
        assert_refused(&skim(args), "0123abcd");
    }
}

#[test]
fn refused_images_leave_no_tree_in_the_store() {
    let host = Host::new();
    let image = Image::busybox(&host, "rejected").file("only-in-rejected", "x", 0o644);
    let archive = image.build_with("{}", &["manifest", "rootfs"]);
    refuse("manifest", [archive]);
    let store = Path::new(crate::support::trace::STATE);
    let found = run(
        "find",
        [
            store.as_os_str(),
            "-name".as_ref(),
            "only-in-rejected".as_ref(),
        ],
    );
    assert_eq!(found.success().stdout, "");
}

#[test]
fn an_app_name_too_long_for_a_unit_is_refused_and_one_that_fits_runs() {
    let host = Host::new();
    let image = Image::busybox(&host, "long").build();
    let image = image.to_string_lossy();
    skim(["run", "--rm", &image, "--name", &"a".repeat(204)]).success();
    refuse(
        "too long for a unit of systemd",
        [&*image, "--name", &"a".repeat(205)],
    );
}
