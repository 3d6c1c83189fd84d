//! Images in a store of the user's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{NAME, UID, text, user};
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::{Image, PROGRAMS};
use crate::support::registry::{Guard, PASSWORD, Registry, credentials};
use crate::support::user::User;

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

/// With the credentials that `podman login` or `docker login` of the user has left.
#[test]
fn images_come_from_a_registry_that_wants_a_password() {
    let host = Host::new();
    let user = user(&host);
    let registry = Registry::start(&host, Guard::Basic);
    registry.push("oci:/opt/images/app.oci:1.0", "app:1.0", &[]);
    let _trusted = registry.authority().trusted();
    let image = registry.image("app:1.0");
    assert_eq!(user.skim(&["fetch", &image]).code, Some(254));
    let file = credentials(&host, "auth/config.json", &registry.address(), PASSWORD);
    let place = user.home().join(".docker");
    user.run("mkdir", &[&text(&place)]).success();
    let owner = format!("--owner={NAME}");
    let args = [
        &owner,
        "--mode=600",
        &text(&file),
        &text(&place.join("config.json")),
    ];
    run("install", args).success();
    let id = user.skim(&["fetch", &image]).line();
    user.skim(&["image", "verify", &id]).success();
    let names = user.skim(&["image", "list", "--no-legend", "--fields=name"]);
    assert!(names.stdout.contains("/app"), "{names:#?}");
}
