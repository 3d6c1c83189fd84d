//! Tests of where pod files are found.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// Three directories, and how to put files into them.
struct Places {
    root: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn search(&self) -> SearchPath {
        let directories = ["etc", "run", "usr"].map(|name| self.root.path().join(name));
        SearchPath {
            directories: directories.to_vec(),
        }
    }

    fn put(&self, file: &str, text: &str) -> &Self {
        config::write(
            self.root.path().join(file).parent().unwrap(),
            Path::new(file).file_name().unwrap().to_str().unwrap(),
            text.as_bytes(),
        )
        .unwrap();
        self
    }

    fn mask(&self, file: &str) {
        let path = self.root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/dev/null", path).unwrap();
    }
}

fn app(image: &str) -> String {
    format!("[App web]\nImage={image}\n")
}

#[test]
fn the_first_directory_wins_and_an_empty_file_masks() {
    let places = Places::new();
    places
        .put("usr/web.skim", &app("usr"))
        .put("run/web.skim", &app("run"))
        .put("usr/db.skim", &app("usr"))
        .put("usr/off.skim", &app("usr"))
        .put("run/off.skim", "")
        .put("etc/policy.json", "{}")
        .put("usr/broken.skim", "[");
    places.mask("etc/db.skim");
    let search = places.search();
    let names: Vec<_> = search
        .names()
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["broken", "web"]);
    let web = search.load("web").unwrap().unwrap();
    assert_eq!(web.apps[0].arguments.image, "run");
    assert_eq!(web.path, places.root.path().join("run/web.skim"));
    for masked in ["db", "off", "none"] {
        assert!(search.load(masked).unwrap().is_none(), "{masked}");
    }
    let error = format!("{:#}", search.describe("off").unwrap_err());
    assert!(error.contains("run/off.skim is masked"), "{error}");
    let error = format!("{:#}", search.describe("none").unwrap_err());
    assert!(
        error.contains("no pod file none.skim") && error.contains("/usr"),
        "{error}"
    );
}

#[test]
fn drop_ins_may_be_of_several_pod_files() {
    let label = |value: &str| format!("[App web]\nEnvironment={value}=1\n");
    let places = Places::new();
    places
        .put("usr/node-web-1.skim", "[App web]\nImage=a\n")
        .put("usr/node-web-1.skim.d/10-one.conf", &label("OWN"))
        .put("etc/node-web-.skim.d/10-one.conf", &label("HIDDEN"))
        .put("etc/node-web-.skim.d/15-web.conf", &label("WEB"))
        .put("etc/node-.skim.d/20-node.conf", &label("NODE"))
        .put("etc/skim.d/12-all.conf", &label("ALL"))
        // Not up to a dash.
        .put("etc/node.skim.d/30-not.conf", &label("NOT"))
        .put("etc/node-web.skim.d/30-not.conf", &label("NOT"));
    let file = places.search().load("node-web-1").unwrap().unwrap();
    let flags = &file.apps[0].arguments.flags;
    let names: Vec<_> = flags
        .environment
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["OWN", "ALL", "WEB", "NODE"]);
}

#[test]
fn drop_ins_of_all_directories_are_merged_by_name() {
    let places = Places::new();
    places
        .put(
            "usr/web.skim",
            "[App web]\nImage=a\nEnvironment=A=1 B=1\nMemory=1G\nArguments=x\n",
        )
        .put(
            "usr/web.skim.d/20-vendor.conf",
            "[App web]\nEnvironment=A=vendor\n",
        )
        .put(
            "usr/web.skim.d/10-first.conf",
            "[App web]\nEnvironment=C=1\nImage=b\n",
        )
        .put(
            "run/web.skim.d/20-vendor.conf",
            "[App web]\nEnvironment=A=run\n",
        )
        .put(
            "etc/web.skim.d/30-local.conf",
            "[App web]\nMemory=\nArguments=\nArguments=y z\n[App db]\nImage=c\n",
        )
        .put("etc/web.skim.d/readme.txt", "not read");
    places.mask("etc/web.skim.d/15-none.conf");
    places.put(
        "usr/web.skim.d/15-none.conf",
        "[App web]\nEnvironment=MASKED=1\n",
    );
    let file = places.search().load("web").unwrap().unwrap();
    let flags = &file.apps[0].arguments.flags;
    let pairs: Vec<_> = flags
        .environment
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    assert_eq!(pairs, ["A=1", "B=1", "C=1", "A=run"]);
    assert_eq!(file.apps[0].arguments.image, "b");
    assert_eq!(file.apps[0].arguments.arguments, ["y", "z"]);
    assert_eq!(flags.memory, None);
    let names: Vec<_> = file.apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["web", "db"]);
    let read: Vec<_> = file
        .sources
        .iter()
        .map(|path| {
            path.strip_prefix(places.root.path())
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect();
    assert_eq!(
        read,
        [
            "usr/web.skim",
            "usr/web.skim.d/10-first.conf",
            "run/web.skim.d/20-vendor.conf",
            "etc/web.skim.d/30-local.conf"
        ]
    );
}

#[test]
fn what_cannot_be_read_is_told_with_its_path() {
    let places = Places::new();
    places.put("etc/web.skim", &app("a"));
    let file = places.root.path().join("etc/web.skim.d");
    fs::create_dir(&file).unwrap();
    symlink("nowhere", file.join("a.conf")).unwrap();
    let error = places.search().load("web").unwrap_err().to_string();
    assert!(
        error.contains("etc/web.skim.d/a.conf: it is a symbolic link to nothing"),
        "{error}"
    );
    fs::remove_file(file.join("a.conf")).unwrap();
    fs::write(file.join("a.conf"), [0xff]).unwrap();
    let error = places.search().load("web").unwrap_err().to_string();
    assert!(error.contains("a.conf: it is not UTF-8"), "{error}");
    let error = places.search().load("we b").unwrap_err().to_string();
    assert!(error.contains("only letters, digits"), "{error}");
    places.put("etc/m.json", "{");
    let error = format!("{:#}", places.search().describe("m").unwrap_err());
    assert!(error.contains("etc/m.json"), "{error}");
}
