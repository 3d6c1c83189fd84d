//! Images, built on the fly.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::command::run;
use super::host::Host;

/// Static and foreign programs to make images of.
pub(crate) const PROGRAMS: &str = "/opt/programs";

/// The commands of busybox that images get links to.
const APPLETS: [&str; 11] = [
    "cat", "echo", "env", "false", "id", "printf", "sh", "sleep", "test", "touch", "true",
];

/// An image being made: a directory with `manifest` and `rootfs/`.
pub(crate) struct Image {
    directory: PathBuf,
    name: String,
    app: Value,
    annotations: Vec<Value>,
}

impl Image {
    /// An image with an empty rootfs, whose app runs `/bin/true` as root.
    #[track_caller]
    pub(crate) fn empty(host: &Host, name: &str) -> Self {
        let directory = host.directory(&format!("{name}.image"));
        fs::create_dir(directory.join("rootfs")).expect("cannot make the rootfs");
        // What a package manager or a build tool makes of it; a umask may be stricter.
        mode(&directory.join("rootfs"), 0o755);
        let app = json!({ "exec": ["/bin/true"], "user": "0", "group": "0" });
        Self {
            directory,
            name: name.to_owned(),
            app,
            annotations: Vec::new(),
        }
    }

    /// An image with a static busybox, every command of which is an absolute symlink, and a
    /// program `/bin/dump` that writes down what it was given.
    #[track_caller]
    pub(crate) fn busybox(host: &Host, name: &str) -> Self {
        let mut image = Self::empty(host, name)
            .program("busybox", "bin/busybox")
            .program("dump", "bin/dump");
        for applet in APPLETS {
            image = image.symlink("/bin/busybox", &format!("bin/{applet}"));
        }
        image
            .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
            .file("etc/group", "root:x:0:\n", 0o644)
    }

    /// An image whose rootfs is a copy of a whole tree among the programs.
    #[track_caller]
    pub(crate) fn tree(host: &Host, name: &str, tree: &str) -> Self {
        let image = Self::empty(host, name);
        run(
            "cp",
            [
                "-a",
                &format!("{PROGRAMS}/{tree}/."),
                &image.path("").to_string_lossy(),
            ],
        )
        .success();
        image
    }

    /// The path in the rootfs, as a path of the host.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.join("rootfs").join(path)
    }

    /// Copies one of the programs into the image.
    #[track_caller]
    fn program(self, program: &str, path: &str) -> Self {
        let contents = fs::read(Path::new(PROGRAMS).join(program)).expect("cannot read a program");
        self.file(path, contents, 0o755)
    }

    /// Adds a file, and the directories above it.
    #[track_caller]
    pub(crate) fn file(self, path: &str, contents: impl AsRef<[u8]>, permissions: u32) -> Self {
        let file = self.new_path(path);
        fs::write(&file, contents).expect("cannot write a file of the image");
        mode(&file, permissions);
        self
    }

    /// Adds a symbolic link, and the directories above it.
    #[track_caller]
    pub(crate) fn symlink(self, target: &str, path: &str) -> Self {
        symlink(target, self.new_path(path)).expect("cannot make a link of the image");
        self
    }

    #[track_caller]
    fn new_path(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        let parent = path.parent().expect("a path in the rootfs has a parent");
        fs::create_dir_all(parent).expect("cannot make a directory of the image");
        path
    }

    /// What the app executes.
    pub(crate) fn exec(self, exec: &[&str]) -> Self {
        self.app("exec", json!(exec))
    }

    /// Whom the app runs as.
    pub(crate) fn user(self, user: &str, group: &str) -> Self {
        self.app("user", json!(user)).app("group", json!(group))
    }

    /// A field of the manifest's `app`.
    pub(crate) fn app(mut self, field: &str, value: Value) -> Self {
        self.app[field] = value;
        self
    }

    /// An annotation.
    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations
            .push(json!({ "name": name, "value": value }));
        self
    }

    /// Writes the manifest and packs the image.
    #[track_caller]
    pub(crate) fn build(self) -> PathBuf {
        let manifest = self.manifest().to_string();
        self.build_with(&manifest, &["manifest", "rootfs"])
    }

    /// Packs the members named, with a manifest of the test's own.
    #[track_caller]
    pub(crate) fn build_with(self, manifest: &str, members: &[&str]) -> PathBuf {
        fs::write(self.directory.join("manifest"), manifest).expect("cannot write the manifest");
        let archive = self.directory.with_extension("aci");
        let mut args: Vec<_> = ["--create", "--xattrs", "--xattrs-include=*", "--file"]
            .map(Into::into)
            .into();
        args.extend([
            archive.clone().into_os_string(),
            "--directory".into(),
            self.directory.into(),
        ]);
        args.extend(members.iter().map(Into::into));
        run("tar", args).success();
        archive
    }

    /// The image's manifest.
    pub(crate) fn manifest(&self) -> Value {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            other => other,
        };
        json!({
            "acKind": "ImageManifest",
            "acVersion": "0.8.11",
            "name": format!("example.com/{}", self.name),
            "labels": [
                { "name": "os", "value": "linux" },
                { "name": "arch", "value": arch },
                { "name": "version", "value": "1.0.0" },
            ],
            "app": self.app,
            "annotations": self.annotations,
        })
    }
}

#[track_caller]
fn mode(path: &Path, permissions: u32) {
    let permissions = fs::Permissions::from_mode(permissions);
    fs::set_permissions(path, permissions)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
