//! Where volumes may be: awkward paths, links, volumes within volumes.

use super::*;

#[test]
fn names_may_be_odd() {
    let host = Host::new();
    let image = sleeper(&host, "odd").build();
    for name in [
        "a b",
        "%n%2C$HOME${x}",
        "\u{e9}\u{1f980}",
        "\"q'\\040",
        "=:;#",
        "{volume:data}",
    ] {
        let source = host.directory(name);
        fs::write(source.join("x"), name).expect("cannot write");
        let target = format!("/t/{name}").replace("{volume:data}", "{x}");
        let pod = start(&image, [host_volume("v", &source), mount("v", &target)]);
        let there = pod.rootfs("odd").join(&target[1..]).join("x");
        assert_eq!(read(&there), name);
        let pid = crate::support::systemd::main_pid(&pod.service("odd"));
        let environment = strings(&PathBuf::from(format!("/proc/{pid}/environ")));
        let parent = there.parent().expect("a directory");
        let expected = format!("SKIM_VOLUME_V={}", parent.display());
        assert!(
            environment.contains(&expected),
            "{expected}: {environment:?}"
        );
        pod.stop();
        gc();
        assert_eq!(read(&source.join("x")), name);
    }
}

#[test]
fn links_of_the_image_lead_nowhere_but_into_the_rootfs() {
    let host = Host::new();
    let outside = host.directory("outside");
    let source = host.directory("source");
    fs::write(source.join("x"), "").expect("cannot write");
    let before = mounts::others();
    let image = sleeper(&host, "sly")
        .symlink("/etc", "absolute")
        .symlink("../../../../../../../../../../../../../../tmp", "climbs")
        .symlink(&outside.to_string_lossy(), "out")
        .symlink("/no/such/place", "dangling")
        .build();
    let flags = [host_volume("v", &source)].into_iter();
    let targets = ["/absolute/a", "/climbs/b", "/out", "/dangling/c"];
    let flags = flags.chain(targets.map(|target| mount("v", target)));
    let pod = start(&image, flags);
    let rootfs = pod.rootfs("sly");
    let inside = rootfs.join(outside.strip_prefix("/").expect("it is absolute"));
    for path in [
        rootfs.join("etc/a"),
        rootfs.join("tmp/b"),
        rootfs.join("no/such/place/c"),
        inside,
    ] {
        assert!(path.join("x").exists(), "{}", path.display());
    }
    assert_eq!(mounts::others(), before, "something was mounted outside");
    assert!(!outside.join("x").exists());
    assert!(!Path::new("/etc/a").exists() && !Path::new("/no/such").exists());
}

#[test]
fn a_volume_within_a_volume_of_the_host_needs_its_place_there() {
    let host = Host::new();
    let (outer, inner) = (host.directory("outer"), host.directory("inner"));
    fs::write(inner.join("x"), "").expect("cannot write");
    let image = sleeper(&host, "nested").build();
    let flags = [
        host_volume("inner", &inner),
        mount("inner", "/outer/a/b"),
        host_volume("outer", &outer),
        mount("outer", "/outer"),
    ];
    let args = |verb: &[&str]| {
        let mut args: Vec<OsString> = verb.iter().map(OsString::from).collect();
        args.push(image.clone().into());
        args.extend(flags.clone());
        args
    };
    let refused = skim(args(&["run", "--quiet"]));
    refusals::assert_refused(&refused, "\"/outer/a\" does not exist in the volume");
    assert_eq!(fs::read_dir(&outer).expect("a directory").count(), 0);

    fs::create_dir(outer.join("a")).expect("cannot make a directory");
    symlink("/etc", outer.join("a/b")).expect("cannot make a link");
    refusals::assert_refused(&skim(args(&["run", "--quiet"])), "symbolic link");

    fs::remove_file(outer.join("a/b")).expect("cannot remove a link");
    fs::create_dir(outer.join("a/b")).expect("cannot make a directory");
    let pod = start(&image, flags.clone());
    assert!(pod.rootfs("nested").join("outer/a/b/x").exists());
    assert!(
        !outer.join("a/b/x").exists(),
        "it is mounted in the host's directory"
    );
}

/// rkt_mount_overlay: what means something in the options of an overlay, in every path. (A colon
/// in skim's own directory is refused by relocation: a library search path could not name it.)
#[test]
fn skim_s_directory_may_hold_what_means_something_to_mount() {
    let host = Host::new();
    let points = json!([{ "name": "data", "path": "/data" }]);
    let image = with_data(&host, "colon").app("mountPoints", points).build();
    let directory = host.scratch().join("a,b c%\u{e9}");
    let source = host.directory("s:t");
    let dir = format!("--dir={}", directory.display());
    let args: Vec<OsString> = vec![
        dir.clone().into(),
        "run".into(),
        "--detach".into(),
        "--quiet".into(),
        image.into(),
        host_volume("host", &source),
        mount("host", "/h:o,"),
    ];
    // A comma ends a value on the command line.
    refusals::assert_refused(&skim(&args), "a comma");
    let args = args.into_iter().take(6).chain([mount("host", "/h:o")]);
    let uuid = skim(args).line();
    let rootfs = directory
        .join("pods/run")
        .join(&uuid)
        .join("apps/colon/rootfs");
    assert_eq!(read(&rootfs.join("data/file")), "of the image");
    fs::write(rootfs.join("h:o/x"), "").expect("cannot write to the volume");
    skim([&dir, "stop", &uuid]).success();
    skim([&dir, "gc", "--grace-period=0s"]).success();
    assert!(source.join("x").exists());
    let bytes = fs::read("/proc/self/mountinfo").expect("cannot read mountinfo");
    let left = bytes
        .windows(uuid.len())
        .any(|window| window == OsStr::new(&uuid).as_bytes());
    assert!(!left, "something is still mounted");
}
