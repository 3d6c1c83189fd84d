//! Tests of services out of unit files of images, Debian's own above all.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use stage1_skim::pod::{AppPlan, PodPlan};
use stage1_skim::units;
use tempfile::TempDir;

use super::*;
use crate::pod::plan::plan;
use crate::pod::request::{AppRequest, EnvironmentRequest, PodRequest};
use crate::pod::testing;

const UUID: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const UNITS: &str = "usr/lib/systemd/system";

/// An image with units and programs.
struct Lab(TempDir);

impl Lab {
    fn new(units: &[(&str, &str)]) -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        for (name, text) in units {
            lab.write(&format!("{UNITS}/{name}"), text);
        }
        let users = "root:x:0:0::/root:\nredis:x:4242:4343::/var/lib/redis:\n";
        lab.write("etc/passwd", users);
        lab.write("etc/group", "root:x:0:\nredis:x:4343:\nmore:x:77:\n");
        lab
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// The request for the app `name` that has the unit `unit`.
    fn request(&self, name: &str, unit: &str, programs: &[&str]) -> AppRequest {
        let app = json!({"exec": ["/bin/own"], "user": "7", "group": "7"});
        let manifest = testing::manifest(&app, &json!([]));
        AppRequest {
            name: Some(name.to_string()),
            unit: Some(Asked {
                name: unit.to_string(),
                arguments: Vec::new(),
            }),
            ..AppRequest::new(testing::image(self.0.path(), programs, manifest))
        }
    }

    fn planned(&self, unit: &str, programs: &[&str]) -> Result<PodPlan> {
        pod(vec![self.request("app", unit, programs)])
    }
}

fn pod(apps: Vec<AppRequest>) -> Result<PodPlan> {
    let request = PodRequest {
        apps,
        ..PodRequest::default()
    };
    let stage1 = testing::static_program();
    plan(UUID, Path::new("/pod"), stage1.path(), &request)
}

fn message(outcome: Result<PodPlan>) -> String {
    let message = format!("{:#}", outcome.unwrap_err());
    assert!(!message.contains('\n'), "{message:?}");
    message
}

fn rendered(plan: &PodPlan, app: &str) -> String {
    let files = units::units(plan, Path::new("/stage1")).unwrap();
    let end = format!("-{app}");
    let mut files = files.into_iter();
    files.find(|file| file.name.ends_with(&end)).unwrap().text
}

fn assert_has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|own| own == *line),
            "no {line} in:\n{text}"
        );
    }
}

fn rootfs(app: &AppPlan) -> &str {
    app.rootfs.to_str().unwrap()
}

fn docker() -> Lab {
    Lab::new(&[
        ("docker.service", include_str!("examples/docker.service")),
        ("docker.socket", include_str!("examples/docker.socket")),
    ])
}

fn containerd() -> Lab {
    let text = include_str!("examples/containerd.service");
    Lab::new(&[("containerd.service", text)])
}

#[test]
fn docker_and_containerd_are_as_their_maintainers_wrote_them() {
    let (docker, containerd) = (docker(), containerd());
    let plan = pod(vec![
        docker.request("docker", "docker.service", &["usr/sbin/dockerd"]),
        containerd.request("ctr", "containerd.service", &["usr/bin/containerd"]),
    ])
    .unwrap();
    assert_eq!(plan.apps[0].requires, ["ctr"]);
    assert_eq!(plan.apps[1].requires, [] as [&str; 0]);
    let root = rootfs(&plan.apps[0]);
    let text = rendered(&plan, "docker.service");
    assert_has(
        &text,
        &[
            "Requires=skim-6ba7b8109dad11d180b400c04fd430c8-docker.docker.socket",
            "Requires=skim-6ba7b8109dad11d180b400c04fd430c8-ctr.service",
            "After=network-online.target firewalld.service time-set.target",
            "Type=notify",
            "Delegate=yes",
            "KillMode=process",
            "StartLimitInterval=60s",
            "WorkingDirectory=/",
            "EnvironmentFile=-/etc/default/docker",
            &format!(
                "ExecStart=\"@{root}/usr/sbin/dockerd\" \"{root}/usr/sbin/dockerd\" \"-H\" \
                 \"fd://\" \"--containerd=/run/containerd/containerd.sock\" \"$DOCKER_OPTS\""
            ),
            "ExecReload=\"@/bin/kill\" \"/bin/kill\" \"-s\" \"HUP\" \"$MAINPID\"",
        ],
    );
    let start = text.find("[Unit]\nStartLimit");
    assert!(text[..text.find("StartLimitInterval").unwrap()].contains("# from the image's unit"));
    assert_eq!(start, None);
    let socket = rendered(&plan, "docker.docker.socket");
    assert_has(
        &socket,
        &[
            "ListenStream=/run/docker.sock",
            "SocketMode=0660",
            "SocketUser=root",
            "FileDescriptorName=docker.socket",
        ],
    );
    assert_has(
        &rendered(&plan, "ctr.service"),
        &["ExecStartPre=\"-@/sbin/modprobe\" \"/sbin/modprobe\" \"overlay\""],
    );
}

#[test]
fn redis_keeps_what_confines_it() {
    let text = include_str!("examples/redis-server.service");
    let lab = Lab::new(&[("redis-server.service", text)]);
    lab.link(
        "/usr/lib/systemd/system/redis-server.service",
        "etc/systemd/system/redis.service",
    );
    let plan = lab
        .planned("redis.service", &["usr/bin/redis-server"])
        .unwrap();
    let app = &plan.apps[0];
    assert_eq!((app.credentials.uid, app.credentials.gid), (4242, 4343));
    let (text, root) = (rendered(&plan, "app.service"), rootfs(app));
    let tree = lab.0.path().display();
    assert_has(
        &text,
        &[
            "CapabilityBoundingSet=",
            "CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_SETPCAP",
            "SystemCallFilter=~ @privileged @resources",
            "SystemCallFilter=capset setgroups setresuid seccomp",
            "NoExecPaths=/",
            &format!("ExecPaths=\"{root}/usr/bin/redis-server\""),
            &format!("ExecPaths=\"{tree}\""),
            "ProtectSystem=strict",
            "ReadWritePaths=\"-/run/redis\"",
            "Environment=\"RUNTIME_DIRECTORY=/run/redis\"",
            "PIDFile=/run/redis/redis-server.pid",
            "ExecStartPre=\":+@/stage1\" \"stage1-skim\" \"directories\" \"make\" \"--uid=4242\" \
             \"--gid=4343\" \"--\" \"2755:/run/redis\"",
            "ExecStopPost=\":+@/stage1\" \"stage1-skim\" \"directories\" \"remove\" \"--\" \
             \"/run/redis\"",
            &format!(
                "ExecStart=\"@/stage1\" \"stage1-skim\" \"exec\" \"--uid=4242\" \"--gid=4343\" \
                 \"--drop=CAP_SETGID\" \"--drop=CAP_SETUID\" \"--drop=CAP_SETPCAP\" \
                 \"--block=capset\" \"--block=setgroups\" \"--block=setresuid\" \"--block=seccomp\" \"--\" \
                 \"{root}/usr/bin/redis-server\" \"{root}/usr/bin/redis-server\" \
                 \"/etc/redis/redis.conf\" \"--supervised\" \"systemd\" \"--daemonize\" \"no\""
            ),
        ],
    );
    for absent in ["PrivateUsers", "\nRuntimeDirectory", "\nUser="] {
        assert!(!text.contains(absent), "{absent} in:\n{text}");
    }
}

#[test]
fn an_instance_of_a_template_has_its_name() {
    let text = include_str!("examples/redis-server@.service");
    let lab = Lab::new(&[("redis-server@.service", text)]);
    let plan = lab
        .planned("redis-server@a-b.service", &["usr/bin/redis-server"])
        .unwrap();
    let text = rendered(&plan, "app.service");
    assert!(text.contains("\"/etc/redis/redis-a-b.conf\""), "{text}");
    assert!(text.contains("\"2755:/run/redis-a-b\""), "{text}");
}

#[test]
fn drop_ins_are_merged_as_on_a_host() {
    let unit = "[Service]\nExecStart=/bin/a one\nNice=1\nEnvironment=A=%p B=/usr/share/x\n";
    let lab = Lab::new(&[
        ("a-b.service", unit),
        ("a-b.service.d/20.conf", "[Service]\nNice=2\n"),
        (
            "a-.service.d/10.conf",
            "[Service]\nExecStart=\nExecStart=/bin/a two $X \\; ; \n",
        ),
        ("service.d/20.conf", "[Service]\nNice=3\n"),
        ("service.d/30.conf", "[Service]\nUMask=0077\n"),
    ]);
    lab.write("usr/share/x", "");
    lab.write("etc/systemd/system/service.d/30.conf", "");
    let mut request = lab.request("app", "a-b.service", &["bin/a"]);
    request.arguments = vec!["$5 100%".to_string()];
    let plan = pod(vec![request]).unwrap();
    let (text, root) = (rendered(&plan, "app.service"), rootfs(&plan.apps[0]));
    assert_has(
        &text,
        &[
            "Nice=2",
            "Environment=\"A=a-b\"",
            &format!("Environment=\"B={root}/usr/share/x\""),
            &format!(
                "ExecStart=\"@{root}/bin/a\" \"{root}/bin/a\" \"two\" \"$X\" \";\" \"$$5 100%%\""
            ),
        ],
    );
    assert!(
        !text.contains("UMask") && !text.contains("Nice=3"),
        "{text}"
    );
}

#[test]
fn prefixes_and_users_are_kept_apart() {
    let unit = "[Service]\nUser=redis\nSupplementaryGroups=more\nType=oneshot\n\
                ExecStartPre=+/bin/a root\nExecStartPre=!/bin/a unmapped\n\
                ExecStart=-@/bin/a argv0 --x=/usr/share/y /etc/passwd /usr/share/none\n\
                ExecStart=:/bin/a $HOME %H ; a b\n";
    let lab = Lab::new(&[("a.service", unit)]);
    lab.write("usr/share/y", "");
    let plan = lab.planned("a.service", &["bin/a"]).unwrap();
    let (text, root) = (rendered(&plan, "app.service"), rootfs(&plan.apps[0]));
    let wrapped = "\"stage1-skim\" \"exec\" \"--uid=4242\" \"--gid=4343\" \
                   \"--supplementary-gid=77\" \"--\"";
    assert_has(
        &text,
        &[
            &format!("ExecStartPre=\"+@{root}/bin/a\" \"{root}/bin/a\" \"root\""),
            &format!("ExecStartPre=\"@{root}/bin/a\" \"{root}/bin/a\" \"unmapped\""),
            &format!(
                "ExecStart=\"-@/stage1\" {wrapped} \"{root}/bin/a\" \"argv0\" \
                 \"--x={root}/usr/share/y\" \"/etc/passwd\" \"/usr/share/none\""
            ),
            &format!(
                "ExecStart=\":@/stage1\" {wrapped} \"{root}/bin/a\" \"{root}/bin/a\" \"$HOME\" \
                 \"%H\""
            ),
            &format!("ExecStart=\"@/stage1\" {wrapped} \"{root}/bin/a\" \"{root}/bin/a\" \"b\""),
        ],
    );
}

#[test]
fn permissions_may_be_those_of_the_start_only() {
    let unit = "[Service]\nUser=redis\nExecStartPre=/bin/a pre\nExecStart=/bin/a\n\
                ExecStop=+/bin/a stop\nPermissionsStartOnly=yes\n";
    let lab = Lab::new(&[("a.service", unit)]);
    let plan = lab.planned("a.service", &["bin/a"]).unwrap();
    let (text, root) = (rendered(&plan, "app.service"), rootfs(&plan.apps[0]));
    assert_has(
        &text,
        &[
            &format!("ExecStartPre=\"@{root}/bin/a\" \"{root}/bin/a\" \"pre\""),
            &format!("ExecStop=\"+@{root}/bin/a\" \"{root}/bin/a\" \"stop\""),
            &format!(
                "ExecStart=\"@/stage1\" \"stage1-skim\" \"exec\" \"--uid=4242\" \"--gid=4343\" \"--\" \
                 \"{root}/bin/a\" \"{root}/bin/a\""
            ),
        ],
    );
    assert!(!text.contains("PermissionsStartOnly"), "{text}");
}

#[test]
fn a_dynamic_user_is_root_where_the_unit_says_so() {
    let unit = "[Service]\nDynamicUser=yes\nExecStartPre=!/bin/a pre\nExecStart=/bin/a\n";
    let lab = Lab::new(&[("a.service", unit)]);
    let plan = lab.planned("a.service", &["bin/a"]).unwrap();
    let (text, root) = (rendered(&plan, "app.service"), rootfs(&plan.apps[0]));
    assert_has(
        &text,
        &[
            "DynamicUser=yes",
            &format!("ExecStartPre=\"!@{root}/bin/a\" \"{root}/bin/a\" \"pre\""),
            &format!("ExecStart=\"@{root}/bin/a\" \"{root}/bin/a\""),
        ],
    );
}

#[test]
fn a_socket_that_the_image_has_and_cannot_be_read_is_told() {
    let unit = "[Unit]\nWants=a.socket\n[Service]\nExecStart=/bin/a\n";
    let lab = Lab::new(&[("a.service", unit)]);
    assert!(lab.planned("a.service", &["bin/a"]).is_ok());
    for (text, says) in [
        ("", "the unit a.socket is masked in the image"),
        ("[Socket]\nx\n", "`x` is neither a section nor KEY=VALUE"),
    ] {
        lab.write(&format!("{UNITS}/a.socket"), text);
        let message = message(lab.planned("a.service", &["bin/a"]));
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn the_user_s_word_is_the_last() {
    let unit = "[Service]\nUser=redis\nExecStart=/bin/a\nEnvironment=A=unit B=unit\n\
                EnvironmentFile=-/etc/default/a\nMemoryMax=1G\n";
    let lab = Lab::new(&[("a.service", unit)]);
    lab.write("etc/default/a", "");
    let set = [("A", "it's \"$x\"")].map(|(name, value)| (name.to_string(), value.to_string()));
    let request = AppRequest {
        user: Some("9".to_string()),
        environment: EnvironmentRequest {
            set: set.to_vec(),
            ..EnvironmentRequest::default()
        },
        ..lab.request("app", "a.service", &["bin/a"])
    };
    let plan = pod(vec![request]).unwrap();
    assert_eq!(plan.apps[0].credentials.uid, 9);
    let (text, root) = (rendered(&plan, "app.service"), rootfs(&plan.apps[0]));
    let file = "skim-6ba7b8109dad11d180b400c04fd430c8-app.environment";
    assert_has(
        &text,
        &[
            "Environment=\"A=it's \\\"$x\\\"\"",
            "Environment=\"B=unit\"",
            // The host has none.
            &format!("EnvironmentFile=-{root}/etc/default/a"),
            &format!("EnvironmentFile=/run/systemd/system/{file}"),
        ],
    );
    assert_eq!(
        rendered(&plan, "app.environment"),
        "A=\"it's \\\"\\$x\\\"\"\n"
    );
}

#[test]
fn a_pod_manifest_gives_the_same_pod_again() {
    let (docker, containerd) = (docker(), containerd());
    let mut asked = docker.request("docker", "docker.service", &["usr/sbin/dockerd"]);
    asked.arguments = vec!["--debug 100%".to_string()];
    asked.environment.set = vec![("A".to_string(), "b".to_string())];
    let other = containerd.request("ctr", "containerd.service", &["usr/bin/containerd"]);
    let images = [asked.image.clone(), other.image.clone()];
    let first = pod(vec![asked, other]).unwrap();
    let json = first.manifest.to_string();
    let manifest = crate::pod::manifest::PodManifest::parse(json.as_bytes()).unwrap();
    let apps = manifest.apps.into_iter().zip(images);
    let apps = apps.map(|(app, image)| {
        app.into_request(image, &Default::default(), &Default::default())
            .unwrap()
    });
    let second = pod(apps.collect()).unwrap();
    let names = |plan: &PodPlan| units::units(plan, Path::new("/stage1")).unwrap();
    let (first_files, second_files) = (names(&first), names(&second));
    assert_eq!(first_files.len(), second_files.len());
    for (first, second) in first_files.iter().zip(&second_files) {
        assert_eq!(first.name, second.name);
        assert_eq!(first.text, second.text);
    }
    assert_eq!(first.manifest, second.manifest);
}

#[test]
fn what_contradicts_skim_is_refused_by_name() {
    let at = "of the image, line 3";
    for (line, says) in [
        (
            "RootDirectory=/srv",
            "RootDirectory= is refused: an app of skim sees the host's root",
        ),
        ("RootImage=/x.raw", "RootImage= is refused"),
        ("PAMName=login", "PAMName= is refused: the host's PAM"),
        (
            "TemporaryFileSystem=/pod:ro",
            "TemporaryFileSystem= is refused: /pod is where",
        ),
        ("ExecStartPre=|/bin/a", "the prefix |"),
        (
            "ExecStartPre=bin/a",
            "the program `bin/a` is neither an absolute path",
        ),
        ("ExecStartPre=/bin/a \"x", "is not closed"),
        (
            "ExecStart=/bin/a",
            "the unit has 2 ExecStart=, which takes Type=oneshot",
        ),
        ("ExecStart=", "the unit has no ExecStart="),
        ("User=nobody-here", "\"nobody-here\" user not found"),
        ("Environment=A", "`A` is not of the form NAME=VALUE"),
        ("Environment=A=%H", "the specifier %H"),
        (
            "User=redis\nRuntimeDirectory=../x",
            "`../x` is no path beneath it",
        ),
        (
            "[Unit]\nRequires=no-such.service",
            "Requires=no-such.service: neither",
        ),
        ("[Unit]\nx", "`x` is neither a section nor KEY=VALUE"),
    ] {
        let text = format!("[Service]\nExecStart=/bin/a\n{line}\n");
        let lab = Lab::new(&[("a.service", &text)]);
        let message = message(lab.planned("a.service", &["bin/a"]));
        assert!(message.contains(says), "{line}: {message}");
        if !line.contains(['\n', 'U']) && !line.starts_with("ExecStart=") {
            assert!(message.contains(at), "{line}: {message}");
        }
    }
}

#[test]
fn what_is_no_unit_of_the_image_is_said_to_be_none() {
    let lab = Lab::new(&[
        ("a.service", "[Service]\nExecStart=/bin/a\n"),
        ("empty.service", ""),
    ]);
    lab.link("/dev/null", "etc/systemd/system/masked.service");
    lab.link("loop.service", "etc/systemd/system/loop.service");
    lab.link("../../../../etc/passwd", "etc/systemd/system/out.service");
    fs::create_dir_all(lab.0.path().join(UNITS).join("dir.service")).unwrap();
    for (unit, says) in [
        (
            "b.service",
            "the image has no unit b.service: it is in none of",
        ),
        ("b.service", "it has a.service, dir.service, empty.service"),
        (
            "masked.service",
            "the unit masked.service is masked in the image",
        ),
        ("empty.service", "masked"),
        ("loop.service", "one link too many"),
        ("out.service", "is no name of a unit"),
        ("dir.service", "is no regular file"),
    ] {
        let message = message(lab.planned(unit, &["bin/a"]));
        assert!(message.contains(says), "{unit}: {message}");
    }
    for bad in ["a.socket", "a/b.service", "", "../a.service"] {
        assert!(find::service_name(bad).is_err(), "{bad}");
    }
    assert_eq!(find::service_name("docker").unwrap(), "docker.service");
}

#[test]
fn a_unit_and_what_contradicts_it_are_refused() {
    let lab = Lab::new(&[("a.service", "[Service]\nExecStart=/bin/a\n")]);
    let request = || lab.request("app", "a.service", &["bin/a"]);
    let exec = AppRequest {
        exec: Some("/bin/a".to_string()),
        ..request()
    };
    assert!(message(pod(vec![exec])).contains("--exec and --unit=a.service contradict"));
    let root = AppRequest {
        root: stage1_skim::pod::Root::Image,
        ..request()
    };
    assert!(message(pod(vec![root])).contains("--root=image and --unit"));
}

/// Keys and values that units are made of, those of no sense, too.
fn line() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "ExecStart",
        "ExecStartPre",
        "ExecReload",
        "Environment",
        "EnvironmentFile",
        "User",
        "RuntimeDirectory",
        "WorkingDirectory",
        "After",
        "Requires",
        "Type",
        "ExecPaths",
        "ConditionPathExists",
        "SystemCallFilter",
        "CapabilityBoundingSet",
        "Nice",
        "X-y",
    ]);
    let words = prop::sample::select(vec![
        "/bin/a",
        "-@/bin/a",
        "+:/bin/a b",
        "%i",
        "%I",
        "%%",
        "%",
        "\\x2d",
        "\"a b\"",
        "'",
        "\\",
        ";",
        "$A",
        "${B}",
        "A=b",
        "=",
        "redis",
        "~",
        "/usr/bin",
        "..",
        "\u{1b}",
        "\u{e9}",
        "a.service",
    ]);
    let values = prop::collection::vec(words, 0..5);
    (keys, values).prop_map(|(key, values)| format!("{key}={}\n", values.join(" ")))
}

proptest! {
    #[test]
    fn whatever_a_unit_says_gives_lines_or_one_of_error(
        lines in prop::collection::vec(line(), 0..8),
        more in "\\PC{0,40}",
    ) {
        let text = format!("[Service]\nExecStart=/bin/a\n{}{more}\n", lines.concat());
        let lab = Lab::new(&[("a@.service", &text)]);
        match lab.planned("a@b\\x2dc.service", &["bin/a"]) {
            Ok(plan) => for file in units::units(&plan, Path::new("/stage1")).unwrap() {
                let strange = |c: char| c.is_ascii_control() && c != '\n' && c != '\t';
                prop_assert!(!file.text.contains(strange), "{:?}", file.text);
                let parsed = stage1_skim::unit_file::lex(&file.text);
                prop_assert!(parsed.is_ok(), "{parsed:?}");
            },
            Err(error) => {
                let message = format!("{error:#}");
                prop_assert!(!message.contains(char::is_control), "{message:?}");
            }
        }
    }
}
