//! Services out of the unit files that Debian's packages ship, run from their images (`--unit`).

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::daemons::DockerPod;
use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{self, Pod};
use crate::support::service::Port;
use crate::support::trace::Trace;
use crate::support::{journal, process, systemd};

/// The number of the images' own users, whom the host does not know.
const IMAGE_UID: u32 = 4242;

/// Files of the host for the time of a test: `/etc` is the operator's, and a unit means it.
struct OfHost(Vec<PathBuf>);

impl OfHost {
    #[track_caller]
    fn write(path: &str, text: &str) -> Self {
        let path = Path::new(path);
        let parent = path.parent().expect("it has a directory");
        assert!(!parent.exists(), "{} is there", parent.display());
        fs::create_dir_all(parent).expect("cannot make a directory of the host");
        fs::write(path, text).expect("cannot write a file of the host");
        Self(vec![parent.to_owned()])
    }

    /// What the unit makes, and systemd leaves, goes as well.
    fn and(mut self, path: &str) -> Self {
        self.0.push(path.into());
        self
    }
}

impl Drop for OfHost {
    fn drop(&mut self) {
        for path in &self.0 {
            run("rm", ["-rf".as_ref(), path.as_os_str()]);
        }
    }
}

fn image(name: &str) -> String {
    format!("/opt/images/{name}.aci")
}

#[track_caller]
fn command_line(unit: &str) -> String {
    let pid = systemd::main_pid(unit);
    let line = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    String::from_utf8_lossy(&line).replace('\0', " ")
}

#[track_caller]
fn status(unit: &str, field: &str) -> String {
    let pid = systemd::main_pid(unit);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.expect("the kernel tells it").trim().to_owned()
}

/// Takes images out of the store: together they are large, and other tests read all of it.
#[track_caller]
fn forget(name: &str) {
    pod::gc();
    skim(["image", "rm", &format!("example.com/{name}")]).success();
}

#[test]
fn docker_and_containerd_run_by_debians_units() {
    let host = Host::new();
    let (docker, containerd) = (image("docker"), image("containerd"));
    let docker = DockerPod::of(
        &host,
        &[
            &docker,
            "--unit=docker.service",
            &containerd,
            "--unit=containerd.service",
        ],
    );
    assert_eq!(
        docker.run_busybox(&["--rm"], &["echo", "hello"]).line(),
        "hello"
    );
    let unit = docker.dockerd();
    let line = command_line(&unit);
    assert!(line.contains("-H fd:// --containerd="), "{line}");
    for (name, value) in [
        ("Type", "notify"),
        ("Delegate", "yes"),
        ("KillMode", "process"),
        ("OOMScoreAdjust", "-500"),
        ("LimitCORE", "infinity"),
    ] {
        assert_eq!(systemd::property(&unit, name), value, "{name}");
    }
    let socket = fs::metadata("/run/docker.sock").expect("systemd listens there");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.mode() & 0o7777, 0o660);
    // ExecStartPre=-/sbin/modprobe overlay: the host's, as the image has none.
    let pre = systemd::property(&docker.containerd(), "ExecStartPre");
    assert!(pre.contains("path=/sbin/modprobe"), "{pre}");
    run("systemctl", ["reload", &unit]).success();
    docker.pod.stop();
    assert!(!Path::new("/run/docker.sock").exists());
}

#[test]
fn redis_is_confined_as_its_maintainers_meant() {
    let _host = Host::new();
    let port = Port::free();
    let config = format!("port {}\nsave \"\"\ndir /run/redis\n", port.number());
    let _files = OfHost::write("/etc/redis/redis.conf", &config);
    let pod = Pod::start([image("redis").as_str(), "--unit=redis-server.service"]);
    let unit = pod.service("redis");
    assert_eq!(port.ask("PING\r\n", "\r\n"), "+PONG\r\n");
    assert_eq!(systemd::property(&unit, "Type"), "notify");
    let pid = systemd::main_pid(&unit);
    assert!(process::executable(pid).starts_with(pod.rootfs("redis")));
    assert_eq!(status(&unit, "Uid").split_whitespace().next(), Some("4242"));
    for (field, expected) in [
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status(&unit, field), expected, "{field}");
    }
    let directory = fs::metadata("/run/redis").expect("it is made");
    assert_eq!(
        (directory.uid(), directory.mode() & 0o7777),
        (IMAGE_UID, 0o2755)
    );
    pod.stop();
    assert!(!Path::new("/run/redis").exists());
    forget("redis");
}

#[test]
fn haproxy_is_reloaded_by_the_unit_s_own_commands() {
    let _host = Host::new();
    let port = Port::free();
    let config = |says: &str| {
        format!(
            "defaults\n mode http\n timeout connect 1s\n timeout client 9s\n timeout server 9s\n\
             frontend f\n bind 127.0.0.1:{}\n http-request return status 200 content-type \
             text/plain string \"{says}\"\n",
            port.number()
        )
    };
    let path = "/etc/haproxy/haproxy.cfg";
    let _files = OfHost::write(path, &config("first"))
        .and("/var/lib/haproxy")
        .and("/run/haproxy-master.sock");
    let pod = Pod::start([image("haproxy").as_str(), "--unit=haproxy"]);
    let unit = pod.service("haproxy");
    port.wait();
    assert!(port.get("/").contains("first"));
    // $EXTRAOPTS of Environment= is split into words.
    let line = command_line(&unit);
    assert!(line.contains("-S /run/haproxy-master.sock"), "{line}");
    fs::write(path, config("second")).expect("it can be written");
    run("systemctl", ["reload", &unit]).success();
    journal::until("haproxy has read its file again", || {
        port.get("/").contains("second")
    });
    fs::write(path, "nonsense\n").expect("it can be written");
    assert_ne!(run("systemctl", ["reload", &unit]).code, Some(0));
    assert!(port.get("/").contains("second"));
    pod.stop();
    forget("haproxy");
}

/// An image with the unit `app.service`.
#[track_caller]
fn with_unit(host: &Host, name: &str, unit: &str) -> PathBuf {
    Image::busybox(host, name)
        .file("usr/lib/systemd/system/app.service", unit, 0o644)
        .build()
}

#[test]
fn commands_variables_and_files_are_the_unit_s() {
    let host = Host::new();
    let out = host.directory("out");
    let path = |name: &str| out.join(name).display().to_string();
    let unit = format!(
        "[Service]\nType=oneshot\nUser=redis\nStateDirectory=skim-test\n\
         Environment=A=unit B=unit C=unit\nEnvironmentFile={}\n\
         ExecStartPre=+/bin/sh -c 'id -u >{}'\n\
         ExecStart=/bin/sh -c 'id -u >{}; echo $A ${{B}} $$C >{}' \n\
         ExecStart=/bin/touch /var/lib/skim-test/f\n\
         ExecStopPost=/bin/sh -c 'echo $STATE_DIRECTORY $EXIT_STATUS >{}'\n",
        path("file"),
        path("pre"),
        path("start"),
        path("variables"),
        path("post"),
    );
    fs::write(path("file"), "B=file\nC=file\n").expect("it can be written");
    let image = Image::busybox(&host, "unit")
        .file("lib/systemd/system/app.service", unit, 0o644)
        .file(
            "etc/passwd",
            "root:x:0:0::/:\nredis:x:4242:4343::/:\n",
            0o644,
        )
        .build();
    let state = OfHost(vec!["/var/lib/skim-test".into()]);
    skim([
        "run".as_ref(),
        "--rm".as_ref(),
        image.as_os_str(),
        "--unit=app.service".as_ref(),
        "--set-env=C=flag".as_ref(),
    ])
    .success();
    let read = |name: &str| fs::read_to_string(path(name)).expect("it was written");
    assert_eq!(read("pre"), "0\n");
    assert_eq!(read("start"), "4242\n");
    assert_eq!(read("variables"), "unit file flag\n");
    assert_eq!(read("post"), "/var/lib/skim-test 0\n");
    let file = fs::metadata("/var/lib/skim-test/f").expect("it was made");
    assert_eq!(file.uid(), IMAGE_UID);
    drop(state);
}

#[test]
fn a_service_that_forks_is_followed() {
    let host = Host::new();
    let unit = "[Service]\nType=forking\nPIDFile=/run/skim-test.pid\n\
                ExecStart=/bin/sh -c 'sleep 1000000 & echo $$! >/run/skim-test.pid'\n";
    let pod = Pod::start([
        with_unit(&host, "forking", unit).as_os_str(),
        "--unit=app".as_ref(),
    ]);
    let pid = systemd::main_pid(&pod.service("forking"));
    assert!(process::executable(pid).starts_with(pod.rootfs("forking")));
    pod.stop();
}

#[test]
fn what_skim_cannot_do_is_refused_with_its_place() {
    let host = Host::new();
    for (number, (line, says)) in [
        ("RootImage=/x.raw", "line 3: RootImage= is refused"),
        ("PAMName=login", "line 3: PAMName= is refused"),
        ("User=nobody-here", "\"nobody-here\" user not found"),
        (
            "[Unit]\nRequires=none.service",
            "line 4: Requires=none.service",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let unit = format!("[Service]\nExecStart=/bin/true\n{line}\n");
        let image = with_unit(&host, &format!("refused-{number}"), &unit);
        let outcome = skim([
            "run".as_ref(),
            "--quiet".as_ref(),
            image.as_os_str(),
            "--unit=app.service".as_ref(),
        ]);
        assert_eq!(outcome.code, Some(254), "{outcome:#?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome:#?}");
        Trace::assert_none();
    }
}
