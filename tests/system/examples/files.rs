//! The files that the examples name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::store::image;

/// Where they are, in the scratch directory.
pub(super) const DIRECTORY: &str = "files";

/// Stand-ins for programs that the machine does not have.
const PROGRAMS: [(&str, &str); 3] = [
    ("sudo", "#!/bin/sh\nexec \"$@\"\n"),
    // The host at the other end is this one, in another directory.
    (
        "ssh",
        "#!/bin/sh\nset -e\nmkdir -p \"$1\"\ncd \"$1\"\nexec sh -c \"$2\"\n",
    ),
    // Of its language just as much as an example has.
    (
        "jq",
        "#!/usr/bin/python3\nimport json, re, sys\nvalue = json.load(sys.stdin)\n\
         for number, name in re.findall(r'\\.\\[(\\d+)\\]|\\.(\\w+)', sys.argv[1]):\n    \
         value = value[int(number) if number else name]\nprint(json.dumps(value))\n",
    ),
];

/// www-data is who is meant by it everywhere.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\n";

/// Makes all of them.
#[track_caller]
pub(super) fn make(host: &Host, has_docker: bool) {
    let directory = host.directory(DIRECTORY);
    let keep = |name: &str, file: &Path| {
        symlink(file, directory.join(name)).expect("cannot make a link");
    };
    for (name, script) in [
        (
            "hello",
            "echo \"hello from $AC_APP_NAME, uid $(/bin/id -u)\"",
        ),
        (
            "web",
            "echo serving on port \"${PORT:-8080}\" \"$@\"; exec /bin/sleep 1000000",
        ),
        (
            "db",
            "echo database \"$@\"; echo rows >\"${1#--datadir=}/rows\"; exec /bin/sleep 1000000",
        ),
        ("tools", "exec /bin/sh"),
        // An app that ends by itself, but not at once.
        ("brief", "exec /bin/sleep 1"),
    ] {
        keep(&format!("{name}.aci"), &app(host, name, script));
    }
    for (name, version) in [("docker", "28.0"), ("containerd", "2.0")] {
        let file = format!("{name}.aci");
        if has_docker {
            keep(&file, Path::new(&image(&file)));
        } else {
            let script = "echo up; exec /bin/sleep 1000000";
            keep(&file, &version_of(busybox(host, name, script), version));
        }
    }
    keep("app.aci", Path::new(&image("app.aci")));
    foreign(&directory);
    let programs = host.directory("bin");
    for (name, text) in PROGRAMS {
        let file = programs.join(name);
        fs::write(&file, text).expect("cannot write a program");
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("cannot change it");
    }
}

#[track_caller]
fn busybox(host: &Host, name: &str, script: &str) -> Image {
    // Arguments follow the name.
    Image::busybox(host, name)
        .file("etc/passwd", PASSWD, 0o644)
        .file("etc/group", GROUP, 0o644)
        .exec(&["/bin/sh", "-c", script, name])
}

#[track_caller]
fn app(host: &Host, name: &str, script: &str) -> std::path::PathBuf {
    let image = busybox(host, name, script);
    match name {
        "hello" => image.user("33", "33").build(),
        _ => image.build(),
    }
}

#[track_caller]
fn version_of(image: Image, version: &str) -> std::path::PathBuf {
    let mut manifest = image.manifest();
    manifest["labels"][2]["value"] = version.into();
    image.build_with(&manifest.to_string(), &["manifest", "rootfs"])
}

/// What other people's tools write.
#[track_caller]
fn foreign(directory: &Path) {
    let source = format!("oci:{}", image("app.oci:1.0"));
    for target in [
        "oci:layout:1.2",
        "oci:docker.oci:1.0",
        "docker-archive:saved.tar:app:1.2",
        "docker-archive:busybox.docker.tar:docker.io/library/busybox:latest",
    ] {
        let script = "cd \"$1\" && exec skopeo copy --quiet \"$2\" \"$3\"";
        let directory = directory.to_str().expect("the path is text");
        run("sh", ["-c", script, "sh", directory, &source, target]).success();
    }
    let dropin = "[Service]\nType=notify\n";
    fs::write(directory.join("dropin"), dropin).expect("cannot write a file");
}
