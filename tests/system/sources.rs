//! The same app from every kind of image that people have.

use std::fs;

use serde_json::Value;

use crate::daemons::DockerPod;
use crate::support::command::{run, skim};
use crate::support::host::Host;
use crate::support::store::{Store, app_tree, assert_one_line, image};
use crate::support::tree::Tree;

/// What the app prints.
pub(crate) const OUTPUT: &str = "\
args: one two words
cwd: /srv/app
ids: 1234 2345
greeting: hello = world
new
";

/// The app as an ACI, in every compression.
const ACIS: [&str; 5] = [
    "/opt/images/app.aci",
    "/opt/images/app-gz.aci",
    "/opt/images/app-bz2.aci",
    "/opt/images/app-xz.aci",
    "/opt/images/app-zst.aci",
];

/// The app as layouts and archives with a manifest: by umoci, skopeo and podman.
const OCI: [&str; 7] = [
    "oci:/opt/images/app.oci:1.0",
    "oci:/opt/images/app-zstd.oci",
    "oci-archive:/opt/images/app.oci.tar:1.0",
    "oci-archive:/opt/images/app.oci.tar",
    "oci-archive:/opt/images/app-podman.oci.tar",
    "/opt/images/app-zstd.oci",
    "/opt/images/app.oci.tar",
];

/// The app as archives of `docker save`.
const DOCKER: [&str; 5] = [
    "docker-archive:/opt/images/app.docker.tar:example.com/app:1.0",
    "docker-archive:/opt/images/app.docker.tar",
    "docker-archive:/opt/images/app-podman.docker.tar",
    "docker-archive:/opt/images/several.docker.tar:example.com/app:1.0",
    "/opt/images/app.docker.tar",
];

fn all() -> impl Iterator<Item = &'static str> {
    ACIS.into_iter().chain(OCI).chain(DOCKER)
}

/// The file that a source names.
fn file(source: &str) -> &str {
    let start = source.find('/').expect("a path is absolute");
    let path = &source[start..];
    path.split(':').next().expect("there is a first part")
}

/// The digest of the manifest that a layout has under a tag, as umoci or skopeo wrote it.
#[track_caller]
pub(crate) fn layout_digest(layout: &str, tag: &str) -> String {
    let index = fs::read_to_string(image(layout) + "/index.json").expect("a layout has an index");
    let index: Value = serde_json::from_str(&index).expect("the index is JSON");
    let manifests = index["manifests"].as_array().expect("it lists manifests");
    let tagged = manifests
        .iter()
        .find(|manifest| manifest["annotations"]["org.opencontainers.image.ref.name"] == tag);
    tagged
        .and_then(|manifest| manifest["digest"].as_str())
        .expect("the tag is there")
        .to_owned()
}

#[test]
fn every_kind_of_file_gives_the_tree_that_umoci_unpacks() {
    let host = Host::new();
    let expected = app_tree(&host);
    for (number, source) in all().enumerate() {
        let store = Store::new(&host, &number.to_string());
        let id = store.fetch([source]);
        store.tree(&id).assert_like(&expected, source);
        store.assert_no_debris();
    }
}

#[test]
fn every_kind_of_file_runs() {
    let _host = Host::new();
    for source in all() {
        let outcome = skim(["run", "--rm", "--quiet", source]).success();
        assert_eq!(outcome.stdout, OUTPUT, "{source}");
    }
}

#[test]
fn a_file_in_the_current_directory_may_be_named_without_a_slash() {
    let host = Host::new();
    let store = Store::new(&host, "relative");
    for source in [
        "app.aci",
        "oci:app.oci:1.0",
        "oci-archive:app.oci.tar",
        "docker-archive:app.docker.tar",
    ] {
        let output = store
            .command(["fetch", source])
            .current_dir("/opt/images")
            .output();
        let outcome: crate::support::command::Outcome = output.expect("cannot run skim").into();
        outcome.success();
    }
}

#[test]
fn the_list_tells_origin_and_digest() {
    let host = Host::new();
    let store = Store::new(&host, "listed");
    let digests = OCI.map(|source| {
        let id = store.fetch([source]);
        let listed = store.listed(&id);
        let origin = listed["origin"].as_str().unwrap_or_default();
        assert!(origin.contains(file(source)), "{source}: {listed:#}");
        let digest = listed["digest"].as_str().unwrap_or_default().to_owned();
        assert_eq!(id, digest.replace("sha256:", "sha256-"), "{listed:#}");
        digest
    });
    assert_eq!(digests[0], layout_digest("app.oci", "1.0"));
    assert_eq!(digests[1], layout_digest("app-zstd.oci", "1.0"));
    for source in ACIS {
        let id = store.fetch([source]);
        let listed = store.listed(&id);
        let origin = listed["origin"].as_str().unwrap_or_default();
        assert!(origin.starts_with("/opt/images/app"), "{listed:#}");
        let sum = run("sha512sum", [image("app.aci")]).success().stdout;
        let sum = sum.split(' ').next().expect("it prints the sum first");
        assert_eq!(id, format!("sha512-{sum}"), "{source}");
    }
}

/// All of them are the same content.
#[test]
fn what_images_share_is_kept_once() {
    let host = Host::new();
    let store = Store::new(&host, "shared");
    let first = store.fetch(["oci:/opt/images/app.oci:1.0"]);
    let (blobs, trees) = (store.names("blobs"), store.names("trees"));
    assert_eq!(trees.len(), 1, "{trees:?}");
    let next = store.fetch(["oci:/opt/images/app.oci:next"]);
    assert_ne!(first, next);
    assert_eq!(store.names("blobs"), blobs);
    assert_eq!(store.names("trees"), trees);
    // Uncompressed, or compressed in another way, the layers are those of the same tree.
    for source in [DOCKER[0], OCI[1]] {
        store.fetch([source]);
        assert_eq!(store.names("trees"), trees, "{source}");
    }
    // As an ACI it is one more, however it is compressed.
    for source in ACIS {
        store.fetch([source]);
        assert_eq!(store.names("trees").len(), 2, "{source}");
    }
}

#[test]
fn another_tag_is_another_image() {
    let _host = Host::new();
    let outcome = skim(["run", "--rm", "--quiet", "oci:/opt/images/app.oci:next"]).success();
    assert_eq!(
        outcome.stdout,
        OUTPUT.replace("args: one two words", "args: next")
    );
}

#[test]
fn one_of_several_images_has_to_be_named() {
    let host = Host::new();
    let store = Store::new(&host, "several");
    for (source, says) in [
        ("oci:/opt/images/app.oci", "next"),
        ("/opt/images/app.oci", "next"),
        ("oci:/opt/images/app.oci:absent", "absent"),
        ("oci-archive:/opt/images/app.oci.tar:absent", "absent"),
        (
            "docker-archive:/opt/images/several.docker.tar",
            "example.com/built:2.0",
        ),
        (
            "docker-archive:/opt/images/several.docker.tar:absent:1",
            "absent:1",
        ),
        ("oci:/opt/images/absent", "/opt/images/absent"),
        ("oci-archive:/opt/images/app.docker.tar", "app.docker.tar"),
        ("docker-archive:/opt/images/app.oci.tar", "app.oci.tar"),
        ("oci:/opt", "/opt"),
    ] {
        store.refuse(says, [source]);
    }
}

#[test]
fn what_podman_built_runs_and_its_healthcheck_is_kept() {
    let host = Host::new();
    for source in [
        "docker-archive:/opt/images/built.docker.tar",
        "docker-archive:/opt/images/several.docker.tar:example.com/built:2.0",
    ] {
        let outcome = skim(["run", "--rm", "--quiet", source]).success();
        let expected = OUTPUT
            .replace("args: one two words", "args: built")
            .replace("ids: 1234 2345", "ids: 1234 3456");
        assert_eq!(outcome.stdout, expected, "{source}");
    }
    let store = Store::new(&host, "built");
    let id = store.fetch(["docker-archive:/opt/images/built.docker.tar"]);
    let tree = store.tree_path(&id);
    assert!(tree.join("added/copied").exists());
    let removed = fs::symlink_metadata(tree.join("srv/app/kept/long-link"));
    assert!(removed.is_err(), "the layer's whiteout has removed nothing");
    let known = store.inspect(&id).to_string().to_lowercase();
    assert!(known.contains("healthcheck"), "{known}");
    assert!(known.contains("example.com/built"), "{known}");
}

#[test]
fn labels_and_annotations_of_an_oci_image_are_kept() {
    let host = Host::new();
    let store = Store::new(&host, "labels");
    let id = store.fetch(["oci:/opt/images/app.oci:1.0"]);
    let known = store.skim(["image", "cat-manifest", &id]).success().stdout;
    let known = known + &store.inspect(&id).to_string();
    for text in ["com.example.label", "annotation", "SIGINT", "8080"] {
        assert!(known.contains(text), "{text} is missing in {known}");
    }
}

#[test]
fn of_several_architectures_the_hosts_is_taken() {
    let host = Host::new();
    let store = Store::new(&host, "many");
    let id = store.fetch(["oci:/opt/images/many.oci:1.0"]);
    assert_eq!(id, layout_digest("app.oci", "1.0").replace(':', "-"));
    store
        .tree(&id)
        .assert_like(&app_tree(&host), "of the index that podman made");
    store.refuse("arm64|amd64", ["oci:/opt/images/other.oci:1.0"]);
}

#[test]
fn dynamic_programs_of_an_oci_image_run_and_keep_their_capabilities() {
    let host = Host::new();
    let source = "oci-archive:/opt/images/greet.oci.tar";
    for exec in ["--exec=/bin/greet", "--exec=absolute"] {
        let outcome = skim(["run", "--rm", "--quiet", source, exec]);
        assert_eq!(outcome.line(), "hello from a musl library", "{exec}");
    }
    let store = Store::new(&host, "greet");
    let program = store
        .tree_path(&store.fetch([source]))
        .join("bin/privileged");
    let capabilities = run("getcap", [program]).success().stdout;
    assert!(capabilities.contains("cap_net_raw=ep"), "{capabilities}");
}

/// umoci removes what was beneath a directory that became a file, though nothing can be there.
#[test]
fn a_directory_that_umoci_turned_into_a_file_is_a_file() {
    let host = Host::new();
    let store = Store::new(&host, "turned");
    let id = store.fetch(["oci-archive:/opt/images/turned.oci.tar"]);
    let text = fs::read_to_string(store.tree_path(&id).join("turned"));
    assert_eq!(text.expect("it is a file"), "a file now\n");
}

#[test]
fn the_demos_docker_runs_out_of_an_oci_archive() {
    let host = Host::new();
    let docker = DockerPod::of(
        &host,
        &[
            "oci-archive:/opt/images/docker.oci.tar",
            "--name=docker",
            "/opt/images/containerd.aci",
        ],
    );
    let outcome = docker.run_busybox(&["--rm"], &["echo", "hello from a container"]);
    assert_eq!(outcome.line(), "hello from a container");
}

#[test]
fn an_aci_and_an_image_with_layers_run_in_one_pod() {
    let _host = Host::new();
    let outcome = skim([
        "run",
        "--rm",
        "--quiet",
        "/opt/images/app-xz.aci",
        "--name=one",
        "docker-archive:/opt/images/app.docker.tar",
        "--name=two",
    ])
    .success();
    let greetings = outcome.stdout.matches("greeting: hello = world").count();
    assert_eq!(greetings, 2, "{outcome:#?}");
}

/// The images of one test are not those of another: what is compared is what was unpacked.
#[test]
fn an_import_into_a_store_of_its_own_leaves_the_other_alone() {
    let host = Host::new();
    let (one, two) = (Store::new(&host, "one"), Store::new(&host, "two"));
    one.fetch(["/opt/images/app.aci"]);
    assert!(two.images().is_empty());
    let tree = two.tree_path(&two.fetch(["/opt/images/app.aci"]));
    assert!(tree.starts_with(two.directory()), "{}", tree.display());
    Tree::read(&tree).assert_like(&app_tree(&host), "app.aci");
}

#[test]
fn sources_that_make_no_sense_are_refused_in_one_line() {
    let host = Host::new();
    for source in [
        "ftp://example.com/x.aci",
        "docker://",
        "docker://127.0.0.1:1/UPPER/case",
        "docker://127.0.0.1:1/app@sha256:short",
        "oci:",
        "docker-archive:",
        "https://",
        "http://127.0.0.1:1/x.aci",
    ] {
        let store = Store::new(&host, &source.replace(['/', ':'], "-"));
        let outcome = store.skim(["fetch", "--quiet", source]);
        assert_one_line(&outcome, "");
    }
}
