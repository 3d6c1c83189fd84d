//! A store of a test's own.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{Outcome, limited, run};
use super::host::Host;
use super::tree::Tree;

/// What the foreign tools have written.
pub(crate) const IMAGES: &str = "/opt/images";

/// The path of one of the images.
pub(crate) fn image(name: &str) -> String {
    format!("{IMAGES}/{name}")
}

/// The tree of the app, as umoci unpacks it.
#[track_caller]
pub(crate) fn app_tree(host: &Host) -> Tree {
    let bundle = host.scratch().join("umoci-bundle");
    let source = image("app.oci:1.0");
    let args = ["unpack", "--image", &source, &bundle.to_string_lossy()].map(str::to_owned);
    run("umoci", args).success();
    Tree::read(&bundle.join("rootfs"))
}

/// A skim directory with nothing in it but what the test imports; goes with the test's scratch.
pub(crate) struct Store {
    directory: PathBuf,
    flags: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Store {
    /// An empty store.
    pub(crate) fn new(host: &Host, name: &str) -> Self {
        Self {
            // skim makes it.
            directory: host.scratch().join(format!("store-{name}")),
            flags: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Gives every skim that is run a flag, before its verb.
    pub(crate) fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Sets an environment variable of every skim that is run.
    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    /// Where skim keeps everything of this store.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// `skim --dir=… ARGS…`, not yet started; its parent is a timeout(1).
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> std::process::Command {
        let mut command = limited("skim");
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.envs(variables).arg(self.dir()).args(&self.flags);
        command.args(args);
        command
    }

    /// `--dir=…`.
    pub(crate) fn dir(&self) -> OsString {
        let mut flag = OsString::from("--dir=");
        flag.push(&self.directory);
        flag
    }

    /// Runs `skim --dir=… ARGS…` to its end.
    #[track_caller]
    pub(crate) fn skim<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        let output = self.command(args).output();
        output.expect("cannot run skim").into()
    }

    /// `skim fetch --full ARGS…`; the ID.
    #[track_caller]
    pub(crate) fn fetch<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.skim(
            ["fetch", "--full"]
                .map(OsString::from)
                .into_iter()
                .chain(args),
        )
        .line()
    }

    /// `skim fetch --quiet ARGS…` fails with one line, in which `says` occurs, and with code 254;
    /// the store is what it was.
    #[track_caller]
    pub(crate) fn refuse<S: AsRef<OsStr>>(&self, says: &str, args: impl IntoIterator<Item = S>) {
        let before = self.contents();
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let quiet = ["fetch", "--quiet"].map(OsString::from);
        let outcome = self.skim(quiet.into_iter().chain(args));
        assert_one_line(&outcome, says);
        assert_eq!(self.contents(), before, "left behind by {outcome:#?}");
    }

    /// What lies in the store, but for locks and the index of files that were read.
    #[track_caller]
    pub(crate) fn contents(&self) -> BTreeSet<String> {
        let images = self.directory.join("images");
        if !images.exists() {
            return BTreeSet::new();
        }
        let images = images.to_str().expect("the path is UTF-8");
        let index = format!("{images}/files");
        let args = [
            images,
            "-mindepth",
            "2",
            "-path",
            &index,
            "-prune",
            "-o",
            "-printf",
            "%P\n",
        ];
        let listing = run("find", args).success().stdout;
        listing.lines().map(str::to_owned).collect()
    }

    /// The names in one of the store's directories, such as `blobs`.
    #[track_caller]
    pub(crate) fn names(&self, directory: &str) -> BTreeSet<String> {
        let start = format!("{directory}/");
        self.contents()
            .iter()
            .filter_map(|path| path.strip_prefix(&start))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// `skim image list --format=json --full`.
    #[track_caller]
    pub(crate) fn images(&self) -> Vec<Value> {
        let args = ["image", "list", "--format=json", "--full"];
        json(&self.skim(args).success())
    }

    /// The image with this ID, as `image list` has it.
    #[track_caller]
    pub(crate) fn listed(&self, id: &str) -> Value {
        let images = self.images();
        let image = images.iter().find(|image| image["id"] == id);
        image
            .unwrap_or_else(|| panic!("{id} is not among {images:#?}"))
            .clone()
    }

    /// `skim image inspect`.
    #[track_caller]
    pub(crate) fn inspect(&self, id: &str) -> Value {
        let outcome = self.skim(["image", "inspect", id]).success();
        match json(&outcome) {
            // Of one image, either form will do.
            Value::Array(images) => images.into_iter().next().expect("it tells of one image"),
            other => other,
        }
    }

    /// Where an image is unpacked.
    #[track_caller]
    pub(crate) fn tree_path(&self, id: &str) -> PathBuf {
        let inspected = self.inspect(id);
        let path = inspected["tree"].as_str();
        path.unwrap_or_else(|| panic!("no tree in {inspected:#}"))
            .into()
    }

    /// An image's tree.
    #[track_caller]
    pub(crate) fn tree(&self, id: &str) -> Tree {
        Tree::read(&self.tree_path(id))
    }

    /// Fails if imports that ended left something that no image needs.
    #[track_caller]
    pub(crate) fn assert_no_debris(&self) {
        for directory in ["tmp", "partial"] {
            let names = self.names(directory);
            assert!(names.is_empty(), "left in {directory}: {names:?}");
        }
        let trees = self.names("trees").len();
        let images = self.images().len();
        assert!(trees <= images, "{trees} trees of {images} images");
    }
}

/// One line on stderr, in which `says` occurs; nothing on stdout; code 254.
#[track_caller]
pub(crate) fn assert_one_line(outcome: &Outcome, says: &str) {
    assert_eq!(outcome.code, Some(254), "{outcome:#?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    let said = outcome.stderr.to_lowercase();
    let found = says
        .to_lowercase()
        .split('|')
        .any(|word| said.contains(word));
    assert!(found, "expected {says:?} in {outcome:#?}");
    let printable = outcome.stderr.chars().all(|c| c == '\n' || !c.is_control());
    assert!(printable, "{outcome:#?}");
}

#[track_caller]
fn json<T: serde::de::DeserializeOwned>(outcome: &Outcome) -> T {
    serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error} in {}", outcome.stdout))
}
