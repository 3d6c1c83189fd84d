//! Tests of what the generator writes.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config;

/// Directories of pod files, and the one that is written to.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("units")).unwrap();
        Self { root }
    }

    fn put(&self, file: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.root.path().join(file);
        let name = path.file_name().unwrap().to_str().unwrap();
        config::write(path.parent().unwrap(), name, text.as_ref()).unwrap();
        self
    }

    fn mode(&self, file: &str, mode: u32) -> &Self {
        let path = self.root.path().join(file);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Writes all units; returns what was complained of.
    fn generate(&self) -> Vec<String> {
        let directories = ["etc", "run", "usr"].map(|name| self.root.path().join(name));
        let search = SearchPath {
            directories: directories.to_vec(),
        };
        let told = RefCell::new(Vec::new());
        let complain = |line: &str| told.borrow_mut().push(line.to_string());
        let units = self.root.path().join("units");
        Writer::new(&units, Path::new("/usr/bin/skim"), &complain).write_all(&search);
        told.into_inner()
    }

    fn has(&self, path: &str) -> bool {
        let path = self.root.path().join("units").join(path);
        path.symlink_metadata().is_ok()
    }

    /// The service's unit where it is one that fails, for this reason.
    fn fails(&self, name: &str, reason: &str) -> bool {
        let path = self.root.path().join(format!("units/{name}.service"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.contains("whose file is faulty") && text.contains(reason)
    }
}

const APP: &str = "[App web]\nImage=a\n";

const WANTED: &str = "[Install]\nWantedBy=multi-user.target\n";

const LINK: &str = "multi-user.target.wants/web.service";

#[test]
fn what_can_be_read_of_a_faulty_pod_file_holds() {
    let whole = format!("{APP}{WANTED}");
    let latin = [whole.as_bytes(), b"# \xe9\n"].concat();
    for (name, file, dropin, mode) in [
        (
            "drop-in of others",
            whole.as_bytes(),
            &b"[Unit]\n"[..],
            0o664,
        ),
        ("drop-in not UTF-8", whole.as_bytes(), b"\xff", 0o644),
        ("file not UTF-8", &latin, b"[Unit]\n", 0o644),
    ] {
        let host = Host::new();
        host.put("etc/web.skim", file)
            .put("etc/web.skim.d/a.conf", dropin)
            .mode("etc/web.skim.d/a.conf", mode);
        assert_eq!(host.generate().len(), 1, "{name}");
        assert!(host.fails("web", "web.skim") && host.has(LINK), "{name}");
    }
    // The pod file itself cannot be read, but its drop-ins can.
    let host = Host::new();
    host.put("etc/web.skim", APP)
        .mode("etc/web.skim", 0o664)
        .put("etc/web.skim.d/a.conf", WANTED);
    host.generate();
    assert!(host.fails("web", "written to by others") && host.has(LINK));
    let host = Host::new();
    host.put("usr/db.skim", format!("[Pod]\nGenerate=no\n{APP}"))
        .put("etc/db.skim.d/a.conf", [0xff]);
    host.generate();
    assert!(!host.has("db.service"));
}

#[test]
fn no_pod_runs_without_what_may_override_it() {
    let host = Host::new();
    host.put("etc/other.skim", APP)
        .mode("etc", 0o775)
        .put("usr/web.skim", format!("{APP}{WANTED}"))
        .put("usr/db.skim", format!("[Pod]\nGenerate=no\n{APP}"));
    let told = host.generate();
    assert!(
        told.iter().any(|line| line.contains("etc: it may be")),
        "{told:?}"
    );
    assert!(host.fails("web", "written to by others") && host.has(LINK));
    assert!(!host.has("other.service") && !host.has("db.service"));
}

#[test]
fn a_collision_leaves_no_half_of_a_pod() {
    let app = |name: &str| format!("[App {name}]\nImage=a\nSocket=80\n{WANTED}");
    let host = Host::new();
    host.put("etc/a.skim", app("b-c"))
        .put("etc/a-b.skim", app("c"))
        .put("etc/d.skim", format!("{APP}[Install]\nAlias=e.service\n"))
        .put("etc/e.skim", format!("{APP}{WANTED}"));
    let told = host.generate();
    let (socket, service) = (
        "a-b-c.socket is made of another",
        "e.service is made of another",
    );
    assert!(host.has("a-b-c.socket") && host.has("multi-user.target.wants/a.service"));
    assert!(host.fails("a-b", socket) && !host.fails("a", ""));
    assert!(host.has("multi-user.target.wants/a-b.service"));
    // Nothing can stand for a pod whose own name is another's.
    assert!(told.iter().any(|line| line.contains(service)), "{told:?}");
    assert!(!host.has("multi-user.target.wants/e.service"));
    let link = host.root.path().join("units/e.service");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("d.service"));
}
