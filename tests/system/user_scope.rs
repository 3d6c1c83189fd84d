//! `skim --user`: pods of a user without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::{Image, PROGRAMS};
use crate::support::journal;
use crate::support::user::User;

/// The user's name in most tests, and number.
const NAME: &str = "someone";
const UID: u32 = 4321;

fn user(host: &Host) -> User {
    User::new(host, NAME, UID, NAME)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn shell(host: &Host, name: &str, script: &str) -> String {
    let image = Image::busybox(host, name).exec(&["/bin/sh", "-c", script]);
    text(&image.build())
}

fn sleeper(host: &Host, name: &str) -> String {
    text(
        &Image::busybox(host, name)
            .exec(&["/bin/sleep", "1000000"])
            .build(),
    )
}

/// The PID of an app's main process.
#[track_caller]
fn main_pid(user: &User, uuid: &str, app: &str) -> String {
    let unit = service(uuid, app);
    let pid = user.systemctl(&["show", "--value", "--property=MainPID", &unit]);
    pid.line()
}

fn service(uuid: &str, app: &str) -> String {
    format!("skim-{}-{app}.service", uuid.replace('-', ""))
}

#[test]
fn a_pod_of_a_user_runs_as_the_user() {
    let host = Host::new();
    let user = user(&host);
    let script = "id -u; id -g; echo $HOME $USER; echo wrong >&2; cat /proc/self/cgroup; exit 7";
    let image = shell(&host, "who", script);
    for _ in 0..5 {
        let outcome = user.skim(&["run", "--rm", &image]);
        assert_eq!(outcome.code, Some(7), "{outcome:?}");
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let home = text(user.home());
        let own = format!("{home} {NAME}");
        assert_eq!(lines[..4], ["4321", "4321", &own, "wrong"], "{outcome:?}");
        let in_pod = |line: &&&str| line.contains("user@4321.service/skim.slice/skim-");
        let group = lines.iter().find(|line| line.starts_with("0::"));
        assert!(group.as_ref().is_some_and(in_pod), "{outcome:?}");
        assert!(
            outcome
                .stderr
                .contains("app who failed: exited with code 7"),
            "{outcome:?}"
        );
        assert_eq!(user.traces(), Vec::<String>::new());
    }
    // Nothing of it is root's, and nothing can be seen by others.
    let strange = format!("find {} ! -uid {UID}", text(&user.state()));
    assert_eq!(run("sh", ["-c", &strange]).success().stdout, "");
    let mode = fs::metadata(user.state())
        .expect("the store is there")
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn every_line_is_printed_in_order_and_is_in_the_journal() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(
        &host,
        "talker",
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf 'the end'",
    );
    let other = shell(&host, "short", "echo hello; echo again >/dev/stdout");
    let outcome = user.skim(&["run", &image, &other]).success();
    let said: Vec<_> = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with("talker | "))
        .collect();
    assert_eq!(said.len(), 3001, "{}", outcome.stderr);
    for (number, line) in said[..3000].iter().enumerate() {
        assert_eq!(*line, format!("talker | line {number}"));
    }
    assert_eq!(said[3000], "talker | the end");
    for line in ["short  | hello", "short  | again"] {
        assert!(
            outcome.stdout.lines().any(|said| said == line),
            "{line}: {outcome:?}"
        );
    }
    run("journalctl", ["--sync"]).success();
    let uuid = user.skim(&["list", "--quiet"]).line();
    let found = run(
        "journalctl",
        [
            "--output=cat",
            &format!("SKIM_POD_UUID={uuid}"),
            "SKIM_APP=short",
            // From systemd 257 on, what the manager says of the app has the fields, too.
            "SYSLOG_IDENTIFIER=short",
        ],
    );
    assert_eq!(found.success().stdout, "hello\nagain\n");
    let logs = user.skim(&["logs", "-n", "1", &uuid, "talker"]).success();
    assert!(
        logs.stdout.contains("talker[") && logs.stdout.contains("the end"),
        "{logs:?}"
    );
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn a_detached_pod_is_listed_entered_and_stopped() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "daemon");
    let uuid = user.skim(&["run", "--detach", &image]).line();
    assert_eq!(user.skim(&["list", "--quiet"]).line(), uuid);
    let status = user.skim(&["status", &uuid]).success().stdout;
    assert!(status.contains("running"), "{status}");
    let entered = user.skim(&["enter", &uuid, "--", "id", "-u"]).line();
    assert_eq!(entered, "4321");
    // The system's own manager knows nothing of it, and nor does root's skim.
    let listed = run("skim", ["list", "--quiet"]).success().stdout;
    assert_eq!(listed, "");
    user.skim(&["cat-manifest", &uuid]).success();
    user.skim(&["stop", &uuid]).success();
    assert_eq!(user.units(), Vec::<String>::new());
    assert_eq!(user.skim(&["list", "--quiet"]).line(), uuid);
    user.skim(&["rm", &uuid]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn a_stubborn_app_is_killed_by_force() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(
        &host,
        "stubborn",
        "trap '' TERM; while :; do sleep 1000; done",
    );
    let uuid = user.skim(&["run", "--detach", &image]).line();
    user.skim(&["stop", "--force", &uuid]).success();
    assert_eq!(user.units(), Vec::<String>::new());
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn a_killed_holder_takes_the_pod_down() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "orphan");
    let uuid = user.skim(&["run", "--detach", &image]).line();
    let pid = main_pid(&user, &uuid, "orphan");
    let state: serde_json::Value = serde_json::from_str(
        &user
            .skim(&["status", "--format=json", &uuid])
            .success()
            .stdout,
    )
    .expect("it is JSON");
    let holder = state.pointer("/pid").or_else(|| state.pointer("/0/pid"));
    let holder = holder
        .and_then(serde_json::Value::as_u64)
        .expect("it has a holder");
    run("kill", ["-KILL", &holder.to_string()]).success();
    journal::until("the app has ended", || {
        !Path::new("/proc").join(&pid).exists()
    });
    journal::until("the units are gone", || user.units().is_empty());
    user.skim(&["gc"]).success();
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn the_store_cannot_be_written_to_and_a_copy_can() {
    let host = Host::new();
    let user = user(&host);
    let image = Image::busybox(&host, "writer")
        .file("data/old", "old", 0o444)
        .exec(&[
            "/bin/sh",
            "-c",
            "cd $SKIM_ROOTFS/data && echo new >old && echo more >more && cat old",
        ]);
    let image = text(&image.build());
    let refused = user.skim(&["run", "--rm", &image]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stdout.contains("Permission denied"), "{refused:?}");
    for _ in 0..2 {
        let copied = user
            .skim(&["run", "--rm", &image, "--readonly-rootfs=false"])
            .success();
        assert_eq!(copied.stdout, "new\n", "the copy is each pod's own");
    }
    assert_eq!(user.traces(), Vec::<String>::new());
    // Neither has changed the image.
    let id = user
        .skim(&["image", "list", "--fields=id", "--no-legend"])
        .line();
    user.skim(&["image", "verify", &id]).success();
    let spoil = "cd \"$1\"/*/rootfs && chmod u+w . bin etc data data/old && echo bad >data/old \
                 && touch new && rm -r bin && mkdir -p etc/sub/sub";
    let trees = text(&user.state().join("images/trees"));
    user.run("sh", &["-c", spoil, "sh", &trees]).success();
    assert_ne!(user.skim(&["image", "verify", &id]).code, Some(0));
    user.skim(&["image", "verify", "--repair", &id]);
    user.skim(&["image", "verify", &id]).success();
    let writable = "find \"$1\"/*/rootfs ! -type l -perm /222";
    let writable = user.run("sh", &["-c", writable, "sh", &trees]);
    assert_eq!(writable.success().stdout, "");
    user.skim(&["image", "rm", &id]).success();
    assert_eq!(
        user.skim(&["image", "list", "--no-legend"])
            .success()
            .stdout,
        ""
    );
    let trees = user.state().join("images/trees");
    assert_eq!(fs::read_dir(trees).expect("it is there").count(), 0);
}

#[test]
fn foreign_programs_run_from_a_home_with_a_blank() {
    let host = Host::new();
    let user = User::new(&host, NAME, UID, "my home é");
    let musl = Image::tree(&host, "musl", "musl").exec(&["/bin/greet"]);
    let musl = text(&musl.build());
    let glibc = Image::tree(&host, "glibc", "glibc")
        .file(
            "bin/script",
            "#!/bin/bash\necho \"script $BASH_VERSION\"; exec /bin/date +%%\n",
            0o755,
        )
        .exec(&["/bin/script"]);
    let glibc = text(&glibc.build());
    for flags in [&[][..], &["--readonly-rootfs=false"]] {
        let args = |image: &'static str| image;
        let _ = args;
        let mut musl_args = vec!["run", "--rm", &musl];
        musl_args.extend(flags);
        let outcome = user.skim(&musl_args).success();
        assert!(!outcome.stdout.is_empty(), "{outcome:?}");
        let mut glibc_args = vec!["run", "--rm", &glibc];
        glibc_args.extend(flags);
        let outcome = user.skim(&glibc_args).success();
        assert!(outcome.stdout.starts_with("script 5"), "{outcome:?}");
    }
    assert!(Path::new(PROGRAMS).join("musl").is_dir());
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn what_is_prepared_runs_later() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(&host, "later", "echo ran");
    for flags in [&[][..], &["--readonly-rootfs=false"]] {
        let mut args = vec!["prepare", &image];
        args.extend(flags);
        let uuid = user.skim(&args).line();
        let outcome = user.skim(&["run-prepared", "--rm", &uuid]).success();
        assert_eq!(outcome.stdout, "ran\n");
    }
    let uuid = user.skim(&["prepare", &image]).line();
    let outcome = user
        .skim(&["run-prepared", "--interactive", "--rm", &uuid])
        .success();
    assert_eq!(outcome.stdout, "ran\n");
    let outcome = user
        .skim(&["run", "--interactive", "--rm", &image])
        .success();
    assert_eq!(outcome.stdout, "ran\n");
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn an_image_s_files_become_the_user_s() {
    let host = Host::new();
    let user = user(&host);
    let image = Image::busybox(&host, "odd")
        .file("secret", "kept", 0o000)
        .file("suid", "x", 0o4755)
        .file("shut/file", "x", 0o644)
        .file("twin", "x", 0o644)
        .exec(&["/bin/cat", "{volume:none}"]);
    fs::hard_link(image.path("twin"), image.path("other")).expect("links are possible");
    for (name, value) in [("user.kept", "1"), ("trusted.lost", "1")] {
        run(
            "setfattr",
            ["-n", name, "-v", value, &text(&image.path("suid"))],
        )
        .success();
    }
    let made = run(
        "mknod",
        [&text(&image.path("null")), "c", "1", "3"].map(str::to_owned),
    );
    made.success();
    std::os::unix::fs::chown(image.path("twin"), Some(33), Some(33)).expect("root may");
    fs::set_permissions(image.path("shut"), fs::Permissions::from_mode(0o000)).expect("root may");
    let image = text(&image.build());
    let fetched = user.skim(&["fetch", &image]).success();
    assert!(
        fetched.stderr.contains("left out 1 device nodes"),
        "{fetched:?}"
    );
    let id = fetched.stdout.trim().to_owned();
    // The ID is that of the content, whoever imports it.
    let roots = host.scratch().join("roots");
    let of_root = run("skim", ["--dir", &text(&roots), "fetch", &image]).success();
    assert_eq!(of_root.stdout.trim(), id);
    let trees: Vec<_> = fs::read_dir(user.state().join("images/trees"))
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path().join("rootfs"))
        .collect();
    let [tree] = trees.as_slice() else {
        panic!("one tree: {trees:?}")
    };
    let look = |name: &str| fs::symlink_metadata(tree.join(name)).expect(name);
    let mode = |name: &str| look(name).mode() & 0o7777;
    assert_eq!(
        (mode("secret"), mode("suid"), mode("shut")),
        (0o400, 0o555, 0o500)
    );
    assert_eq!(look("twin").ino(), look("other").ino());
    assert!(!tree.join("null").exists());
    let values = run("getfattr", ["-d", "-m", "-", &text(&tree.join("suid"))])
        .success()
        .stdout;
    assert!(
        values.contains("user.kept") && !values.contains("trusted"),
        "{values}"
    );
    user.skim(&["image", "verify", &id]).success();
    let out = user.home().join("out");
    user.skim(&["image", "render", &id, &text(&out)]).success();
    user.skim(&["image", "rm", &id]).success();
    assert!(!tree.exists());
    user.run("rm", &["-r", &text(&out)]).success();
}

#[test]
fn volumes_are_told_by_their_path() {
    let host = Host::new();
    let user = user(&host);
    let image = shell(
        &host,
        "keeper",
        "echo kept >$SKIM_VOLUME_MINE/file && echo x >$SKIM_VOLUME_SCRATCH/file && cat $SKIM_VOLUME_MINE/file",
    );
    let mine = user.home().join("mine");
    user.run("mkdir", &[&text(&mine)]).success();
    let volume = format!("mine,kind=host,source={}", text(&mine));
    let args = [
        "run",
        "--rm",
        &image,
        "--volume",
        &volume,
        "--mount",
        "volume=mine,target=/mine",
        "--volume",
        "scratch,kind=empty",
        "--mount",
        "volume=scratch,target=/scratch",
    ];
    let outcome = user.skim(&args).success();
    assert_eq!(outcome.stdout, "kept\n");
    assert_eq!(
        fs::read_to_string(mine.join("file")).expect("it is there"),
        "kept\n"
    );
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn two_users_and_root_do_not_see_each_other() {
    let host = Host::new();
    let (one, two) = (user(&host), User::new(&host, "other", UID + 1, "other"));
    let image = sleeper(&host, "own");
    let of_root = run("skim", ["run", "--detach", &image]).line();
    let of_one = one.skim(&["run", "--detach", &image]).line();
    let of_two = two.skim(&["run", "--detach", &image]).line();
    for (user, own) in [(&one, &of_one), (&two, &of_two)] {
        assert_eq!(&user.skim(&["list", "--quiet"]).line(), own);
        for foreign in [&of_root, &of_one, &of_two]
            .into_iter()
            .filter(|uuid| *uuid != own)
        {
            for verb in ["stop", "rm", "enter", "status"] {
                assert_eq!(user.skim(&[verb, foreign]).code, Some(254), "{verb}");
            }
        }
        user.skim(&["gc"]).success();
    }
    assert_eq!(run("skim", ["list", "--quiet"]).line(), of_root);
    // A user with another's directories in the environment is told so.
    let foreign = one.run(
        "env",
        &[
            "XDG_RUNTIME_DIR=/run/user/4322",
            "skim",
            "--user",
            "stop",
            &of_one,
        ],
    );
    assert_eq!(foreign.code, Some(254));
    assert!(foreign.stderr.contains("XDG_RUNTIME_DIR"), "{foreign:?}");
    let running = |user: &User, uuid: &str| {
        let state = user.systemctl(&["is-active", &service(uuid, "own")]).stdout;
        state.trim_end() == "active"
    };
    assert!(running(&one, &of_one) && running(&two, &of_two));
    one.skim(&["stop", &of_one]).success();
    assert!(running(&two, &of_two));
    run("skim", ["stop", &of_root]).success();
    run("skim", ["gc"]).success();
    assert!(running(&two, &of_two));
    two.skim(&["stop", &of_two]).success();
    for user in [&one, &two] {
        user.skim(&["gc"]).success();
        assert_eq!(user.traces(), Vec::<String>::new());
    }
}

#[test]
fn what_takes_root_is_refused_by_name() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "asks");
    for (args, says) in [
        (
            &["run", &image, "--user=33"][..],
            "--user=33 cannot be used",
        ),
        (&["run", &image, "--root=image"], "--root=image takes root"),
        (
            &["run", &image, "--caps-retain=CAP_KILL"],
            "capabilities-retain-set takes root",
        ),
        (
            &["run", &image, "--property=AmbientCapabilities=CAP_KILL"],
            "AmbientCapabilities",
        ),
        (&["run", "--user", &image], "before the verb"),
        (&["list", "--user"], "before the verb"),
        (&["export", "x", "y.aci"], "skim --user cannot export"),
    ] {
        let refused = user.skim(args);
        assert_eq!(refused.code, Some(254), "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(says), "{args:?}: {refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    }
    let plain = user.run("skim", &["run", &image]);
    assert_eq!(plain.code, Some(254));
    assert!(plain.stderr.contains("skim --user run"), "{plain:?}");
    let root = run("skim", ["--user", "list"]);
    assert_eq!(root.code, Some(254));
    assert!(
        root.stderr.contains("--user is for users other than root"),
        "{root:?}"
    );
    assert_eq!(user.traces(), Vec::<String>::new());
}

#[test]
fn without_a_user_manager_it_is_said_what_to_do() {
    let host = Host::new();
    let user = User::without_manager(&host, NAME, UID, NAME);
    let image = sleeper(&host, "nowhere");
    let refused = user.skim(&["run", &image]);
    assert_eq!(refused.code, Some(254));
    assert!(refused.stderr.contains("enable-linger"), "{refused:?}");
    assert!(!user.state().join("pods").exists());
}

#[test]
fn an_image_of_another_user_runs_with_a_warning() {
    let host = Host::new();
    let user = user(&host);
    let image = Image::busybox(&host, "web").user("33", "33");
    let image = text(&image.exec(&["/bin/id", "-u"]).build());
    let outcome = user.skim(&["run", "--rm", &image]).success();
    assert_eq!(outcome.stdout, "4321\n");
    assert!(
        outcome
            .stderr
            .contains("its image asks for the user 33; it runs as you"),
        "{outcome:?}"
    );
}

#[test]
fn the_dry_run_names_the_user_s_directory() {
    let host = Host::new();
    let user = user(&host);
    let image = sleeper(&host, "dry");
    user.skim(&["fetch", &image]).success();
    let units = user.skim(&["run", "--dry-run", &image]).success().stdout;
    assert!(
        units.contains("# /run/user/4321/systemd/user/skim-"),
        "{units}"
    );
    let config = user.skim(&["config"]).success().stdout;
    let local = text(&PathBuf::from(user.home()).join(".config/skim"));
    assert!(
        config.contains(&local) && config.contains("/etc/skim"),
        "{config}"
    );
    assert_eq!(user.traces(), Vec::<String>::new());
}
