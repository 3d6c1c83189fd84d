//! However a pod goes, it takes nothing of the user's with it.

use super::*;
use crate::support::journal;
use crate::support::systemd;
use crate::support::trace::Trace;

/// A source with mounts in it, under awkward names, and all that is mounted on the host.
struct Source {
    // In the order in which they are to be unmounted.
    _inner: [Mounted; 3],
    outer: Mounted,
    mounts: Vec<String>,
    files: Tree,
}

impl Source {
    #[track_caller]
    fn new(host: &Host) -> Self {
        let outer = Mounted::new(host, "so\u{fc}rce \\040").file("file");
        let inner = ["in ner", "new\nline", "deep/in\tner"]
            .map(|name| Mounted::at(&outer.path().join(name)).file("file"));
        Self {
            mounts: mounts::others(),
            files: Tree::read(outer.path()),
            _inner: inner,
            outer,
        }
    }

    /// A volume of it in three kinds.
    fn flags(&self) -> Vec<OsString> {
        let with = |name: &str, rest: &str| {
            let mut volume = host_volume(name, self.outer.path());
            volume.push(rest);
            volume
        };
        vec![
            with("deep", ""),
            mount("deep", "/deep"),
            with("flat", ",recursive=false"),
            mount("flat", "/flat"),
            with("ro", ",readOnly=true"),
            mount("ro", "/ro"),
        ]
    }

    #[track_caller]
    fn assert_untouched(&self, when: &str) {
        assert_eq!(mounts::others(), self.mounts, "mounts changed: {when}");
        Tree::read(self.outer.path()).assert_like(&self.files, when);
    }
}

#[test]
fn what_is_mounted_on_the_host_stays_however_a_pod_ends() {
    let host = Host::new();
    let image = sleeper(&host, "ends").build();
    let source = Source::new(&host);

    let pod = start(&image, source.flags());
    assert!(pod.rootfs("ends").join("deep/new\nline/file").exists());
    assert!(pod.rootfs("ends").join("ro/deep/in\tner/file").exists());
    source.assert_untouched("while it runs");
    pod.stop();
    gc();
    Trace::assert_none();
    source.assert_untouched("after gc");

    let pod = start(&image, source.flags());
    pod.stop();
    skim(["rm", &pod.uuid]).success();
    Trace::assert_none();
    source.assert_untouched("after rm");

    let pod = start(&image, source.flags());
    let main = systemd::main_pid(&pod.service("ends"));
    let pids = [pod.holder(), main].map(|pid| pid.to_string());
    run("kill", ["-KILL", &pids[0], &pids[1]]).success();
    pod.wait_until_gone();
    gc();
    Trace::assert_none();
    source.assert_untouched("after everything was killed");

    let mut args: Vec<OsString> = ["run", "--quiet", "--rm"].map(Into::into).into();
    args.push(image.into());
    args.extend(source.flags());
    args.push("--exec=/bin/true".into());
    skim(args).success();
    Trace::assert_none();
    source.assert_untouched("after run --rm");
}

#[test]
fn a_start_that_fails_takes_nothing_of_the_host() {
    let host = Host::new();
    let source = Source::new(&host);
    let plain = sleeper(&host, "plain").build();
    // Found when the first app has all of its mounts.
    let mut args: Vec<OsString> = vec!["run".into(), "--quiet".into(), plain.clone().into()];
    args.extend(source.flags());
    args.extend([plain.clone().into(), "--name=other".into()]);
    args.extend([mount("deep", "/a"), mount("deep", "/a/missing")]);
    refusals::assert_refused(&skim(args), "\"/a/missing\" does not exist in the volume");
    source.assert_untouched("after mounting failed");

    // Found by systemd.
    let mut args: Vec<OsString> = vec!["run".into(), "--quiet".into(), "--detach".into()];
    args.push(plain.into());
    args.extend(source.flags());
    args.push("--property=ExecStartPre=/bin/false".into());
    let outcome = skim(args);
    assert_ne!(outcome.code, Some(0), "{outcome:#?}");
    gc();
    Trace::assert_none();
    source.assert_untouched("after the app did not start");
}

#[test]
fn what_is_mounted_while_a_pod_runs_stays() {
    let host = Host::new();
    let image = sleeper(&host, "later").build();
    let outer = Mounted::new(&host, "outer");
    let flags = [host_volume("v", outer.path()), mount("v", "/v")];
    let pod = start(&image, flags);
    let volume = pod.rootfs("later").join("v");
    let later = Mounted::at(&outer.path().join("la ter")).file("file");
    let over = Mounted::at(&outer.path().join("la ter")).file("over");
    assert!(volume.join("la ter/over").exists());
    // What the app mounts, in its volume and over it.
    run(
        "mount",
        [
            "-t",
            "tmpfs",
            "own",
            &volume.join("la ter").to_string_lossy(),
        ],
    )
    .success();
    run("mount", ["-t", "tmpfs", "own", &volume.to_string_lossy()]).success();
    let before = mounts::others();
    pod.stop();
    gc();
    Trace::assert_none();
    assert_eq!(mounts::others(), before);
    assert!(over.path().join("over").exists());
    drop(over);
    assert!(later.path().join("file").exists());
}

/// The pod's directory must stay as long as one of its mounts is in use, and then go.
#[test]
fn a_volume_in_use_is_told_with_its_user() {
    let host = Host::new();
    let image = sleeper(&host, "busy").build();
    let source = Source::new(&host);
    let pod = start(&image, source.flags());
    let inner = pod.rootfs("busy").join("deep/new\nline");
    let mut user = std::process::Command::new("sleep")
        .arg("1000000")
        .current_dir(&inner)
        .spawn()
        .expect("cannot run sleep");
    // Until it has become sleep, it is still where the test is.
    let cwd = format!("/proc/{}/cwd", user.id());
    journal::until("sleep is in the volume", || {
        fs::read_link(&cwd).ok().as_deref() == Some(inner.as_path())
    });
    pod.stop();
    let refused = skim(["gc", "--grace-period=0s"]);
    assert_eq!(refused.code, Some(254), "{refused:#?}");
    let says = format!("sleep (process {})", user.id());
    assert!(refused.stderr.contains(&says), "{refused:#?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:#?}");
    source.assert_untouched("while it is in use");
    user.kill()
        .and_then(|()| user.wait())
        .expect("cannot end sleep");
    gc();
    Trace::assert_none();
    source.assert_untouched("after gc");
}

#[test]
fn a_source_may_change_its_shape_meanwhile() {
    let host = Host::new();
    let image = sleeper(&host, "moved").build();
    let outer = host.directory("outer");
    let inner = Mounted::at(&outer.join("a/inner")).file("file");
    let victim = Mounted::new(&host, "inner").file("file");
    let flags = [host_volume("v", &outer), mount("v", "/v")];
    let pod = start(&image, flags);
    pod.stop();
    // Where a mount was, a link leads to another of the same name.
    fs::rename(outer.join("a"), outer.join("b")).expect("cannot rename");
    symlink(host.scratch(), outer.join("a")).expect("cannot make a link");
    gc();
    Trace::assert_none();
    assert!(victim.path().join("file").exists());
    assert!(outer.join("b/inner/file").exists());
    fs::remove_file(outer.join("a")).expect("cannot remove the link");
    fs::rename(outer.join("b"), outer.join("a")).expect("cannot rename");
    drop(inner);
}

#[test]
fn the_whole_host_may_be_a_volume_that_is_not_recursive() {
    let host = Host::new();
    let image = sleeper(&host, "all").build();
    let before = mounts::others();
    let flags = [
        "--volume=host,kind=host,source=/,recursive=false".into(),
        mount("host", "/host"),
    ];
    let pod = start(&image, flags);
    let other = Pod::start([&image]);
    let root = pod.rootfs("all").join("host");
    assert!(root.join("etc/passwd").exists());
    // Its own rootfs is not mounted within itself, nor another pod's.
    for pod in [&pod, &other] {
        let rootfs = pod.rootfs("all");
        let inside = root.join(rootfs.strip_prefix("/").expect("it is absolute"));
        assert_eq!(fs::read_dir(inside).expect("a directory").count(), 0);
    }
    for pod in [pod, other] {
        pod.stop();
    }
    gc();
    Trace::assert_none();
    assert_eq!(mounts::others(), before);
}

/// What somebody binds into a rootfs or a volume with all that is mounted beneath it has the
/// host's own mounts for peers: they stay.
#[test]
fn what_was_bound_into_a_pod_recursively_stays_on_the_host() {
    let host = Host::new();
    let source = Source::new(&host);
    let image = sleeper(&host, "bound").build();
    let directory = host.directory("volume");
    let flags = || [host_volume("v", &directory), mount("v", "/v")];
    type Way = fn(&Pod);
    let ways: [(&str, Way); 3] = [
        ("rm", |pod| {
            pod.stop();
            skim(["rm", &pod.uuid]).success();
        }),
        ("gc", |pod| {
            pod.stop();
            gc();
        }),
        ("mark-only", |pod| {
            pod.stop();
            skim(["gc", "--mark-only"]).success();
            gc();
        }),
    ];
    for (way, end) in ways {
        let pod = start(&image, flags());
        for place in ["new", "v/new"] {
            let target = pod.rootfs("bound").join(place);
            std::fs::create_dir_all(&target).expect("cannot make a directory");
            let args = [
                "--rbind".as_ref(),
                source.outer.path().as_os_str(),
                target.as_os_str(),
            ];
            run("mount", args).success();
        }
        end(&pod);
        source.assert_untouched(way);
        Trace::assert_none();
    }
}

/// A mount that another one hides is found once that is gone.
#[test]
fn mounts_that_hide_one_another_are_all_taken_away() {
    let host = Host::new();
    let outer = Mounted::new(&host, "outer");
    let inner = Mounted::at(&outer.path().join("a"));
    let image = sleeper(&host, "hidden").build();
    let pod = start(&image, [host_volume("v", outer.path()), mount("v", "/v")]);
    let over = pod.rootfs("hidden").join("v/a");
    run(
        "mount",
        [
            "-t".as_ref(),
            "tmpfs".as_ref(),
            "over".as_ref(),
            over.as_os_str(),
        ],
    )
    .success();
    // It shows in the volume, beneath what hides it there.
    let late = Mounted::at(&inner.path().join("late"));
    pod.stop();
    gc();
    Trace::assert_none();
    drop(late);
    drop(inner);
}
