//! What an import says while it works.

use std::process::Stdio;

use crate::support::command::{Outcome, run};
use crate::support::host::Host;
use crate::support::registry::{Guard, Registry};
use crate::support::store::{Store, image};

const HTTP: &str = "--insecure-options=http";

/// A registry with the demo's Docker: a layer of some size.
#[track_caller]
fn registry(host: &Host) -> Registry {
    let registry = Registry::start(host, Guard::None);
    registry.push(
        &format!("oci-archive:{}", image("docker.oci.tar")),
        "docker:1.0",
        &[],
    );
    registry
}

/// What a command says on a terminal, which script(1) gives it; a service has none, nor its kind.
#[track_caller]
fn on_a_terminal(command: &str) -> String {
    let script = ["TERM=xterm", "script", "--quiet", "--return", "--command"];
    let args = script.into_iter().chain([command, "/dev/null"]);
    run("env", args).success().stdout
}

#[test]
fn on_a_terminal_a_bar_for_each_layer_shows_bytes_and_rate() {
    let host = Host::new();
    let registry = registry(&host);
    let store = Store::new(&host, "terminal");
    let fetch = format!(
        "skim --dir={} fetch {HTTP} {}",
        store.directory().display(),
        registry.image("docker:1.0")
    );
    let said = on_a_terminal(&fetch);
    // Lines are written over: by a carriage return or a movement of the cursor.
    assert!(
        said.contains('\u{1b}') || said.trim_end().contains('\r'),
        "{said:?}"
    );
    assert!(said.contains("MiB") || said.contains("MB"), "{said:?}");
    assert!(said.contains("/s"), "{said:?}");
    let quiet = format!(
        "skim --dir={} fetch --quiet {HTTP} {}",
        Store::new(&host, "quiet").directory().display(),
        registry.image("docker:1.0")
    );
    let said = on_a_terminal(&quiet);
    assert_eq!(said.lines().count(), 1, "{said:?}");
    assert!(said.starts_with("sha256-"), "{said:?}");
}

#[test]
fn elsewhere_it_is_plain_lines_on_stderr() {
    let host = Host::new();
    let registry = registry(&host);
    let store = Store::new(&host, "pipe");
    let outcome = store
        .skim(["fetch", HTTP, &registry.image("docker:1.0")])
        .success();
    assert!(!outcome.stderr.is_empty(), "{outcome:#?}");
    assert!(outcome.stderr.ends_with('\n'), "{outcome:#?}");
    assert!(
        outcome.stderr.chars().all(|c| c == '\n' || !c.is_control()),
        "{outcome:#?}"
    );
    assert!(outcome.stderr.lines().count() < 50, "{outcome:#?}");
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome:#?}");
}

#[test]
fn quiet_is_quiet() {
    let host = Host::new();
    let registry = registry(&host);
    for source in [
        &*registry.image("docker:1.0"),
        "oci:/opt/images/app.oci:1.0",
        "/opt/images/app.aci",
    ] {
        let store = Store::new(&host, &source.replace(['/', ':'], "-"));
        let outcome = store.skim(["fetch", "--quiet", HTTP, source]).success();
        assert_eq!(outcome.stderr, "", "{source}");
        assert_eq!(outcome.stdout.lines().count(), 1, "{source}");
    }
}

/// Whoever reads the progress goes away: the import goes on.
#[test]
fn a_closed_stderr_does_not_stop_an_import() {
    let host = Host::new();
    let registry = registry(&host);
    let store = Store::new(&host, "closed");
    let mut child = store
        .command(["fetch", HTTP, &registry.image("docker:1.0")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run skim");
    drop(child.stderr.take());
    let output = child.wait_with_output().expect("cannot wait for skim");
    Outcome::from(output).success();
    assert_eq!(store.images().len(), 1);
}
