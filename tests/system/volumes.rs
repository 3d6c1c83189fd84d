//! Volumes: where an app is told, what it may do there, and what they leave of the host.
//!
//! rkt's tests have volumes at paths of the chroot; here an app is told the path on the host.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::mounts::{self, Mounted};
use crate::support::pod::{Pod, gc};
use crate::support::tree::Tree;

mod gc;
mod places;
mod refusals;

/// `NAME,kind=host,source=SOURCE`
fn host_volume(name: &str, source: &Path) -> OsString {
    let mut volume = OsString::from(format!("--volume={name},kind=host,source="));
    volume.push(source);
    volume
}

fn mount(volume: &str, target: &str) -> OsString {
    format!("--mount=volume={volume},target={target}").into()
}

/// An image that sleeps.
fn sleeper(host: &Host, name: &str) -> Image {
    Image::busybox(host, name).exec(&["/bin/sleep", "1000000"])
}

/// Starts a pod of one image, its flags after it.
#[track_caller]
fn start(image: &Path, flags: impl IntoIterator<Item = OsString>) -> Pod {
    let image = ["--quiet".into(), image.as_os_str().to_owned()];
    Pod::start(image.into_iter().chain(flags))
}

#[track_caller]
fn is_read_only(directory: &Path) -> bool {
    match fs::write(directory.join("written"), "") {
        Ok(()) => false,
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => true,
        Err(error) => panic!("{}: {error}", directory.display()),
    }
}

#[track_caller]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of strings, each ended by a NUL.
#[track_caller]
fn strings(path: &Path) -> Vec<String> {
    let text = read(path);
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn an_app_is_told_where_its_volumes_are() {
    let host = Host::new();
    let (dump, data) = (host.directory("dump"), host.directory("data"));
    fs::write(data.join("file"), "of the host").expect("cannot write");
    let script = r#"read x <"$1/file" && test "$x" = "of the host"; echo written >"$SKIM_VOLUME_DATA_1/new"; exec dump"#;
    let image = Image::busybox(&host, "told")
        .exec(&["/bin/sh", "-c", script, "sh"])
        .build();
    let mut args: Vec<OsString> = vec!["run".into(), "--quiet".into(), image.into()];
    args.push(host_volume("data-1", &data));
    args.push(mount("data-1", "/var/lib/data"));
    args.push(format!("--set-env=DUMP_DIR={}", dump.display()).into());
    args.push("--set-env=BOTH={volume:data-1}/a:{x}${volume}".into());
    args.extend(["--".into(), "{volume:data-1}".into(), "{volume}".into()]);
    skim(args).success();

    let uuid = skim(["list", "--quiet"]).line();
    let rootfs = Pod { uuid }.rootfs("told");
    let path = rootfs.join("var/lib/data").display().to_string();
    let environment = strings(&dump.join("environ"));
    for expected in [
        format!("SKIM_VOLUME_DATA_1={path}"),
        format!("BOTH={path}/a:{{x}}${{volume}}"),
    ] {
        assert!(
            environment.contains(&expected),
            "{expected}: {environment:?}"
        );
    }
    assert_eq!(read(&data.join("new")), "written\n");
}

#[test]
fn status_and_json_tell_the_paths() {
    let host = Host::new();
    let data = host.directory("data");
    let image = sleeper(&host, "shown").build();
    let mut read_only = host_volume("data", &data);
    read_only.push(",readOnly=true");
    let flags = [
        read_only,
        mount("data", "/srv"),
        "--volume=tmp,kind=empty".into(),
    ];
    let pod = start(&image, flags.into_iter().chain([mount("tmp", "/tmp/x")]));
    let rootfs = pod.rootfs("shown");
    let status = skim(["status", &pod.uuid]).success().stdout;
    let line = format!("\nvolume-shown-data={}\n", rootfs.join("srv").display());
    assert!(status.contains(&line), "{status}");
    let status = skim(["status", "--format=json", &pod.uuid]).line();
    let status: Value = serde_json::from_str(&status).expect("status is JSON");
    let directory = rootfs.ancestors().nth(3).expect("a pod's directory");
    let volume = directory.join("volumes/tmp");
    assert_eq!(
        status["apps"][0]["mounts"],
        json!([
            { "name": "data", "path": rootfs.join("srv"), "source": data, "read_only": true },
            { "name": "tmp", "path": rootfs.join("tmp/x"), "source": volume, "read_only": false },
        ])
    );
    assert_eq!(
        status["volumes"],
        json!([
            { "name": "data", "kind": "host", "source": data, "read_only": true },
            { "name": "tmp", "kind": "empty", "source": volume, "read_only": false },
        ])
    );
}

#[test]
fn read_only_is_honoured_all_the_way_down() {
    let host = Host::new();
    let source = Mounted::new(&host, "source").file("there");
    let inner = Mounted::at(&source.path().join("inner")).file("there");
    let image = sleeper(&host, "careful").build();
    let mut read_only = host_volume("ro", source.path());
    read_only.push(",readOnly=true");
    let flags = [
        read_only,
        mount("ro", "/ro"),
        host_volume("rw", source.path()),
        mount("rw", "/rw"),
    ];
    let pod = start(&image, flags);
    let at = |path: &str| pod.rootfs("careful").join(path);
    for path in ["ro", "ro/inner"] {
        assert_eq!(read(&at(path).join("there")), "there");
        assert!(is_read_only(&at(path)), "{path} can be written to");
    }
    for path in ["rw", "rw/inner"] {
        assert!(!is_read_only(&at(path)), "{path} cannot be written to");
    }
    assert!(inner.path().join("written").exists());
    // What is mounted later is not in the one that would have to make it read-only.
    let later = Mounted::at(&source.path().join("later")).file("there");
    assert!(at("rw/later/there").exists());
    assert!(!at("ro/later/there").exists());
    drop(later);
    assert!(
        !at("rw/later/there").exists(),
        "it holds what was unmounted"
    );
}

#[test]
fn only_a_recursive_volume_has_what_is_mounted_in_its_source() {
    let host = Host::new();
    let source = Mounted::new(&host, "source");
    let inner = Mounted::at(&source.path().join("inner")).file("there");
    let image = sleeper(&host, "flat").build();
    let mut flat = host_volume("flat", source.path());
    flat.push(",recursive=false");
    let flags = [
        flat,
        mount("flat", "/flat"),
        host_volume("deep", source.path()),
        mount("deep", "/deep"),
    ];
    let pod = start(&image, flags);
    let at = |path: &str| pod.rootfs("flat").join(path);
    assert!(at("deep/inner/there").exists());
    assert!(at("flat/inner").is_dir() && !at("flat/inner/there").exists());
    // What an app mounts in its volume stays there.
    let own = Mounted::at(&at("deep/own")).file("there");
    assert!(source.path().join("own").is_dir());
    assert!(!source.path().join("own/there").exists());
    drop(own);
    drop(inner);
}

#[test]
fn a_file_may_be_a_volume() {
    let host = Host::new();
    let data = host.directory("data");
    fs::write(data.join("config"), "one").expect("cannot write");
    let image = sleeper(&host, "filed").file("etc/config", "image's", 0o644);
    let image = image.build();
    let flags = [
        host_volume("config", &data.join("config")),
        mount("config", "/etc/config"),
        mount("config", "/new/directory/config"),
        host_volume("journal", Path::new("/run/systemd/journal/socket")),
        mount("journal", "/log"),
    ];
    let pod = start(&image, flags);
    let at = |path: &str| pod.rootfs("filed").join(path);
    fs::write(at("etc/config"), "two").expect("cannot write to the volume");
    assert_eq!(read(&data.join("config")), "two");
    assert_eq!(read(&at("new/directory/config")), "two");
    run("test", ["-S".as_ref(), at("log").as_os_str()]).success();
}

#[test]
fn an_empty_volume_is_as_asked_for_and_shared() {
    let host = Host::new();
    let writer = sleeper(&host, "writer").user("1234", "1234").build();
    let reader = sleeper(&host, "reader").build();
    let mut args: Vec<OsString> = vec!["--quiet".into()];
    args.push("--volume=shared,kind=empty,mode=02750,uid=1234,gid=77".into());
    args.extend([writer.into(), mount("shared", "/out"), reader.into()]);
    args.push(mount("shared", "/in/deep"));
    let pod = Pod::start(args);
    let (out, into) = (
        pod.rootfs("writer").join("out"),
        pod.rootfs("reader").join("in/deep"),
    );
    let metadata = fs::metadata(&out).expect("the volume is there");
    let owner = (metadata.uid(), metadata.gid());
    assert_eq!((metadata.mode() & 0o7777, owner), (0o2750, (1234, 77)));
    let touch = [
        "--reuid=1234".as_ref(),
        "--clear-groups".as_ref(),
        "touch".as_ref(),
        out.join("x").as_os_str().to_owned().as_os_str(),
    ]
    .map(OsStr::to_owned);
    run("setpriv", touch).success();
    assert!(into.join("x").exists());
    assert_eq!(fs::read_dir(&into).expect("a directory").count(), 1);
    // An unmet mount point is the app's own; this one is the pod's.
    assert!(!out.join("../in").exists());
}

/// An image with all kinds of files at `/data`.
fn with_data(host: &Host, name: &str) -> Image {
    let image = sleeper(host, name)
        .file("data/file", "of the image", 0o640)
        .file("data/deep/er/program", "", 0o4755)
        .symlink("/etc/passwd", "data/link");
    for (path, mode) in [("data", 0o2770), ("data/deep", 0o700)] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(image.path(path), mode).expect("cannot set a mode");
    }
    for (owner, path) in [
        ("33:44", "data"),
        ("5:6", "data/file"),
        ("7:8", "data/link"),
    ] {
        let path = image.path(path);
        let args = ["-h".as_ref(), owner.as_ref(), path.as_os_str()];
        run("chown", args).success();
    }
    image
}

/// What is in the volume is what is in the image, and the image keeps it.
#[track_caller]
fn assert_filled(pod: &Pod, app: &str) {
    let volume = pod.rootfs(app).join("data");
    let image = pod.tree(app).join("data");
    let before = Tree::read(&image);
    Tree::read(&volume).assert_like(&before, "the volume is not as the image");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o7777;
    assert_eq!(mode(&volume), mode(&image));
    fs::write(volume.join("file"), "changed").expect("cannot write to the volume");
    fs::write(volume.join("new"), "").expect("cannot write to the volume");
    Tree::read(&image).assert_like(&before, "the image was changed");
    let upper = pod.rootfs(app).with_file_name("upper");
    assert!(!upper.join("data/new").exists(), "it went to the overlay");
}

#[test]
fn a_mount_point_without_a_volume_gets_one_with_what_the_image_has() {
    let host = Host::new();
    let points = json!([
        { "name": "data", "path": "/data" },
        { "name": "conf", "path": "/conf", "readOnly": true },
    ]);
    let image = with_data(&host, "pointed")
        .app("mountPoints", points)
        .build();
    let said = skim([
        "run".as_ref(),
        "--detach".as_ref(),
        image.as_os_str(),
        "--exec=/bin/sleep".as_ref(),
        "--".as_ref(),
        "1000000".as_ref(),
    ])
    .success();
    assert!(said.stderr.contains("mount point data"), "{said:#?}");
    let pod = Pod {
        uuid: said.stdout.trim_end().to_owned(),
    };
    assert_filled(&pod, "pointed");
    assert!(is_read_only(&pod.rootfs("pointed").join("conf")));
    // Its own name is the variable's, too, whichever app has it.
    let environment = strings(&PathBuf::from(format!(
        "/proc/{}/environ",
        crate::support::systemd::main_pid(&pod.service("pointed"))
    )));
    let path = pod.rootfs("pointed").join("data").display().to_string();
    for name in ["SKIM_VOLUME_DATA", "SKIM_VOLUME_POINTED_DATA"] {
        let expected = format!("{name}={path}");
        assert!(
            environment.contains(&expected),
            "{expected}: {environment:?}"
        );
    }
}

#[test]
fn a_volume_of_a_mount_point_s_name_is_mounted_there_unasked() {
    let host = Host::new();
    let points = json!([{ "name": "data", "path": "/data", "readOnly": true }]);
    let image = with_data(&host, "met").app("mountPoints", points).build();
    let source = host.directory("source");
    let pod = start(&image, [host_volume("data", &source)]);
    fs::write(source.join("x"), "").expect("cannot write");
    let volume = pod.rootfs("met").join("data");
    assert!(volume.join("x").exists() && !volume.join("file").exists());
    assert!(is_read_only(&volume), "the mount point says read-only");
}

#[test]
fn volumes_of_an_oci_image_are_filled_from_it() {
    use crate::support::archive::{Layout, config};
    let host = Host::new();
    let image = with_data(&host, "layers");
    let layer = host.scratch().join("layer.tar");
    let top = image.path("");
    let args = [
        "-C".as_ref(),
        top.as_os_str(),
        "-cf".as_ref(),
        layer.as_os_str(),
    ];
    run("tar", args.into_iter().chain([".".as_ref()])).success();
    let layers = [fs::read(&layer).expect("cannot read the layer")];
    let mut config = config(&layers);
    config["config"] = json!({
        "Entrypoint": ["/bin/sleep", "1000000"],
        "Volumes": { "/data": {}, "/data/": {}, "/data/deep/cache": {} },
        "WorkingDir": "/data/work",
    });
    let mut layout = Layout::new(host.scratch().join("layout"), &layers, &config);
    let layout = layout.write().to_owned();
    // Container engines give every volume without a word: no warning here either.
    let flags = ["--name=oci".into()];
    let mut args: Vec<OsString> = vec!["run".into(), "--detach".into(), "--quiet".into()];
    args.extend([layout.into()]);
    args.extend(flags);
    let said = skim(args).success();
    assert_eq!(said.stderr, "");
    let pod = Pod {
        uuid: said.stdout.trim_end().to_owned(),
    };
    let data = pod.rootfs("oci").join("data");
    assert_eq!(read(&data.join("file")), "of the image");
    assert!(data.join("deep/cache").is_dir());
    // A working directory is made in the volume, as there is none of the user's.
    let pid = crate::support::systemd::main_pid(&pod.service("oci"));
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs");
    assert_eq!(cwd, data.join("work"));
    let volumes = data.ancestors().nth(4).expect("a pod").join("volumes");
    let names = fs::read_dir(volumes).expect("volumes").count();
    assert_eq!(names, 2, "a volume for /data and one for its cache");
}

#[test]
fn a_read_only_rootfs_leaves_volumes_alone() {
    let host = Host::new();
    let points = json!([{ "name": "data", "path": "/data" }]);
    let image = with_data(&host, "fixed").app("mountPoints", points).build();
    let source = host.directory("source");
    let flags = [
        "--readonly-rootfs".into(),
        host_volume("rw", &source),
        mount("rw", "/new/rw"),
    ];
    let pod = start(&image, flags);
    let rootfs = pod.rootfs("fixed");
    for path in ["", "etc", "new"] {
        assert!(
            is_read_only(&rootfs.join(path)),
            "/{path} can be written to"
        );
    }
    for path in ["data", "new/rw"] {
        assert!(
            !is_read_only(&rootfs.join(path)),
            "/{path} cannot be written to"
        );
    }
}

#[test]
fn a_pod_that_was_prepared_gets_its_volumes_when_it_runs() {
    let host = Host::new();
    let points = json!([{ "name": "data", "path": "/data" }]);
    let image = with_data(&host, "later").app("mountPoints", points).build();
    let source = host.directory("source");
    let args: [OsString; 5] = [
        "prepare".into(),
        "--quiet".into(),
        image.into(),
        host_volume("host", &source),
        mount("host", "/host"),
    ];
    let uuid = skim(args).line();
    let before = mounts::others();
    fs::remove_dir(&source).expect("cannot remove the source");
    let refused = skim(["run-prepared", "--detach", &uuid]);
    assert_eq!(refused.code, Some(254), "{refused:#?}");
    assert!(refused.stderr.contains("does not exist"), "{refused:#?}");
    assert_eq!(mounts::others(), before);
    fs::create_dir(&source).expect("cannot make the source");
    skim(["run-prepared", "--detach", &uuid]).success();
    assert_filled(&Pod { uuid }, "later");
}
