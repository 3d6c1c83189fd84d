//! The tests' own eyes: what they look for, they see.

use std::fs;

use crate::support::archive::{
    DIRECTORY, Entry, HARD_LINK, Layout, SYMLINK, aci, config, docker_archive, tar,
};
use crate::support::authority::Authority;
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::journal::{self, Cursor};
use crate::support::process;
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::{Guard, PASSWORD, Registry, credentials};
use crate::support::server::https;
use crate::support::store::{app_tree, image};
use crate::support::systemd;
use crate::support::trace::{STATE, Trace};
use crate::support::tree::Tree;

#[test]
fn daemon_reloads_are_counted() {
    let _host = Host::new();
    let cursor = Cursor::now();
    assert_eq!(systemd::reloads_since(&cursor), 0);
    for _ in 0..2 {
        run("systemctl", ["daemon-reload"]).success();
    }
    assert_eq!(systemd::reloads_since(&cursor), 2);
}

#[test]
fn a_trace_shows_units_files_mounts_processes_and_pods() {
    let host = Host::new();
    let pod = format!("{STATE}/pods/run/harness");
    fs::create_dir_all(format!("{pod}/rootfs")).expect("cannot make a pod directory");
    run("mount", ["-t", "tmpfs", "tmpfs", &format!("{pod}/rootfs")]).success();
    run("cp", ["/bin/busybox", &format!("{pod}/rootfs/busybox")]).success();
    let unit_file = "/run/systemd/system/skim-harness.service";
    let unit = format!("[Service]\nExecStart={pod}/rootfs/busybox sleep infinity\n");
    fs::write(unit_file, unit).expect("cannot write a unit file");
    run("systemctl", ["start", "skim-harness.service"]).success();
    journal::until("the service has exec'd", || {
        !Trace::take().processes.is_empty()
    });

    let trace = Trace::take();

    run("systemctl", ["stop", "skim-harness.service"]).success();
    run("umount", [format!("{pod}/rootfs")]).success();
    fs::remove_file(unit_file).expect("cannot remove the unit file");
    fs::remove_dir_all(&pod).expect("cannot remove the pod directory");
    run("systemctl", ["daemon-reload"]).success();
    assert_eq!(trace.units.len(), 1, "{trace:#?}");
    assert_eq!(trace.unit_files, ["skim-harness.service"]);
    assert_eq!(trace.mounts.len(), 1, "{trace:#?}");
    assert_eq!(trace.processes.len(), 1, "{trace:#?}");
    assert_eq!(trace.pods, ["run/harness"]);
    drop(host);
}

#[test]
fn images_are_tar_archives_of_a_manifest_and_a_rootfs() {
    let host = Host::new();
    let archive = Image::busybox(&host, "listing").build();
    let listing = run(
        "tar",
        ["--list".into(), "--file".into(), archive.into_os_string()],
    )
    .success()
    .stdout;
    for member in ["manifest", "rootfs/", "rootfs/bin/sh", "rootfs/bin/dump"] {
        assert!(
            listing.lines().any(|line| line == member),
            "{member} is missing in {listing}"
        );
    }
}

#[test]
fn registries_serve_those_who_may_and_refuse_the_others() {
    let host = Host::new();
    for guard in [Guard::None, Guard::Tls, Guard::Basic, Guard::Bearer] {
        let registry = Registry::start(&host, guard);
        let digest = registry.push(&format!("oci:{}", image("app.oci:1.0")), "app:1.0", &[]);
        assert!(digest.starts_with("sha256:"), "{digest}");
        let inspected = registry.inspect("app:1.0").success().stdout;
        assert!(inspected.contains(&digest), "{guard:?}: {inspected}");
        assert!(!registry.requests().is_empty(), "{guard:?}");
        // What skopeo is not told: to do without TLS, the authority, the password.
        let stranger = run("skopeo", ["inspect", &registry.image("app:1.0")]);
        assert_ne!(stranger.code, Some(0), "{guard:?}: {stranger:#?}");
        if matches!(guard, Guard::Basic | Guard::Bearer) {
            for (password, code) in [(PASSWORD, Some(0)), ("wrong", Some(1))] {
                let path = format!("auth-{guard:?}-{password}/auth.json");
                let file = credentials(&host, &path, &registry.address(), password);
                let file = format!("--authfile={}", file.display());
                let args = ["inspect", "--tls-verify=false", &file];
                let image = registry.image("app:1.0");
                let outcome = run("skopeo", args.into_iter().chain([image.as_str()]));
                assert_eq!(outcome.code, code, "{outcome:#?}");
            }
        }
    }
}

#[test]
fn a_proxy_cuts_and_remembers() {
    let host = Host::new();
    let registry = Registry::start(&host, Guard::None);
    let source = format!("oci:{}", image("app.oci:1.0"));
    registry.push(&source, "app:1.0", &[]);
    let proxy = Proxy::start(&registry.address());
    let copy = |name: &str| {
        let from = format!("docker://{}/app:1.0", proxy.address());
        let to = format!("oci:{}:1.0", host.scratch().join(name).display());
        run("skopeo", ["copy", "--src-tls-verify=false", &from, &to])
    };
    copy("whole").success();
    let blobs = |request: &&String| request.contains("/blobs/");
    assert!(proxy.requests().iter().filter(blobs).count() >= 5);
    proxy.fail_after(500_000, Fault::Cut);
    // It asks for the rest by itself, or gives up.
    copy("cut");
    proxy.wait_for_faults(1);
}

#[test]
fn a_web_server_by_https_is_trusted_with_its_authority_and_gives_parts() {
    let host = Host::new();
    let authority = Authority::new(host.directory("ca"));
    let files = host.directory("files");
    fs::write(files.join("x.aci"), "0123456789").expect("cannot write a file");
    let server = https(&files, &authority);
    let url = format!("https://127.0.0.1:{}/moved/x.aci", server.port());
    let fetch = "import sys, urllib.request as u; \
                 print(u.urlopen(u.Request(sys.argv[1], headers={'Range': 'bytes=4-'})).read().decode())";
    let get = || run("python3", ["-c", fetch, &url]);
    assert_ne!(get().code, Some(0));
    let trusted = authority.trusted();
    assert_eq!(get().line(), "456789");
    drop(trusted);
    assert_ne!(get().code, Some(0));
    server.wait_for(|line| (line == "GET /x.aci bytes=4-").then_some(()));
}

#[test]
fn a_listing_tells_trees_apart() {
    let host = Host::new();
    let (one, two) = (host.directory("one"), host.directory("two"));
    for directory in [&one, &two] {
        for name in ["a", "b"] {
            fs::write(directory.join(name), "same").expect("cannot write a file");
        }
        let top = directory.to_string_lossy();
        run(
            "sh",
            ["-c", &format!("touch --date=@1000000000 {top}/* {top}")],
        )
        .success();
    }
    assert_eq!(Tree::read(&one), Tree::read(&two));
    let changes = [
        "touch --date=@1000000001 a",
        "chmod 0600 a",
        "chown 1:0 a",
        "setfattr -n user.x -v y a",
        "printf sand >a && touch --date=@1000000000 a",
        "ln -f b a",
        "ln -sf b a",
        "rm a",
        "mkdir c && touch --date=@1000000000 .",
    ];
    for change in changes {
        let script = format!("cp -a one changed && cd changed && {change}");
        let scratch = host.scratch().to_string_lossy().into_owned();
        run("sh", ["-c", &format!("cd {scratch} && {script}")]).success();
        let changed = host.scratch().join("changed");
        assert_ne!(Tree::read(&one), Tree::read(&changed), "{change}");
        fs::remove_dir_all(changed).expect("cannot remove a directory");
    }
    app_tree(&host);
}

#[test]
fn the_peak_of_memory_is_that_of_the_program() {
    let _host = Host::new();
    let hold = |bytes: &str| process::peak_memory(["python3", "-c", &format!("b'x' * {bytes}")]);
    let (little, much) = (hold("1"), hold("(100 << 20)"));
    assert!(little < 40 << 10, "{little} KiB");
    assert!(much > 100 << 10, "{much} KiB");
}

/// By those who know how archives should be; what is hostile in others is not a slip.
#[test]
fn archives_made_by_hand_are_read_by_the_tools_of_others() {
    let host = Host::new();
    let entries = [
        Entry::new(DIRECTORY, "etc"),
        Entry::file("etc/file", "content"),
        Entry::link(SYMLINK, "etc/link", "file"),
        Entry::link(HARD_LINK, "etc/other", "etc/file"),
        Entry::pax("22 path=etc/ext\u{00e9}nded\n"),
        Entry::file("x", "named by its PAX header"),
    ];
    let path = |name: &str| host.scratch().join(name);
    fs::write(path("good.aci"), tar(&aci(&entries[..4]))).expect("cannot write an archive");
    let args = [
        "--list".into(),
        "--file".into(),
        path("good.aci").into_os_string(),
    ];
    let listing = run("tar", args).success();
    assert_eq!(listing.stderr, "");
    assert!(listing.stdout.contains("rootfs/etc/other"), "{listing:#?}");
    let layers = [tar(&entries)];
    fs::write(path("good.tar"), docker_archive(&layers)).expect("cannot write an archive");
    let archive = format!("docker-archive:{}", path("good.tar").display());
    let converted = format!("oci:{}:1", path("converted").display());
    run("skopeo", ["copy", &archive, &converted]).success();
    let mut layout = Layout::new(path("layout"), &layers, &config(&layers));
    let layout = format!("oci:{}", layout.write().display());
    let copied = format!("oci:{}:1", path("copied").display());
    run("skopeo", ["copy", &layout, &copied]).success();
    for name in ["converted", "copied"] {
        let bundle = path(&format!("{name}-bundle"));
        let image = format!("{}:1", path(name).display());
        let args = ["unpack", "--image", &image, &bundle.to_string_lossy()].map(str::to_owned);
        run("umoci", args).success();
        let rootfs = bundle.join("rootfs");
        let text = fs::read_to_string(rootfs.join("etc/ext\u{00e9}nded"));
        assert_eq!(text.expect("it is there"), "named by its PAX header");
        assert!(rootfs.join("etc/other").exists());
    }
}
