//! Downloads that were interrupted go on where they were.

use std::fs;
use std::process::{Child, Stdio};

use crate::support::command::{Outcome, run};
use crate::support::host::Host;
use crate::support::proxy::{Fault, Proxy};
use crate::support::registry::{Guard, Registry};
use crate::support::store::{Store, image};

const HTTP: &str = "--insecure-options=http";

/// Where the first download is interrupted.
const INTERRUPTED: u64 = 40 << 20;

/// A registry with the demo's Docker, of one large layer, behind a proxy.
struct Download {
    // Dropped before what it leads to.
    proxy: Proxy,
    _registry: Registry,
    name: String,
    expected: String,
}

impl Download {
    #[track_caller]
    fn new(host: &Host) -> Self {
        let registry = Registry::start(host, Guard::None);
        let source = format!("oci-archive:{}", image("docker.oci.tar"));
        let digest = registry.push(&source, "docker:1.0", &[]);
        let proxy = Proxy::start(&registry.address());
        Self {
            name: format!("docker://{}/docker:1.0", proxy.address()),
            expected: digest.replace(':', "-"),
            proxy,
            _registry: registry,
        }
    }

    /// `skim fetch`, killed when the proxy has stalled in the middle of the layer.
    #[track_caller]
    fn kill_in_the_middle(&self, store: &Store) {
        self.proxy.fail_after(INTERRUPTED, Fault::Stall);
        let mut fetch = Fetch::start(store, &self.name);
        self.proxy.wait_for_faults(1);
        // What the proxy let through is on its way still.
        crate::support::journal::until("the download is kept", || partial(store) > INTERRUPTED / 2);
        fetch.kill();
    }

    /// Fails unless the rest, and only the rest, was asked for.
    #[track_caller]
    fn assert_resumed(&self) {
        let offsets = self.proxy.offsets();
        assert!(
            offsets.iter().any(|offset| *offset >= INTERRUPTED / 2),
            "no download went on: {:#?}",
            self.proxy.requests()
        );
    }
}

/// How many bytes the store keeps of downloads under way.
fn partial(store: &Store) -> u64 {
    let entries = fs::read_dir(store.directory().join("images/partial"));
    let files = entries.into_iter().flatten().map_while(Result::ok);
    files
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// A skim that runs.
struct Fetch(Child);

impl Fetch {
    #[track_caller]
    fn start(store: &Store, name: &str) -> Self {
        let child = store
            .command(["fetch", "--quiet", HTTP, name])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("cannot run skim"))
    }

    /// Kills skim, of which timeout(1) is the parent, and waits until it is gone.
    #[track_caller]
    fn kill(&mut self) {
        let parent = self.0.id().to_string();
        run("pkill", ["--signal", "KILL", "--parent", &parent]).success();
        self.0.wait().expect("cannot wait for skim");
    }
}

#[test]
fn a_download_that_was_killed_goes_on_where_it_was() {
    let host = Host::new();
    let download = Download::new(&host);
    let store = Store::new(&host, "killed");
    download.kill_in_the_middle(&store);
    assert!(store.images().is_empty());
    assert_eq!(store.fetch([HTTP, &download.name]), download.expected);
    download.assert_resumed();
    store.assert_no_debris();
}

/// By itself, or when it is asked again.
#[test]
fn a_download_that_was_cut_goes_on_where_it_was() {
    let host = Host::new();
    let download = Download::new(&host);
    let store = Store::new(&host, "cut");
    download.proxy.fail_after(INTERRUPTED, Fault::Cut);
    let first: Outcome = store
        .command(["fetch", "--quiet", HTTP, &download.name])
        .output()
        .expect("cannot run skim")
        .into();
    assert!(matches!(first.code, Some(0 | 254)), "{first:#?}");
    assert_eq!(store.fetch([HTTP, &download.name]), download.expected);
    download.assert_resumed();
    store.assert_no_debris();
}

/// What is on the disk may not be what was sent.
#[test]
fn a_partial_download_that_was_damaged_does_not_become_an_image() {
    let host = Host::new();
    let download = Download::new(&host);
    let store = Store::new(&host, "damaged");
    download.kill_in_the_middle(&store);
    let partials = fs::read_dir(store.directory().join("images/partial"));
    for file in partials.expect("there is a partial download").flatten() {
        let path = file.path();
        let mut content = fs::read(&path).expect("it can be read");
        for byte in content.iter_mut().take(1 << 20) {
            *byte ^= 0xff;
        }
        fs::write(&path, content).expect("it can be written");
    }
    // It notices at once and downloads it all, or refuses and does so when it is asked again.
    let first = store.skim(["fetch", "--quiet", HTTP, &download.name]);
    assert!(matches!(first.code, Some(0 | 254)), "{first:#?}");
    assert_eq!(store.fetch([HTTP, &download.name]), download.expected);
    store
        .skim(["image", "verify", &download.expected])
        .success();
    store.assert_no_debris();
}

#[test]
fn two_downloads_of_one_image_at_once_both_end_well() {
    let host = Host::new();
    let download = Download::new(&host);
    let store = Store::new(&host, "twice");
    let both = [(); 2].map(|()| Fetch::start(&store, &download.name));
    for fetch in both {
        let output = fetch.0.wait_with_output().expect("cannot wait for skim");
        let id = Outcome::from(output).line();
        assert!(download.expected.starts_with(&id), "{id}");
    }
    assert_eq!(store.images().len(), 1);
    store.assert_no_debris();
}
