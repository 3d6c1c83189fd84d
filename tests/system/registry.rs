//! Images out of registries, and ACIs out of the web.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sources::{OUTPUT, layout_digest};
use crate::support::authority::Authority;
use crate::support::command::skim;
use crate::support::host::Host;
use crate::support::registry::{Guard, PASSWORD, Registry, credentials};
use crate::support::server::https;
use crate::support::store::{Store, app_tree, image};

const HTTP: &str = "--insecure-options=http";
const TLS: &str = "--insecure-options=tls";
const UNSIGNED: &str = "--insecure-options=image";

/// What a message says, in one of these words, where a password is wrong or missing.
const DENIED: &str = "401|unauthorized|credentials|denied|log in";

/// The app, as umoci wrote it.
const APP: &str = "oci:/opt/images/app.oci:1.0";

/// A registry with the app in it.
#[track_caller]
fn registry(host: &Host, guard: Guard) -> Registry {
    let registry = Registry::start(host, guard);
    registry.push(APP, "app:1.0", &[]);
    registry
}

#[test]
fn a_registry_without_tls_gives_the_tree_that_umoci_unpacks() {
    let host = Host::new();
    let expected = app_tree(&host);
    let registry = registry(&host, Guard::None);
    let pushed = registry.push(APP, "docker-format:1.0", &["--format=v2s2"]);
    assert_ne!(pushed, layout_digest("app.oci", "1.0"));
    let by_digest = format!("app@{}", layout_digest("app.oci", "1.0"));
    for name in ["app:1.0", "docker-format:1.0", &by_digest] {
        let store = Store::new(&host, &name.replace([':', '@'], "-"));
        let id = store.fetch([HTTP, &registry.image(name)]);
        store.tree(&id).assert_like(&expected, name);
        store.assert_no_debris();
    }
}

#[test]
fn the_list_tells_the_registry_and_the_digest() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let store = Store::new(&host, "listed");
    let id = store.fetch([HTTP, &registry.image("app:1.0")]);
    let listed = store.listed(&id);
    let origin = listed["origin"].as_str().unwrap_or_default();
    let expected = format!("{}/app:1.0", registry.address());
    assert!(origin.contains(&expected), "{listed:#}");
    assert_eq!(listed["digest"], layout_digest("app.oci", "1.0"));
    // The same bytes from a file are the same image.
    assert_eq!(store.fetch([APP]), id);
    assert_eq!(store.images().len(), 1);
}

#[test]
fn an_image_out_of_a_registry_runs() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let image = registry.image("app:1.0");
    let outcome = skim(["run", HTTP, "--rm", "--quiet", &image]).success();
    assert_eq!(outcome.stdout, OUTPUT);
}

#[test]
fn an_index_in_a_registry_gives_the_hosts_image() {
    let host = Host::new();
    let registry = Registry::start(&host, Guard::None);
    let index = registry.push("oci:/opt/images/many.oci:1.0", "many:1.0", &["--all"]);
    registry.push("oci:/opt/images/other.oci:1.0", "other:1.0", &[]);
    let store = Store::new(&host, "many");
    let wanted = layout_digest("app.oci", "1.0").replace(':', "-");
    for name in ["many:1.0".to_owned(), format!("many@{index}")] {
        assert_eq!(
            store.fetch([HTTP, &registry.image(&name)]),
            wanted,
            "{name}"
        );
    }
    store.refuse("arm64|amd64", [HTTP, &registry.image("other:1.0")]);
}

#[test]
fn a_registry_with_tls_is_trusted_with_its_authority() {
    let host = Host::new();
    let registry = registry(&host, Guard::Tls);
    let image = registry.image("app:1.0");
    let store = Store::new(&host, "tls");
    store.refuse("certificate|unknownissuer|tls", [&image]);
    store.refuse("certificate|unknownissuer|tls", [HTTP, &image]);
    let trusted = registry.authority().trusted();
    let id = store.fetch([&image]);
    drop(trusted);
    store.tree(&id).assert_like(&app_tree(&host), "by TLS");
    let other = Store::new(&host, "insecure");
    assert_eq!(other.fetch([TLS, &image]), id);
}

/// As podman and docker are told: containers-certs.d(5).
#[test]
fn an_authority_may_be_trusted_for_one_registry() {
    let host = Host::new();
    let registry = registry(&host, Guard::Tls);
    let certs = Path::new("/etc/containers/certs.d");
    let directory = certs.join(registry.address());
    fs::create_dir_all(&directory).expect("cannot make a directory");
    fs::copy(registry.authority().root(), directory.join("ca.crt")).expect("cannot copy the CA");
    let fetched = Store::new(&host, "certs").skim(["fetch", "--quiet", &registry.image("app:1.0")]);
    fs::remove_dir_all(certs).expect("cannot remove the directory");
    fetched.success();
}

#[test]
fn a_certificate_of_another_host_is_refused() {
    let host = Host::new();
    let registry = registry(&host, Guard::Tls);
    let _trusted = registry.authority().trusted();
    // It is for 127.0.0.1 and localhost.
    let other = registry.image("app:1.0").replace("127.0.0.1", "127.0.0.2");
    Store::new(&host, "other").refuse("127.0.0.2", [other]);
}

/// Where people have their passwords: what each is to skim, given the file.
fn places(host: &Host, address: &str, password: &str, name: &str) -> Vec<Store> {
    let file = |path: &str| credentials(host, path, address, password);
    let parent = |path: PathBuf| path.parent().expect("it has a parent").to_owned();
    let (docker, home, auth) = (
        format!("{name}-docker"),
        format!("{name}-home"),
        format!("{name}-auth"),
    );
    let configuration = parent(file(&format!("{docker}/config.json")));
    file(&format!("{home}/.docker/config.json"));
    vec![
        Store::new(host, &docker).variable("DOCKER_CONFIG", configuration),
        Store::new(host, &home).variable("HOME", host.scratch().join(&home)),
        Store::new(host, &auth).variable("REGISTRY_AUTH_FILE", file(&format!("{auth}/auth.json"))),
    ]
}

#[track_caller]
fn opens_with_the_right_password_alone(guard: Guard) {
    let host = Host::new();
    let expected = app_tree(&host);
    let registry = registry(&host, guard);
    let _trusted = registry.authority().trusted();
    let image = registry.image("app:1.0");
    for store in places(&host, &registry.address(), PASSWORD, "right") {
        let id = store.fetch([&image]);
        store
            .tree(&id)
            .assert_like(&expected, &format!("{guard:?}"));
    }
    for store in places(&host, &registry.address(), "wrong", "wrong") {
        store.refuse(DENIED, [&image]);
    }
    // Those for another registry are not given to this one.
    for store in places(&host, "other.example.com", PASSWORD, "other") {
        store.refuse(DENIED, [&image]);
    }
    Store::new(&host, "none").refuse(DENIED, [&image]);
}

#[test]
fn a_registry_with_basic_authentication_opens_with_the_right_password_alone() {
    opens_with_the_right_password_alone(Guard::Basic);
}

#[test]
fn a_registry_with_tokens_opens_with_the_right_password_alone() {
    opens_with_the_right_password_alone(Guard::Bearer);
}

#[test]
fn passwords_are_not_said() {
    let host = Host::new();
    let registry = registry(&host, Guard::Basic);
    let _trusted = registry.authority().trusted();
    for store in places(&host, &registry.address(), "wr0ng", "wrong") {
        let outcome = store.skim(["--debug", "fetch", &registry.image("app:1.0")]);
        assert!(!outcome.stderr.contains("wr0ng"), "{outcome:#?}");
        assert!(!outcome.stderr.contains("Basic "), "{outcome:#?}");
    }
}

#[test]
fn what_a_registry_does_not_have_is_refused() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let store = Store::new(&host, "absent");
    let zeros = "0".repeat(64);
    for (name, says) in [
        ("app:absent", "absent"),
        ("absent:1.0", "absent"),
        (&format!("app@sha256:{zeros}"), &zeros[..12]),
    ] {
        store.refuse(says, [HTTP, &registry.image(name)]);
    }
}

#[test]
fn plain_http_has_to_be_allowed() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let store = Store::new(&host, "plain");
    let before = registry.requests().len();
    store.refuse("http", [&registry.image("app:1.0")]);
    store.refuse("http", [TLS, &registry.image("app:1.0")]);
    assert_eq!(
        registry.requests().len(),
        before,
        "it was asked in the clear"
    );
}

#[test]
fn a_registry_that_nobody_runs_is_refused() {
    let host = Host::new();
    let store = Store::new(&host, "nobody");
    store.refuse("127.0.0.1:1", [HTTP, "docker://127.0.0.1:1/app:1.0"]);
    store.refuse("nowhere.invalid", ["docker://nowhere.invalid/app:1.0"]);
}

/// The digests of the layers of the app.
#[track_caller]
fn layers(registry: &Registry) -> Vec<String> {
    let raw = fs::read(registry.blob(&layout_digest("app.oci", "1.0")));
    let manifest: serde_json::Value =
        serde_json::from_slice(&raw.expect("the registry has the manifest")).expect("it is JSON");
    let layers = manifest["layers"].as_array().expect("it has layers");
    let digest = |layer: &serde_json::Value| layer["digest"].as_str().map(str::to_owned);
    layers.iter().filter_map(digest).collect()
}

#[test]
fn a_layer_that_a_registry_has_changed_is_refused() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let store = Store::new(&host, "changed");
    let layers = layers(&registry);
    // The first and the last, changed in the middle.
    for digest in [&layers[0], &layers[layers.len() - 1]] {
        let file = registry.blob(digest);
        let good = fs::read(&file).expect("the registry has the layer");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&file, bad).expect("cannot change the layer");
        store.refuse(&digest[7..19], [HTTP, &registry.image("app:1.0")]);
        fs::write(&file, good).expect("cannot restore the layer");
    }
    store.fetch([HTTP, &registry.image("app:1.0")]);
}

#[test]
fn a_layer_that_is_shorter_or_longer_than_the_manifest_says_is_refused() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let store = Store::new(&host, "short");
    let digest = &layers(&registry)[0];
    let file = registry.blob(digest);
    let good = fs::read(&file).expect("the registry has the layer");
    let longer = [&good[..], b"more"].concat();
    for bad in [&good[..good.len() / 2], &longer] {
        fs::write(&file, bad).expect("cannot change the layer");
        let before = store.contents();
        // It may say in lines of their own that it tries again.
        let outcome = store.skim(["fetch", "--quiet", HTTP, &registry.image("app:1.0")]);
        assert_eq!(outcome.code, Some(254), "{outcome:#?}");
        assert_eq!(outcome.stderr.matches("error:").count(), 1, "{outcome:#?}");
        assert_eq!(store.contents(), before, "left behind by {outcome:#?}");
    }
    fs::remove_file(&file).expect("cannot remove the layer");
    store.refuse("", [HTTP, &registry.image("app:1.0")]);
}

#[test]
fn a_manifest_or_configuration_that_a_registry_has_changed_is_refused() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let store = Store::new(&host, "manifest");
    let file = registry.blob(&layout_digest("app.oci", "1.0"));
    let manifest = fs::read_to_string(&file).expect("the registry has the manifest");
    let by_digest = format!("app@{}", layout_digest("app.oci", "1.0"));
    let changed = manifest.replace("annotation\"}", "annotatioN\"}");
    assert_ne!(changed, manifest);
    fs::write(&file, changed).expect("cannot change the manifest");
    store.refuse("", [HTTP, &registry.image(&by_digest)]);
    fs::write(&file, &manifest).expect("cannot restore the manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("it is JSON");
    let config = manifest["config"]["digest"].as_str().expect("it has one");
    let file = registry.blob(config);
    let text = fs::read_to_string(&file).expect("the registry has the configuration");
    fs::write(&file, text.replace("show", "shew")).expect("cannot change it");
    store.refuse(&config[7..19], [HTTP, &registry.image("app:1.0")]);
}

#[test]
fn with_the_policy_never_no_registry_is_asked() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let name = registry.image("app:1.0");
    let store = Store::new(&host, "never");
    let before = registry.requests().len();
    store.refuse("app:1.0", [HTTP, "--pull-policy=never", &name]);
    assert_eq!(registry.requests().len(), before);
    let id = store.fetch([HTTP, &name]);
    let before = registry.requests().len();
    assert_eq!(store.fetch([HTTP, "--pull-policy=never", &name]), id);
    assert_eq!(registry.requests().len(), before);
    drop(registry);
    assert_eq!(store.fetch([HTTP, "--pull-policy=never", &name]), id);
}

#[test]
fn with_the_policy_new_what_is_there_is_not_asked_for() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let name = registry.image("app:1.0");
    let store = Store::new(&host, "new");
    let id = store.fetch([HTTP, "--pull-policy=new", &name]);
    registry.push("oci:/opt/images/app.oci:next", "app:1.0", &[]);
    let before = registry.requests().len();
    assert_eq!(store.fetch([HTTP, "--pull-policy=new", &name]), id);
    assert_eq!(registry.requests().len(), before);
    drop(registry);
    assert_eq!(store.fetch([HTTP, "--pull-policy=new", &name]), id);
}

/// Without the option: run takes what is there, fetch looks for what is new.
#[test]
fn run_and_fetch_have_their_policies() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let name = registry.image("app:1.0");
    let runs = || {
        skim(["run", HTTP, "--rm", "--quiet", &name])
            .success()
            .stdout
    };
    assert_eq!(runs(), OUTPUT);
    registry.push("oci:/opt/images/app.oci:next", "app:1.0", &[]);
    assert_eq!(runs(), OUTPUT);
    let id = skim(["fetch", "--full", HTTP, &name]).line();
    assert_eq!(id, layout_digest("app.oci", "next").replace(':', "-"));
    let next = OUTPUT.replace("args: one two words", "args: next");
    assert_eq!(runs(), next);
    // The machine's store is every test's: the name has to mean what the next test wants.
    registry.push(APP, "app:1.0", &[]);
    let update = [
        "run",
        HTTP,
        "--pull-policy=update",
        "--rm",
        "--quiet",
        &name,
    ];
    assert_eq!(skim(update).success().stdout, OUTPUT);
}

#[test]
fn an_update_asks_for_no_layer_that_is_there() {
    let host = Host::new();
    let registry = registry(&host, Guard::None);
    let name = registry.image("app:1.0");
    let store = Store::new(&host, "update");
    let id = store.fetch([HTTP, &name]);
    let before = registry.requests();
    assert_eq!(store.fetch([HTTP, "--pull-policy=update", &name]), id);
    registry.push("oci:/opt/images/app.oci:next", "app:1.0", &[]);
    let pushed = registry.requests().len();
    let next = store.fetch([HTTP, &name]);
    assert_ne!(next, id);
    let requests = registry.requests();
    let layers = layers(&registry);
    let asked = |request: &&String| {
        request.contains("\"GET ")
            && layers
                .iter()
                .any(|digest| request.contains(digest.as_str()))
    };
    let again: Vec<_> = requests[pushed..].iter().filter(asked).collect();
    assert!(again.is_empty(), "{again:#?}");
    assert!(requests.len() > before.len());
}

#[test]
fn an_aci_by_https_gives_the_tree_that_umoci_unpacks() {
    let host = Host::new();
    let authority = Authority::new(host.directory("ca"));
    let files = host.directory("files");
    for name in ["app.aci", "app-xz.aci"] {
        fs::copy(image(name), files.join(name)).expect("cannot copy an image");
    }
    let server = https(&files, &authority);
    let url = |path: &str| format!("https://127.0.0.1:{}/{path}", server.port());
    let store = Store::new(&host, "https");
    store.refuse("certificate|unknownissuer|tls", [UNSIGNED, &url("app.aci")]);
    let _trusted = authority.trusted();
    let id = store.fetch([UNSIGNED, &url("app.aci")]);
    store.tree(&id).assert_like(&app_tree(&host), "by https");
    let origin = store.listed(&id)["origin"].to_string();
    assert!(origin.contains(&url("app.aci")), "{origin}");
    for path in ["app-xz.aci", "moved/app-xz.aci"] {
        let other = Store::new(&host, &path.replace('/', "-"));
        assert_eq!(other.fetch([UNSIGNED, &url(path)]), id);
    }
    store.refuse("absent.aci", [UNSIGNED, &url("absent.aci")]);
}

#[test]
fn credentials_that_others_may_read_are_still_read() {
    let host = Host::new();
    let registry = registry(&host, Guard::Basic);
    let _trusted = registry.authority().trusted();
    let file = credentials(&host, "open/auth.json", &registry.address(), PASSWORD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("cannot chmod");
    let store = Store::new(&host, "open").variable("REGISTRY_AUTH_FILE", file);
    store.fetch([registry.image("app:1.0")]);
}

#[test]
fn a_broken_file_of_credentials_is_named() {
    let host = Host::new();
    let registry = registry(&host, Guard::Basic);
    let _trusted = registry.authority().trusted();
    let file = host.scratch().join("broken.json");
    fs::write(&file, "{ no JSON").expect("cannot write a file");
    let store = Store::new(&host, "broken").variable("REGISTRY_AUTH_FILE", file);
    store.refuse("broken.json", [registry.image("app:1.0")]);
}
