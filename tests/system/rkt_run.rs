//! What rkt's own functional tests of `run` ask for, each under the name of rkt's, adapted where
//! rkt's takes a chroot for granted: then its comment says how.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::command::{Outcome, limited, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::gc;
use crate::support::store::assert_one_line;
use crate::support::trace::Trace;

/// `skim VERB --quiet IMAGE FLAGS…`.
#[track_caller]
fn with_image(verb: &str, image: &Path, flags: &[&str]) -> Outcome {
    let mut words = vec![verb.into(), "--quiet".into(), image.as_os_str().to_owned()];
    words.extend(flags.iter().map(Into::into));
    skim(words)
}

/// What the app prints, run at once and prepared first: it must be the same.
#[track_caller]
fn printed(image: &Path, flags: &[&str]) -> String {
    let at_once = with_image("run", image, flags).success().stdout;
    let uuid = with_image("prepare", image, flags).line();
    let later = skim(["run-prepared", &uuid]).success().stdout;
    assert_eq!(later, at_once, "{flags:?}");
    at_once
}

/// Absolute, by a link, relative and bare program names; an image without an app.
#[test]
fn rkt_exec() {
    let host = Host::new();
    let image = Image::busybox(&host, "exec")
        .symlink("/bin/echo", "opt/echo")
        .build();
    for exec in ["/bin/echo", "/opt/echo", "echo", "bin/echo"] {
        let flag = format!("--exec={exec}");
        assert_eq!(printed(&image, &[&flag, "--", "hi"]), "hi\n", "{exec}");
    }
    let bare = Image::busybox(&host, "no-app");
    let mut manifest = bare.manifest();
    manifest.as_object_mut().expect("an object").remove("app");
    let bare = bare.build_with(&manifest.to_string(), &["manifest", "rootfs"]);
    assert_eq!(printed(&bare, &["--exec=/bin/echo", "--", "hi"]), "hi\n");
    assert_one_line(
        &with_image("run", &bare, &[]),
        "has no app section and --exec is not given",
    );
}

/// rkt's cases: who wins among the image, the host and the flags; `enter` sees the same. The
/// app also has the host's `PATH` behind its own, as it sees the host.
#[test]
fn rkt_env() {
    let host = Host::new();
    let image = Image::busybox(&host, "env").app(
        "environment",
        json!([{"name": "FROM_IMAGE", "value": "image"}, {"name": "EMPTY", "value": ""}]),
    );
    let image = image.build();
    let file = host.scratch().join("env");
    fs::write(&file, "# a comment\nFROM_IMAGE=file\nFROM_FILE=file\n").expect("cannot write");
    let file = format!("--set-env-file={}", file.display());
    let set = "--set-env=FROM_IMAGE=set";
    let own = "--environment=FROM_IMAGE=own";
    for (before, after, variable, value) in [
        (&[][..], &[][..], "FROM_IMAGE", "image"),
        (&[], &[], "EMPTY", ""),
        (&[], &[set], "FROM_IMAGE", "set"),
        (&[set], &[], "FROM_IMAGE", "set"),
        (&["--inherit-env"], &[], "FROM_IMAGE", "image"),
        (&["--inherit-env"], &[], "FROM_HOST", "host"),
        (
            &[],
            &["--inherit-env", "--set-env=FROM_HOST=set"],
            "FROM_HOST",
            "set",
        ),
        (&[], &[], "FROM_HOST", "unset"),
        (&[], &[&file], "FROM_IMAGE", "file"),
        (&[&file], &[set], "FROM_IMAGE", "set"),
        (&[&file], &[], "FROM_FILE", "file"),
        (&[set], &[own, &file], "FROM_IMAGE", "own"),
        (&["--set-env=FROM_IMAGE=all"], &[set], "FROM_IMAGE", "set"),
    ] {
        let script = format!("echo =${{{variable}-unset}}; sleep 1000");
        let mut words: Vec<&str> = vec!["skim", "run", "--detach"];
        words.extend(before);
        let image = image.to_str().expect("a path in UTF-8");
        words.extend([image, "--exec=sh"]);
        words.extend(after);
        words.extend(["--", "-c", &script]);
        let mut command = limited("env");
        command
            .args(["FROM_HOST=host", "FROM_IMAGE=host"])
            .args(&words);
        let uuid = Outcome::from(command.output().expect("skim is run")).line();
        let entered = format!("echo ${{{variable}-unset}}");
        let entered = skim(["enter", &uuid, "--", "sh", "-c", &entered])
            .success()
            .stdout;
        assert_eq!(entered, format!("{value}\n"), "enter: {words:?}");
        skim(["stop", &uuid]).success();
        let logged = skim(["logs", &uuid]).success().stdout;
        let ending = format!(": ={value}");
        assert!(
            logged.lines().any(|line| line.ends_with(&ending)),
            "{value}: {words:?}: {logged}"
        );
    }
    let twice = host.scratch().join("twice");
    fs::write(&twice, "A=1\nA=2\n").expect("cannot write");
    let twice = format!("--set-env-file={}", twice.display());
    let outcome = with_image("run", &image, &[&twice]);
    assert_one_line(&outcome, "line 2: the variable \"A\" is set a second time");
}

/// Exit codes 0, 1 and 2, and what `status` says of them.
#[test]
fn rkt_exit_simple() {
    let host = Host::new();
    let image = Image::busybox(&host, "exit").build();
    for code in [0, 1, 2] {
        let uuid_file = host.scratch().join(format!("uuid-{code}"));
        let save = format!("--uuid-file-save={}", uuid_file.display());
        let exit = format!("exit {code}");
        let words = [
            "run",
            &save,
            image.to_str().expect("UTF-8"),
            "--exec=sh",
            "--",
            "-c",
            &exit,
        ];
        assert_eq!(skim(words).code, Some(code));
        let uuid = fs::read_to_string(&uuid_file).expect("the UUID was saved");
        let status = skim(["status", &uuid]).success().stdout;
        assert!(status.contains("state=exited\n"), "{status}");
        assert!(status.contains(&format!("app-exit={code}\n")), "{status}");
    }
}

/// The code of the app that fails is the pod's; its peers are asked to end.
#[test]
fn rkt_exit_several_apps() {
    let host = Host::new();
    let ready = host.scratch().join("ready");
    let ready = ready.to_str().expect("UTF-8");
    // What is forked while systemd sends its signals may miss them, and is waited for.
    let patient = format!("trap 'exit 0' TERM; sleep 1000 & touch {ready}; wait");
    let hasty = format!("until test -e {ready}; do sleep 0.1; done; exit 5");
    let other = Image::busybox(&host, "other").build();
    let sleeper = Image::busybox(&host, "sleeper")
        .exec(&["/bin/sh", "-c", &patient])
        .build();
    let failing = Image::busybox(&host, "failing")
        .exec(&["/bin/sh", "-c", &hasty])
        .build();
    let uuid_file = host.scratch().join("uuid");
    let save = format!("--uuid-file-save={}", uuid_file.display());
    let images = [&other, &sleeper, &failing].map(|image| image.as_os_str().to_owned());
    let words = ["run".into(), save.into()].into_iter().chain(images);
    assert_eq!(skim(words).code, Some(5));
    let uuid = fs::read_to_string(&uuid_file).expect("the UUID was saved");
    let status = skim(["status", &uuid]).success().stdout;
    for line in ["app-sleeper=0", "app-failing=5", "app-other=0"] {
        assert!(
            status.lines().any(|known| known == line),
            "{line}: {status}"
        );
    }
}

/// A pod manifest as `--pod-manifest` takes it.
fn pod_manifest(id: &str, app: &Value, volumes: &Value) -> Value {
    json!({
        "acVersion": "0.8.11", "acKind": "PodManifest",
        "apps": [{"name": "inspect", "image": {"id": id}, "app": app["app"], "mounts": app["mounts"],
                  "readOnlyRootFS": app["readOnlyRootFS"]}],
        "volumes": volumes,
    })
}

#[track_caller]
fn run_manifest(host: &Host, manifest: &Value) -> Outcome {
    let file = host.scratch().join("pod.json");
    fs::write(&file, manifest.to_string()).expect("cannot write the manifest");
    skim([
        "run".into(),
        "--quiet".into(),
        format!("--pod-manifest={}", file.display()),
    ])
}

/// Arguments, working directory, users, volumes that are read-only, writable and empty. The app
/// finds its volumes by `SKIM_VOLUME_…`: its `/` is the host's.
#[test]
fn rkt_run_pod_manifest() {
    let host = Host::new();
    let image = Image::busybox(&host, "inspect")
        .file("dir/marker", "m", 0o644)
        .build();
    let id = skim(["fetch".into(), "--full".into(), image.into_os_string()]).line();
    let data = host.directory("data");
    fs::write(data.join("file"), "of the host").expect("cannot write");
    let source = data.to_str().expect("UTF-8");
    let sh = |script: &str| json!({"exec": ["/bin/sh", "-c", script], "user": "0", "group": "0"});
    let awkward = "\n'\"$";
    let no_volumes = json!([]);
    let volume = json!([{"name": "data", "kind": "host", "source": source, "readOnly": false}]);
    let read_only = json!([{"name": "data", "kind": "host", "source": source, "readOnly": true}]);
    let empty = json!([{"name": "data", "kind": "empty", "mode": "0711", "uid": 7, "gid": 8}]);
    let mounts = json!([{"volume": "data", "path": "/var/data"}]);
    let read = "cat $SKIM_VOLUME_DATA/file";
    let write =
        "exec 2>/dev/null; (echo new >$SKIM_VOLUME_DATA/file) && echo written || echo refused";
    let app = |exec: Value| json!({"exec": exec, "user": "0", "group": "0"});
    let user = |exec: Value, gids: Value| {
        let app = json!({"exec": exec, "user": "1000", "group": "100", "supplementaryGIDs": gids});
        json!({ "app": app })
    };
    let mut in_directory = app(json!(["/bin/cat", "marker"]));
    in_directory["workingDirectory"] = json!("/dir");
    // The journal, which the output goes through, has no empty lines.
    let dump = json!([
        "/bin/sh",
        "-c",
        "printf %s \"$1\" | od -An -tx1",
        "sh",
        awkward
    ]);
    let touch = "touch $SKIM_ROOTFS/x 2>/dev/null && echo written || echo refused";
    let stat = "stat -c '%a %u %g' $SKIM_VOLUME_DATA";
    let mounted = |script: &str| json!({"app": sh(script), "mounts": mounts});
    for (app, volumes, expected) in [
        (json!({"app": app(dump)}), &no_volumes, " 0a 27 22 24"),
        (json!({ "app": in_directory }), &no_volumes, "m"),
        (
            user(json!(["/bin/id", "-u"]), json!([])),
            &no_volumes,
            "1000",
        ),
        (
            user(json!(["/bin/id", "-G"]), json!([5, 6])),
            &no_volumes,
            "100 5 6",
        ),
        (mounted(read), &read_only, "of the host"),
        (mounted(write), &read_only, "refused"),
        (mounted(write), &volume, "written"),
        (mounted(stat), &empty, "711 7 8"),
        (
            json!({"app": sh(touch), "readOnlyRootFS": true}),
            &no_volumes,
            "refused",
        ),
    ] {
        let manifest = pod_manifest(&id, &app, volumes);
        let outcome = run_manifest(&host, &manifest).success();
        assert_eq!(outcome.stdout, format!("{expected}\n"), "{manifest}");
    }
    let written = fs::read_to_string(data.join("file")).expect("the file is there");
    assert_eq!(written, "new\n", "what the app wrote is on the host");
}

/// rkt's fourteen combinations, the flags in either order: the owner of a path, names of the
/// image's own accounts, numbers.
#[test]
fn rkt_run_user_group() {
    let host = Host::new();
    let image = Image::busybox(&host, "users")
        .file(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nuser1:x:1000:100::/:/bin/sh\n",
            0o644,
        )
        .file("etc/group", "root:x:0:\nuser1:x:100:\n", 0o644)
        .file("owned", "", 0o644);
    chown(image.path("owned"), Some(1000), Some(100)).expect("cannot change the owner");
    let image = image.build();
    for (user, group, expected) in [
        (None, None, "0 0"),
        (Some("root"), Some("root"), "0 0"),
        (Some("root"), None, "0 0"),
        (None, Some("root"), "0 0"),
        (Some("user1"), None, "1000 0"),
        (None, Some("user1"), "0 100"),
        (Some("user1"), Some("user1"), "1000 100"),
        (Some("1000"), Some("100"), "1000 100"),
        (Some("1000"), None, "1000 0"),
        (None, Some("100"), "0 100"),
        (Some("/owned"), Some("/owned"), "1000 100"),
        (Some("/owned"), None, "1000 0"),
        (None, Some("/owned"), "0 100"),
        (Some("/owned"), Some("root"), "1000 0"),
    ] {
        let user = user.map(|user| format!("--user={user}"));
        let group = group.map(|group| format!("--group={group}"));
        let mut flags: Vec<_> = user.iter().chain(&group).map(String::as_str).collect();
        for _ in 0..2 {
            flags.reverse();
            let mut words = flags.clone();
            words.extend(["--exec=sh", "--", "-c", "echo $(id -u) $(id -g)"]);
            let outcome = with_image("run", &image, &words).success();
            assert_eq!(outcome.stdout.trim_end(), expected, "{flags:?}");
        }
    }
    for (flag, says) in [
        ("--user=user2", "\"user2\" user not found"),
        ("--group=user2", "\"user2\" group not found"),
        ("--user=/nothing", "unable to stat \"/nothing\""),
    ] {
        assert_one_line(&with_image("run", &image, &[flag]), says);
        assert_one_line(&with_image("prepare", &image, &[flag]), says);
    }
    let more = with_image(
        "run",
        &image,
        &["--supplementary-gids=5,6", "--exec=id", "--", "-G"],
    );
    assert_eq!(more.success().stdout, "0 5 6\n");
}

/// Flags that exclude each other; the pre-start handler runs as root where the app does not.
#[test]
fn rkt_run() {
    let host = Host::new();
    let out = host.directory("out");
    let script = |name: &str| format!("id -u >{}/{name}", out.display());
    let image = Image::busybox(&host, "prestart")
        .user("1000", "1000")
        .exec(&["/bin/sh", "-c", &script("app")])
        .app(
            "eventHandlers",
            json!([
                {"name": "pre-start", "exec": ["/bin/sh", "-c", script("before")]},
                {"name": "post-stop", "exec": ["/bin/sh", "-c", script("after")]},
            ]),
        )
        .build();
    with_image("run", &image, &[]).success();
    let wrote = |name: &str| fs::read_to_string(out.join(name)).expect("the handler ran");
    assert_eq!(
        [wrote("before"), wrote("app"), wrote("after")],
        ["0\n", "1000\n", "0\n"]
    );
    let manifest = host.scratch().join("pod.json");
    fs::write(&manifest, "{}").expect("cannot write");
    let manifest = format!("--pod-manifest={}", manifest.display());
    let image = image.to_str().expect("UTF-8");
    for flags in [
        &[image][..],
        &["--set-env=A=b"],
        &["--inherit-env"],
        &["--volume=v,kind=empty"],
        &["--mount=volume=v,target=/v"],
        &["--pull-policy=new"],
    ] {
        let words = ["run", &manifest].into_iter().chain(flags.iter().copied());
        assert_one_line(
            &skim(words),
            "conflicting flags set with --pod-manifest (see --help)",
        );
    }
    assert_one_line(
        &skim(["run", "--net=host", image]),
        "--net cannot be used: apps share the host's network",
    );
    assert_one_line(
        &skim(["run", image, "--port=web:80"]),
        "--port cannot be used",
    );
    assert_one_line(
        &skim(["run", "--exec=/bin/sh", image]),
        "--exec must follow an image",
    );
    assert_one_line(
        &skim(["run", "--interactive", "--detach", image]),
        "cannot be used with",
    );
    gc();
    Trace::assert_none();
}

/// `:`, `,` and what else means something in a mount option, in skim's directory.
#[test]
fn rkt_mount_overlay() {
    let host = Host::new();
    let image = Image::busybox(&host, "overlay").build();
    let image = image.to_str().expect("UTF-8");
    // A `:` cannot stand in the search path of relocated programs, so such a directory is
    // refused; rkt, which relocates nothing, takes it.
    let colon = host.scratch().join("a:b");
    fs::create_dir(&colon).expect("cannot make a directory");
    let dir = format!("--dir={}", colon.display());
    assert_one_line(&skim([&dir, "run", "--quiet", image]), "`:`");
    for name in ["a,b", "a b", "a=b", "a%b", "ä"] {
        let directory = host.scratch().join(name);
        fs::create_dir(&directory).expect("cannot make a directory");
        let dir = format!("--dir={}", directory.display());
        let words = [
            &dir,
            "run",
            "--quiet",
            image,
            "--exec=sh",
            "--",
            "-c",
            "echo hi >\"$SKIM_ROOTFS/new\" && cat \"$SKIM_ROOTFS/new\"",
        ];
        assert_eq!(skim(words).success().stdout, "hi\n", "{name}");
        skim([&dir, "gc"]).success();
        let left: Vec<PathBuf> = fs::read_dir(directory.join("pods/exited-garbage"))
            .expect("the pods' directories are there")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
