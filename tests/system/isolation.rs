//! Pods of the same image share its tree and nothing else.

use std::fs;
use std::path::Path;

use crate::support::command::run;
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::{Pod, gc};

/// Names, kinds, modes, owners, sizes, times and contents of everything in a tree.
#[track_caller]
fn fingerprint(tree: &Path) -> String {
    let script = r#"cd "$1" && find . -printf '%p %y %m %U %G %s %T@ %l\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum"#;
    run(
        "sh",
        [
            "-c".as_ref(),
            script.as_ref(),
            "sh".as_ref(),
            tree.as_os_str(),
        ],
    )
    .success()
    .stdout
}

#[test]
fn two_pods_of_one_image_do_not_see_each_others_writes() {
    let host = Host::new();
    let image = Image::busybox(&host, "shared").file("data", "original", 0o644);
    let image = image.exec(&["/bin/sleep", "1000000"]).build();
    let (one, two) = (Pod::start([&image]), Pod::start([&image]));
    let tree = one.tree("shared");
    assert_eq!(tree, two.tree("shared"), "the tree is not shared");
    let before = fingerprint(&tree);

    for (pod, text) in [(&one, "one"), (&two, "two")] {
        let rootfs = pod.rootfs("shared");
        fs::write(rootfs.join("data"), text).expect("cannot write to the rootfs");
        fs::write(rootfs.join(text), text).expect("cannot write to the rootfs");
        fs::remove_file(rootfs.join("etc/passwd")).expect("cannot remove from the rootfs");
    }

    for (pod, own, others) in [(&one, "one", "two"), (&two, "two", "one")] {
        let rootfs = pod.rootfs("shared");
        assert_eq!(
            fs::read_to_string(rootfs.join("data")).expect("data is there"),
            own
        );
        assert!(rootfs.join(own).exists());
        assert!(
            !rootfs.join(others).exists(),
            "{own} sees the file of {others}"
        );
    }
    assert_eq!(fingerprint(&tree), before, "the image's tree was changed");
}

#[test]
fn a_second_run_starts_from_the_image_again() {
    let host = Host::new();
    let image = Image::busybox(&host, "fresh")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let first = Pod::start([&image]);
    fs::write(first.rootfs("fresh").join("left"), "over").expect("cannot write to the rootfs");
    first.stop();
    gc();
    let second = Pod::start([&image]);
    assert!(!second.rootfs("fresh").join("left").exists());
}
