//! Archives made to do harm: refused in one line, with nothing written outside the store and
//! nothing kept in it.

mod documents;
mod headers;

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::archive::{
    DEVICE, DIRECTORY, Entry, FIFO, HARD_LINK, Layout, SYMLINK, aci, config, docker_archive, tar,
};
use crate::support::command::run;
use crate::support::host::Host;
use crate::support::store::Store;
use crate::support::tree::Tree;

/// A store, and next to it what the archives reach for.
struct Case {
    scratch: PathBuf,
    outside: PathBuf,
    store: Store,
    before: Tree,
}

impl Case {
    #[track_caller]
    fn new(host: &Host) -> Self {
        let outside = host.directory("outside");
        fs::write(outside.join("file"), "as it was").expect("cannot write a file");
        fs::create_dir(outside.join("directory")).expect("cannot make a directory");
        Self {
            scratch: host.directory("archives"),
            before: Tree::read(&outside),
            outside,
            store: Store::new(host, "hostile"),
        }
    }

    #[track_caller]
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.scratch.join(name);
        fs::write(&path, bytes).expect("cannot write an archive");
        path
    }

    /// The file is refused with a line that names it, and has touched nothing.
    #[track_caller]
    fn refuse_file(&self, prefix: &str, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.store
            .refuse(&name, [format!("{prefix}{}", path.display())]);
        Tree::read(&self.outside).assert_like(&self.before, &name);
        assert!(self.store.images().is_empty(), "{name}");
    }

    #[track_caller]
    fn refuse_aci(&self, name: &str, bytes: &[u8]) {
        let path = self.write(&format!("{name}.aci"), bytes);
        self.refuse_file("", &path);
    }

    /// Refused in the rootfs of an ACI, and as a layer.
    #[track_caller]
    fn refuse(&self, name: &str, entries: &[Entry]) {
        self.refuse_aci(name, &tar(&aci(entries)));
        self.refuse_layers(name, &[tar(entries)]);
    }

    #[track_caller]
    fn refuse_layers(&self, name: &str, layers: &[Vec<u8>]) {
        let path = self.write(&format!("{name}.docker.tar"), &docker_archive(layers));
        self.refuse_file("docker-archive:", &path);
        let directory = self.scratch.join(format!("{name}.oci"));
        let mut layout = Layout::new(directory, layers, &config(layers));
        let path = layout.write().to_owned();
        self.refuse_file("oci:", &path);
    }

    /// A layout that a test has damaged.
    #[track_caller]
    fn refuse_layout(&self, name: &str, damage: impl FnOnce(&mut Layout)) {
        let layers = [tar(&[Entry::file("file", "content")])];
        let directory = self.scratch.join(format!("{name}.oci"));
        let mut layout = Layout::new(directory, &layers, &config(&layers));
        damage(&mut layout);
        let path = layout.write().to_owned();
        self.refuse_file("oci:", &path);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// What the archives here would be without their harm.
#[test]
fn archives_without_harm_are_imported() {
    let host = Host::new();
    let case = Case::new(&host);
    let entries = [
        Entry::new(DIRECTORY, "etc"),
        Entry::file("etc/file", "content"),
        Entry::link(SYMLINK, "etc/link", "file"),
        Entry::link(HARD_LINK, "etc/other", "etc/file"),
        Entry::pax("22 path=etc/ext\u{00e9}nded\n"),
        Entry::file("x", "named by its PAX header"),
    ];
    let aci_entries = aci(&entries[..4]);
    let aci_path = case.write("good.aci", &tar(&aci_entries));
    let layers = [tar(&entries)];
    let docker = case.write("good.docker.tar", &docker_archive(&layers));
    let directory = case.scratch.join("good.oci");
    let mut layout = Layout::new(directory, &layers, &config(&layers));
    for source in [
        text(&aci_path).to_owned(),
        format!("docker-archive:{}", docker.display()),
        format!("oci:{}", layout.write().display()),
    ] {
        let id = case.store.fetch([&source]);
        let file = case.store.tree_path(&id).join("etc/other");
        assert_eq!(fs::read_to_string(file).expect("it is there"), "content");
    }
}

#[test]
fn names_that_lead_out() {
    let host = Host::new();
    let case = Case::new(&host);
    for (name, path) in [
        ("parent", "../evil".to_owned()),
        ("deep-parent", "a/b/../../../../evil".to_owned()),
        ("inner-parent", "a/../evil".to_owned()),
        ("parent-alone", "..".to_owned()),
        ("absolute", text(&case.outside).to_owned() + "/evil"),
    ] {
        case.refuse(name, &[Entry::file(&path, "evil")]);
        case.refuse(
            &format!("{name}-directory"),
            &[Entry::new(DIRECTORY, &path)],
        );
        case.refuse(
            &format!("{name}-link"),
            &[Entry::link(SYMLINK, &path, "target")],
        );
    }
}

#[test]
fn names_through_links_that_lead_out() {
    let host = Host::new();
    let case = Case::new(&host);
    let outside = text(&case.outside).to_owned();
    let up = format!("{}{}", "../".repeat(40), outside.trim_start_matches('/'));
    for (name, target) in [("absolute", outside.as_str()), ("relative", &up)] {
        let link = Entry::link(SYMLINK, "out", target);
        case.refuse(
            &format!("{name}-file"),
            &[link.clone(), Entry::file("out/evil", "evil")],
        );
        case.refuse(
            &format!("{name}-replaced"),
            &[link.clone(), Entry::file("out/file", "evil")],
        );
        case.refuse(
            &format!("{name}-directory"),
            &[link.clone(), Entry::new(DIRECTORY, "out/evil")],
        );
        case.refuse(
            &format!("{name}-link-target"),
            &[link.clone(), Entry::link(HARD_LINK, "in", "out/file")],
        );
        // A directory that a later entry turns into a link.
        let directory = Entry::new(DIRECTORY, "out");
        case.refuse(
            &format!("{name}-turned"),
            &[directory, link.clone(), Entry::file("out/evil", "evil")],
        );
        // In two steps.
        let second = Entry::link(SYMLINK, "second", "out");
        case.refuse(
            &format!("{name}-twice"),
            &[link, second, Entry::file("second/evil", "evil")],
        );
    }
}

/// A layer reaches through what a lower one has made.
#[test]
fn layers_that_reach_out_through_lower_ones() {
    let host = Host::new();
    let case = Case::new(&host);
    let lower = tar(&[Entry::link(SYMLINK, "out", text(&case.outside))]);
    for (name, entry) in [
        ("file", Entry::file("out/evil", "evil")),
        ("replaced", Entry::file("out/file", "evil")),
        ("hard-link", Entry::link(HARD_LINK, "in", "out/file")),
        ("deeper", Entry::file("out/directory/evil", "evil")),
    ] {
        // It may land inside, where the link becomes a directory; never outside.
        let layers = [lower.clone(), tar(&[entry])];
        let path = case.write(&format!("{name}.docker.tar"), &docker_archive(&layers));
        let source = format!("docker-archive:{}", path.display());
        let outcome = case.store.skim(["fetch", "--quiet", &source]);
        assert!(matches!(outcome.code, Some(0 | 254)), "{outcome:#?}");
        Tree::read(&case.outside).assert_like(&case.before, name);
        let found = run("grep", ["-rl", "as it was", text(case.store.directory())]);
        assert_eq!(found.stdout, "", "{name}: what lies outside was taken in");
    }
    // Whiteouts remove nothing there either.
    for (name, path) in [
        ("whiteout", "out/.wh.file"),
        ("whiteout-directory", "out/.wh.directory"),
        ("opaque", "out/.wh..wh..opq"),
    ] {
        let layers = [lower.clone(), tar(&[Entry::file(path, "")])];
        let path = case.write(&format!("{name}.docker.tar"), &docker_archive(&layers));
        let source = format!("docker-archive:{}", path.display());
        case.store.skim(["fetch", "--quiet", &source]);
        Tree::read(&case.outside).assert_like(&case.before, name);
    }
}

#[test]
fn whiteouts_that_lead_out() {
    let host = Host::new();
    let case = Case::new(&host);
    for (name, path) in [
        ("of-the-parent", ".wh..."),
        ("of-itself", ".wh.."),
        ("of-nothing", ".wh."),
        ("of-the-parent-below", "a/.wh..."),
    ] {
        let lower = tar(&[Entry::new(DIRECTORY, "a")]);
        case.refuse_layers(name, &[lower, tar(&[Entry::file(path, "")])]);
    }
}

#[test]
fn hard_links_that_lead_out() {
    let host = Host::new();
    let case = Case::new(&host);
    let file = text(&case.outside).to_owned() + "/file";
    let up = format!("{}{}", "../".repeat(40), file.trim_start_matches('/'));
    for (name, target) in [
        ("up", up.as_str()),
        ("absent", "absent"),
        ("itself", "link"),
        ("empty", ""),
    ] {
        case.refuse(name, &[Entry::link(HARD_LINK, "link", target)]);
    }
    // Some take it as beneath the image's root: then it is not there.
    case.refuse("absolute", &[Entry::link(HARD_LINK, "link", &file)]);
}

/// Left out, or refused. A fifo leads nowhere: it may be there.
#[test]
fn devices_come_into_no_tree_and_fifos_hold_up_nobody() {
    let host = Host::new();
    let case = Case::new(&host);
    for (name, kind) in [("character", DEVICE), ("block", b'4'), ("fifo", FIFO)] {
        let entries = [Entry::new(kind, "special")];
        let path = case.write(&format!("{name}.aci"), &tar(&aci(&entries)));
        let outcome = case.store.skim(["fetch", "--quiet", text(&path)]);
        assert!(matches!(outcome.code, Some(0 | 254)), "{outcome:#?}");
        let layers = [tar(&entries)];
        let path = case.write(&format!("{name}.tar"), &docker_archive(&layers));
        let source = format!("docker-archive:{}", path.display());
        case.store.skim(["fetch", "--quiet", &source]);
    }
    let store = text(case.store.directory()).to_owned();
    for kind in ["c", "b"] {
        let found = run("find", [&*store, "-type", kind]).success().stdout;
        assert_eq!(found, "");
    }
}

#[test]
fn duplicate_entries() {
    let host = Host::new();
    let case = Case::new(&host);
    let file = Entry::file("file", "one");
    case.refuse("file", &[file.clone(), Entry::file("file", "two")]);
    case.refuse("dot", &[file.clone(), Entry::file("./file", "two")]);
    case.refuse("kind", &[file.clone(), Entry::new(DIRECTORY, "file")]);
    case.refuse("link", &[file, Entry::link(SYMLINK, "file", "elsewhere")]);
}
