//! What the store tells of its images, and what is done with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::Pod;
use crate::support::store::{Store, app_tree, assert_one_line, image};
use crate::support::tree::Tree;

const OCI: &str = "oci:/opt/images/app.oci:1.0";
const NEXT: &str = "oci:/opt/images/app.oci:next";
const ACI: &str = "/opt/images/app.aci";

#[test]
fn the_list_has_columns_and_json() {
    let host = Host::new();
    let store = Store::new(&host, "list");
    assert_eq!(store.images(), Vec::<Value>::new());
    let ids = [store.fetch([ACI]), store.fetch([OCI])];
    let table = store.skim(["image", "list"]).success().stdout;
    let mut lines = table.lines();
    let legend = lines.next().expect("there is a legend");
    for column in ["ID", "NAME", "SIZE", "IMPORT TIME", "LAST USED"] {
        assert!(legend.contains(column), "{column} is missing in {table}");
    }
    assert_eq!(lines.count(), 2, "{table}");
    for id in &ids {
        let short = &id[..id.find('-').expect("an ID has a dash") + 13];
        assert!(table.contains(short), "{short} is missing in {table}");
        assert!(!table.contains(id.as_str()), "{table}");
    }
    let bare = store.skim(["image", "list", "--no-legend", "--full"]);
    let bare = bare.success().stdout;
    assert_eq!(bare.lines().count(), 2, "{bare}");
    for (line, id) in bare.lines().zip(&ids) {
        assert!(line.starts_with(id.as_str()), "{bare}");
    }
    for image in store.images() {
        for field in ["id", "name", "origin", "digest"] {
            assert!(image[field].is_string(), "{field} of {image:#}");
        }
        assert!(image["last_used_time"].is_null(), "{image:#}");
        for field in ["import_time", "size"] {
            assert!(image[field].is_number(), "{field} of {image:#}");
        }
        // Nanoseconds, as rkt has them.
        let imported = image["import_time"].as_u64().unwrap_or_default();
        assert!(imported > 1_700_000_000_000_000_000, "{image:#}");
        assert!(image["size"].as_u64() > Some(5_000_000), "{image:#}");
    }
}

#[test]
fn the_list_shows_the_fields_asked_for_in_the_order_asked_for() {
    let host = Host::new();
    let store = Store::new(&host, "fields");
    let (first, second) = (store.fetch([ACI]), store.fetch([OCI]));
    let list = |flags: &[&str]| {
        let fixed = ["image", "list", "--no-legend", "--full", "--fields=id"];
        let outcome = store.skim([&fixed[..], flags].concat()).success();
        let lines = outcome.stdout.lines().map(|line| line.trim().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(list(&["--sort=importtime"]), [&*first, &*second]);
    assert_eq!(
        list(&["--sort=importtime", "--order=desc"]),
        [&*second, &*first]
    );
    let legend = store.skim(["image", "list", "--fields=name,id"]).success();
    let legend = legend.stdout.lines().next().unwrap_or_default().to_owned();
    assert_eq!(
        legend.split_whitespace().collect::<Vec<_>>(),
        ["NAME", "ID"]
    );
    for flag in ["--fields=absent", "--sort=absent", "--order=absent"] {
        let outcome = store.skim(["image", "list", flag]);
        assert_ne!(outcome.code, Some(0), "{outcome:#?}");
        assert!(outcome.stderr.contains("absent"), "{outcome:#?}");
    }
}

#[test]
fn images_are_meant_by_short_ids_and_names() {
    let host = Host::new();
    let store = Store::new(&host, "names");
    let id = store.fetch([ACI]);
    let digits = id
        .strip_prefix("sha512-")
        .expect("an ACI's ID is a SHA-512");
    for name in [
        format!("sha512-{}", &digits[..2]),
        format!("sha512-{}", &digits[..12]),
        id.clone(),
        "example.com/app".to_owned(),
        "example.com/app:1.0.0".to_owned(),
    ] {
        assert_eq!(store.fetch([&name]), id, "{name}");
        assert_eq!(store.inspect(&name)["id"], id.as_str(), "{name}");
    }
    for name in ["sha512-0", "example.com/app:9", "example.com/absent"] {
        store.refuse(name, [name]);
    }
}

#[test]
fn an_unknown_image_cannot_be_removed_and_the_others_are() {
    let host = Host::new();
    let store = Store::new(&host, "rm");
    let id = store.fetch([ACI]);
    for name in ["example.com/absent", "sha512-000000000000"] {
        assert_one_line(&store.skim(["image", "rm", name]), name);
    }
    assert_eq!(store.images().len(), 1);
    let outcome = store.skim(["image", "rm", "example.com/absent", &id]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert!(store.images().is_empty());
}

#[test]
fn what_images_share_goes_with_the_last_of_them() {
    let host = Host::new();
    let store = Store::new(&host, "share");
    let before = store.contents();
    let (one, next) = (store.fetch([OCI]), store.fetch([NEXT]));
    store.skim(["image", "rm", &one]).success();
    store
        .tree(&next)
        .assert_like(&app_tree(&host), "of the other");
    store.skim(["image", "verify", &next]).success();
    store.skim(["image", "rm", &next]).success();
    store.skim(["image", "gc", "--grace-period=0s"]).success();
    let left: BTreeSet<_> = store.contents().difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_image_in_use_is_kept_unless_forced() {
    let host = Host::new();
    let image = Image::busybox(&host, "in-use")
        .exec(&["/bin/sleep", "1000000"])
        .build();
    let pod = Pod::start([&image]);
    let id = skim(["fetch".into(), "--full".into(), image.into_os_string()]).line();
    let outcome = skim(["image", "rm", &id]);
    assert_one_line(&outcome, &pod.uuid[..8]);
    assert!(pod.tree("in-use").exists());
    skim(["image", "gc", "--grace-period=0s"]).success();
    assert!(pod.tree("in-use").exists());
    skim(["image", "rm", "--force", &id]).success();
    let listed = skim(["image", "list", "--no-legend", "--full"]).success();
    assert!(!listed.stdout.contains(&id), "{listed:#?}");
    // The pod runs on, and is listed.
    let service = pod.service("in-use");
    assert_eq!(crate::support::systemd::state(&service), "active (running)");
    let sleeps = fs::read(pod.rootfs("in-use").join("bin/busybox"));
    assert!(sleeps.is_ok(), "the pod's tree went with the image");
    let pods = skim(["list", "--full"]).success().stdout;
    assert!(pods.contains(&pod.uuid), "{pods}");
}

#[test]
fn gc_of_images_spares_what_was_used_of_late() {
    let host = Host::new();
    let store = Store::new(&host, "gc");
    let id = store.fetch([ACI]);
    store.skim(["image", "gc"]).success();
    store.skim(["image", "gc", "--grace-period=1h"]).success();
    assert_eq!(store.images().len(), 1);
    store.tree(&id).assert_like(&app_tree(&host), "spared");
    store.skim(["image", "gc", "--grace-period=0s"]).success();
    assert!(store.images().is_empty());
    for directory in ["blobs", "trees", "tmp", "partial"] {
        assert!(store.names(directory).is_empty(), "{directory}");
    }
}

#[test]
fn verify_finds_what_was_changed_added_or_removed_and_repairs_it() {
    let host = Host::new();
    let expected = app_tree(&host);
    for (source, name) in [(ACI, "aci"), (OCI, "oci")] {
        let store = Store::new(&host, name);
        let id = store.fetch([source]);
        store.skim(["image", "verify"]).success();
        store.skim(["image", "verify", &id]).success();
        let tree = store.tree_path(&id).to_string_lossy().into_owned();
        for (change, path) in [
            ("printf old >srv/app/replaced", "replaced"),
            ("rm srv/app/show", "show"),
            ("echo new >srv/app/added", "added"),
            ("mkdir srv/app/new-directory", "new-directory"),
            ("rm bin/cat && cp bin/busybox bin/cat", "bin/cat"),
            ("ln -sf other bin/env", "bin/env"),
            ("chmod 0777 srv/app/replaced", "replaced"),
            ("chown 7:7 srv/app/replaced", "replaced"),
            ("rm -r srv/app/kept", "kept"),
        ] {
            run("sh", ["-c", &format!("cd {tree} && {change}")]).success();
            let found = store.skim(["image", "verify", &id]);
            assert_eq!(found.code, Some(254), "{change}: {found:#?}");
            let said = format!("{}{}", found.stdout, found.stderr);
            assert!(said.contains(path), "{change}: {said}");
            store.skim(["image", "verify", "--repair", &id]).success();
            store.tree(&id).assert_like(&expected, change);
            store.skim(["image", "verify", &id]).success();
        }
    }
}

#[test]
fn verify_sees_a_stored_blob_that_was_damaged() {
    let host = Host::new();
    let store = Store::new(&host, "blob");
    let id = store.fetch([OCI]);
    let blobs = store.directory().join("images/blobs");
    let largest = store.names("blobs").into_iter().max_by_key(|name| {
        let metadata = fs::metadata(blobs.join(name));
        metadata.expect("a blob is a file").len()
    });
    let blob = blobs.join(largest.expect("the layers are kept"));
    let mut content = fs::read(&blob).expect("it can be read");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&blob, content).expect("it can be written");
    // The tree is as it was: a repair of it out of this blob would not be.
    fs::remove_file(store.tree_path(&id).join("srv/app/show")).expect("cannot remove a file");
    let outcome = store.skim(["image", "verify", "--repair", &id]);
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    // From where it came it can be had again.
    let again = store.fetch([OCI]);
    assert_eq!(again, id);
}

#[test]
fn an_exported_image_is_the_image() {
    let host = Host::new();
    let expected = app_tree(&host);
    for (source, name) in [(ACI, "aci"), (OCI, "oci")] {
        let (from, to) = (
            Store::new(&host, &format!("{name}-from")),
            Store::new(&host, &format!("{name}-to")),
        );
        let id = from.fetch([source]);
        let file = host.scratch().join(format!("exported-{name}"));
        let file = file.to_string_lossy();
        from.skim(["image", "export", &id, &file]).success();
        let again = from.skim(["image", "export", &id, &file]);
        assert_one_line(&again, &file);
        from.skim(["image", "export", "--overwrite", &id, &file])
            .success();
        let imported = to.fetch([&*file]);
        to.tree(&imported).assert_like(&expected, source);
        assert_eq!(imported, id, "{source}");
    }
    // Others can read it, too.
    let oci = format!(
        "oci-archive:{}",
        host.scratch().join("exported-oci").display()
    );
    run("skopeo", ["inspect", &oci]).success();
    let aci = host.scratch().join("exported-aci");
    run("cmp", [aci.as_os_str(), image("app.aci").as_ref()]).success();
}

#[test]
fn extract_and_render_write_the_image_outside_the_store() {
    let host = Host::new();
    let expected = app_tree(&host);
    for (source, name) in [(ACI, "aci"), (OCI, "oci")] {
        let store = Store::new(&host, name);
        let id = store.fetch([source]);
        for verb in ["extract", "render"] {
            let directory = host.scratch().join(format!("{verb}-{name}"));
            let directory = directory.to_string_lossy();
            store.skim(["image", verb, &id, &directory]).success();
            let rootfs = Path::new(&*directory).join("rootfs");
            Tree::read(&rootfs).assert_like(&expected, &format!("{verb} {source}"));
            assert!(Path::new(&*directory).join("manifest").exists());
            let again = store.skim(["image", verb, &id, &directory]);
            assert_one_line(&again, &directory);
            store
                .skim(["image", verb, "--overwrite", &id, &directory])
                .success();
            assert_one_line(&store.skim(["image", verb, "--overwrite", &id, "/"]), "/");
        }
        let bare = host.scratch().join(format!("rootfs-{name}"));
        let bare_text = bare.to_string_lossy();
        store
            .skim(["image", "extract", "--rootfs-only", &id, &bare_text])
            .success();
        Tree::read(&bare).assert_like(&expected, source);
        assert!(Path::new("/etc/passwd").exists());
    }
}

#[test]
fn cat_manifest_prints_what_came() {
    let host = Host::new();
    let store = Store::new(&host, "manifest");
    let id = store.fetch([ACI]);
    let printed = store.skim(["image", "cat-manifest", &id]).success().stdout;
    let printed: Value = serde_json::from_str(&printed).expect("it is JSON");
    let args = ["--extract", "--to-stdout", "--file", ACI, "manifest"];
    let came = run("tar", args).success().stdout;
    let came: Value = serde_json::from_str(&came).expect("it is JSON");
    assert_eq!(printed, came);
    let flag = "--pretty-print";
    let pretty = store.skim(["image", "cat-manifest", flag, &id]).success();
    assert!(pretty.stdout.lines().count() > 5, "{pretty:#?}");
    assert_one_line(
        &store.skim(["image", "cat-manifest", "sha512-00"]),
        "sha512-00",
    );
}

#[test]
fn a_removal_while_another_imports_leaves_a_whole_store() {
    let host = Host::new();
    let expected = app_tree(&host);
    let store = Store::new(&host, "race");
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do skim \"$1\" fetch --quiet \"$2\" >/dev/null || exit 1; done";
    let flag = store.dir();
    let mut importers = [OCI, NEXT, ACI].map(|source| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(&flag).arg(source);
        shell.spawn().expect("cannot run a shell")
    });
    // Until all are through with it; a removal may come too late for an image, or too early.
    let mut all_ended = false;
    while !all_ended {
        for image in store.images() {
            let id = image["id"].as_str().expect("an image has an ID");
            store.skim(["image", "rm", id]);
        }
        store.skim(["image", "gc", "--grace-period=0s"]).success();
        all_ended = importers
            .iter_mut()
            .all(|importer| importer.try_wait().expect("cannot wait").is_some());
    }
    for mut importer in importers {
        let status = importer.wait().expect("cannot wait");
        assert!(status.success(), "an import failed: {status}");
    }
    let id = store.fetch([OCI]);
    store.tree(&id).assert_like(&expected, "after the race");
    store.skim(["image", "verify"]).success();
    store.assert_no_debris();
}

#[test]
fn dependencies_are_found_by_name_and_lie_beneath() {
    let host = Host::new();
    let store = Store::new(&host, "dependencies");
    let base = Image::busybox(&host, "base")
        .file("etc/from", "base", 0o644)
        .file("etc/kept", "base", 0o644)
        .build();
    let top = Image::empty(&host, "top").file("etc/from", "top", 0o644);
    let mut manifest = top.manifest();
    manifest["dependencies"] = serde_json::json!([{
        "imageName": "example.com/base",
        "labels": [{ "name": "version", "value": "1.0.0" }],
    }]);
    let archive = top.build_with(&manifest.to_string(), &["manifest", "rootfs"]);
    store.refuse("example.com/base", [&archive]);
    store.fetch([&base]);
    let id = store.fetch([&archive]);
    let tree = store.tree_path(&id);
    let read = |path: &str| fs::read_to_string(tree.join(path)).expect("it is in the tree");
    assert_eq!(
        (read("etc/from").as_str(), read("etc/kept").as_str()),
        ("top", "base")
    );
    assert!(tree.join("bin/busybox").exists());
}
