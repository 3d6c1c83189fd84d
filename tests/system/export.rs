//! What an export holds: the image as its author made it, and what the app changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::{Image, PROGRAMS};
use crate::support::pod::Pod;
use crate::support::store::{assert_one_line, image};
use crate::support::tree::Tree;

/// Runs an image with these further arguments to its end; returns its UUID.
#[track_caller]
fn run_to_the_end(host: &Host, args: &[&str]) -> String {
    let file = host.scratch().join("uuid-of-a-run");
    let save = format!("--uuid-file-save={}", file.display());
    skim([&["run", &save][..], args].concat()).success();
    fs::read_to_string(&file).expect("the UUID was saved")
}

/// Exports a pod's only app, and unpacks the export as any tar does.
#[track_caller]
fn export(host: &Host, uuid: &str, name: &str) -> (PathBuf, PathBuf) {
    let file = host.scratch().join(format!("{name}.aci"));
    skim(["export", uuid, &file.to_string_lossy()]).success();
    let directory = host.directory(&format!("{name}.unpacked"));
    let args = [
        "--extract",
        "--gzip",
        "--same-owner",
        "--same-permissions",
        "--xattrs",
        "--xattrs-include=*",
        "--file",
    ];
    let mut args: Vec<_> = args.map(std::ffi::OsString::from).into();
    args.extend([
        file.clone().into(),
        "--directory".into(),
        directory.clone().into(),
    ]);
    run("tar", args).success();
    (file, directory)
}

#[test]
fn an_image_that_its_app_left_alone_is_exported_as_its_author_made_it() {
    let host = Host::new();
    for source in ["app.aci", "app.oci:1.0"] {
        let reference = match source {
            "app.aci" => image(source),
            source => format!("oci:{}", image(source)),
        };
        let name = source.split(':').next().expect("there is a first part");
        let uuid = run_to_the_end(&host, &[&reference, "--exec=/bin/sh", "--", "-c", "true"]);
        let id = skim(["fetch", "--pull-policy=new", &reference, "--full"]).line();
        let original = host.scratch().join(format!("{name}.original"));
        let original_path = original.to_string_lossy();
        skim(["image", "extract", "--rootfs-only", &id, &original_path]).success();
        let (file, _) = export(&host, &uuid, name);
        let again = skim(["fetch".as_ref(), "--full".as_ref(), file.as_os_str()]).line();
        let exported = host.scratch().join(format!("{name}.exported"));
        let exported_path = exported.to_string_lossy();
        skim(["image", "extract", "--rootfs-only", &again, &exported_path]).success();
        Tree::read(&exported).assert_like(&Tree::read(&original), source);
        skim(["gc"]).success();
        skim(["image", "rm", &again]).success();
    }
}

#[test]
fn what_skim_made_to_mount_on_is_not_in_it() {
    let host = Host::new();
    let source = host.directory("source");
    let script = "mkdir -p srv/kept; echo x >deep/er/file";
    let built = Image::busybox(&host, "inside").exec(&["/bin/sh", "-ec", script]);
    let aci = built.build();
    let original = host.scratch().join("inside.original");
    let id = skim(["fetch".as_ref(), "--full".as_ref(), aci.as_os_str()]).line();
    let args = ["image", "extract", "--rootfs-only", &id];
    skim(args.into_iter().chain([&*original.to_string_lossy()])).success();
    let volume = format!("--volume=v,kind=host,source={}", source.display());
    let mount = "--mount=volume=v,target=/deep/er";
    for root in ["host", "image"] {
        let root = format!("--root={root}");
        let args = [&*aci.to_string_lossy(), &root, &volume, mount];
        let uuid = run_to_the_end(&host, &args);
        let (_, unpacked) = export(&host, &uuid, &root[2..].replace('=', "-"));
        let exported = unpacked.join("rootfs");
        // What the app itself has made.
        fs::remove_dir(exported.join("srv/kept")).expect("it was exported");
        fs::remove_dir(exported.join("srv")).expect("it was exported");
        let files = |directory: &Path| {
            run(
                "find",
                [directory.as_os_str(), "-printf".as_ref(), "%P\n".as_ref()],
            )
            .success()
            .stdout
        };
        let sorted = |text: String| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(files(&exported)), sorted(files(&original)), "{root}");
        skim(["gc"]).success();
    }
}

#[test]
fn an_oci_image_is_exported_as_one_of_appc_that_does_the_same() {
    let host = Host::new();
    let reference = format!("oci:{}", image("app.oci:1.0"));
    let file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let output = skim(["run", &save, &reference]).success().stdout;
    let uuid = fs::read_to_string(&file).expect("the UUID was saved");
    let (aci, unpacked) = export(&host, &uuid, "from-oci");
    let manifest = fs::read(unpacked.join("manifest")).expect("there is a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("it is JSON");
    assert_eq!(manifest["acKind"], "ImageManifest");
    let again = skim(["run".as_ref(), "--rm".as_ref(), aci.as_os_str()]).success();
    assert_eq!(again.stdout, output);
}

#[test]
fn what_the_app_changed_is_in_it_and_what_it_only_touched_is_the_authors() {
    let host = Host::new();
    let built = Image::tree(&host, "changed", "musl")
        .file("bin/busybox", fs::read(format!("{PROGRAMS}/busybox")).expect("it is there"), 0o755)
        .symlink("/bin/busybox", "bin/sh")
        .symlink("/bin/greet", "usr/bin/hello")
        .file("etc/gone", "gone", 0o644)
        .file("etc/old", "old", 0o644)
        .file("var/replaced/within", "old", 0o644)
        .exec(&["/bin/sh", "-c", concat!(
            "chmod 4711 bin/greet; chown -h 1:2 usr/bin/hello; rm etc/gone; echo new >etc/old; ",
            "rm -r var/replaced; mkdir var/replaced; echo new >var/replaced/other; ",
            "echo same >etc/one; ln etc/one etc/two; mkfifo -m 0640 etc/pipe; ",
            "chown 33:44 etc/one; setfattr -n user.note -v hello etc/old"
        )]);
    fs::hard_link(built.path("bin/greet"), built.path("bin/greet-too")).expect("cannot link");
    let author = fs::read(built.path("bin/greet")).expect("the program is there");
    let aci = built.build();
    let file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    // setfattr may not be there: whether its note is kept is looked at where it is.
    let has_setfattr = run("sh", ["-c", "command -v setfattr"]).code == Some(0);
    let outcome = skim(["run", &save, &aci.to_string_lossy()]);
    assert_eq!(
        outcome.code,
        Some(if has_setfattr { 0 } else { 127 }),
        "{outcome:#?}"
    );
    let uuid = fs::read_to_string(&file).expect("the UUID was saved");
    let (_, unpacked) = export(&host, &uuid, "after-the-change");
    let rootfs = unpacked.join("rootfs");
    let at = |path: &str| rootfs.join(path);

    let greet = fs::symlink_metadata(at("bin/greet")).expect("it is there");
    assert_eq!(greet.mode() & 0o7777, 0o4711);
    for path in ["bin/greet", "bin/greet-too"] {
        assert!(fs::read(at(path)).expect("it is there") == author, "{path}");
    }
    let link = fs::symlink_metadata(at("usr/bin/hello")).expect("it is there");
    assert_eq!((link.uid(), link.gid()), (1, 2));
    for (path, target) in [("usr/bin/hello", "/bin/greet"), ("bin/sh", "/bin/busybox")] {
        let found = fs::read_link(at(path)).expect("it is a link");
        assert_eq!(found, Path::new(target), "{path}");
    }
    assert!(!at("etc/gone").exists() && !at("var/replaced/within").exists());
    let text = |path| fs::read_to_string(at(path)).expect("it is there");
    assert_eq!(
        (text("etc/old"), text("var/replaced/other")),
        ("new\n".into(), "new\n".into())
    );
    let [one, two] =
        ["etc/one", "etc/two"].map(|path| fs::metadata(at(path)).expect("it is there"));
    assert_eq!((one.ino(), one.uid(), one.gid()), (two.ino(), 33, 44));
    let pipe = fs::symlink_metadata(at("etc/pipe")).expect("it is there");
    assert_eq!(pipe.mode() & 0o170_777, 0o010_640);
    if has_setfattr {
        let note = run(
            "getfattr",
            [
                "--only-values".as_ref(),
                "-n".as_ref(),
                "user.note".as_ref(),
                at("etc/old").as_os_str(),
            ],
        );
        assert_eq!(note.success().stdout, "hello");
    }
}

#[test]
fn an_export_is_always_the_same_bytes_in_the_order_of_paths() {
    let host = Host::new();
    let image = Image::busybox(&host, "same").exec(&["/bin/sh", "-c", "echo x >b; echo y >a"]);
    let uuid = run_to_the_end(&host, &[&image.build().to_string_lossy()]);
    let (one, _) = export(&host, &uuid, "one");
    // Whether the overlay is mounted makes no difference.
    skim(["gc", "--mark-only"]).success();
    let (two, _) = export(&host, &uuid, "two");
    let read = |path| fs::read(path).expect("the export can be read");
    assert!(read(&one) == read(&two), "the exports differ");
    let listing = run(
        "tar",
        [
            "--list".as_ref(),
            "--gzip".as_ref(),
            "--file".as_ref(),
            one.as_os_str(),
        ],
    );
    let listing = listing.success().stdout;
    let names: Vec<_> = listing
        .lines()
        .map(|name| name.trim_end_matches('/'))
        .collect();
    assert_eq!(names[..2], ["manifest", "rootfs"]);
    let by_parts = |name: &&str| name.split('/').map(str::to_owned).collect::<Vec<_>>();
    assert!(names.is_sorted_by_key(by_parts), "{names:#?}");
}

#[test]
fn a_refused_export_leaves_nothing() {
    let host = Host::new();
    let out = host.directory("out");
    let file = out.join("x.aci").to_string_lossy().into_owned();
    let sleeper = Image::busybox(&host, "refused").exec(&["/bin/sleep", "1000000"]);
    let pod = Pod::start([sleeper.build()]);
    assert_one_line(&skim(["export", &pod.uuid, &file]), "stop it first");
    pod.stop();
    let tar = out.join("x.tar").to_string_lossy().into_owned();
    assert_one_line(&skim(["export", &pod.uuid, &tar]), "end in .aci");
    let nowhere = out.join("nowhere/x.aci").to_string_lossy().into_owned();
    assert_one_line(&skim(["export", &pod.uuid, &nowhere]), "nowhere");
    assert_eq!(fs::read_dir(&out).expect("it can be listed").count(), 0);
    skim(["export", &pod.uuid, &file]).success();
    assert_one_line(&skim(["export", &pod.uuid, &file]), "--overwrite");
    skim(["export", "--overwrite", &pod.uuid, &file]).success();
    let full = skim(["export", "--overwrite", &pod.uuid, "/dev/full/x.aci"]);
    assert_one_line(&full, "/dev/full");
    let left: Vec<_> = fs::read_dir(&out).expect("it can be listed").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn dependencies_and_white_lists_are_not_asked_for_again() {
    let host = Host::new();
    let base = Image::busybox(&host, "base").file("etc/base", "base", 0o644);
    skim(["fetch".into(), base.build().into_os_string()]).success();
    let built = Image::empty(&host, "upper").file("etc/left-out", "x", 0o644);
    let mut manifest = built.manifest();
    manifest["dependencies"] = serde_json::json!([{"imageName": "example.com/base"}]);
    manifest["pathWhitelist"] =
        serde_json::json!(["/bin/busybox", "/bin/sh", "/bin/cat", "/etc/base"]);
    manifest["app"]["exec"] = serde_json::json!(["/bin/sh", "-c", "echo new >etc/new"]);
    let aci = built.build_with(&manifest.to_string(), &["manifest", "rootfs"]);
    let uuid = run_to_the_end(&host, &[&aci.to_string_lossy()]);
    let (file, unpacked) = export(&host, &uuid, "alone");
    let json = fs::read(unpacked.join("manifest")).expect("there is a manifest");
    let fields: BTreeMap<String, Value> = serde_json::from_slice(&json).expect("it is JSON");
    assert!(!fields.contains_key("dependencies") && !fields.contains_key("pathWhitelist"));
    skim(["image", "rm", "example.com/base"]);
    let again = [
        "run",
        "--rm",
        &file.to_string_lossy(),
        "--exec=/bin/cat",
        "--",
        "etc/base",
        "etc/new",
    ];
    assert_eq!(skim(again).success().stdout, "basenew\n");
}
