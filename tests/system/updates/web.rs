//! A pod that runs as a service, and its image in several versions.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::archive::{Layout, config};
use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::image::Image;
use crate::support::pod::Pod;
use crate::support::registry::Registry;
use crate::support::systemd;

/// What an app does that does nothing.
pub(super) const FOREVER: &str = "exec sleep 1000";

/// For `[Pod]`: a registry without TLS may be asked.
pub(super) const HTTP: &str = "InsecureOptions=http\n";

/// For `[App]`: it says when it is ready.
pub(super) const NOTIFY: &str = "Notify=yes\nNotifyAccess=all\n";

/// A pod file, and the service that the generator makes of it: both are gone when dropped.
pub(super) struct Unit {
    name: &'static str,
    unit: String,
}

/// The service of a pod file with one app.
pub(super) struct Web<'a> {
    host: &'a Host,
    service: Unit,
    pub(super) name: &'static str,
    pub(super) unit: String,
    /// What stands in `[Pod]` and in `[App web]`.
    sections: [String; 2],
}

impl Unit {
    /// Writes the pod file, and has its unit made.
    #[track_caller]
    pub(super) fn new(name: &'static str, text: &str) -> Self {
        let unit = Self {
            name,
            unit: format!("{name}.service"),
        };
        fs::create_dir_all("/etc/skim").expect("/etc/skim can be made");
        unit.write_file(text);
        unit.write_unit("[Unit]\nStartLimitIntervalSec=0\n");
        unit
    }

    /// Writes the pod file.
    #[track_caller]
    fn write_file(&self, text: &str) {
        fs::write(self.file(), text).expect("the pod file can be written");
    }

    /// Writes a drop-in of the pod file.
    #[track_caller]
    pub(super) fn drop_in(&self, text: &str) {
        self.write_drop_in("test.conf", text);
    }

    /// Writes what concerns the unit: `[Unit]` and `[Service]`.
    #[track_caller]
    fn write_unit(&self, settings: &str) {
        // Docker's pod files have units that are shipped with them.
        self.write_drop_in("unit.conf", &format!("[Pod]\nGenerate=yes\n{settings}"));
    }

    #[track_caller]
    fn write_drop_in(&self, name: &str, text: &str) {
        let directory = format!("{}.d", self.file());
        fs::create_dir_all(&directory).expect("it can be made");
        fs::write(format!("{directory}/{name}"), text).expect("it can be written");
        run("systemctl", ["daemon-reload"]).success();
    }

    /// Starts it.
    #[track_caller]
    pub(super) fn start(&self) {
        let outcome = run("systemctl", ["start", &self.unit]);
        if outcome.code != Some(0) {
            let log = run("journalctl", ["--lines=30", "--unit", &self.unit]).stdout;
            panic!("{outcome:#?}\n{log}");
        }
    }

    fn file(&self) -> String {
        format!("/etc/skim/{}.skim", self.name)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // They may be down already, or not be there, which is what is wanted.
        let socket = format!("{}-web.socket", self.name);
        run("systemctl", ["stop", &self.unit, &socket]);
        run("systemctl", ["reset-failed", &self.unit]);
        let versions = format!("/var/lib/skim/services/{}", self.name);
        let drop_ins = format!("{}.d", self.file());
        run("rm", ["-rf", &self.file(), &versions, &drop_ins]);
        run("systemctl", ["daemon-reload"]);
    }
}

impl<'a> Web<'a> {
    /// Of the file that [`Web::put`] writes.
    #[track_caller]
    pub(super) fn new(host: &'a Host, name: &'static str, pod: &str, app: &str) -> Self {
        let image = host.scratch().join("web.aci").display().to_string();
        Self::of(host, name, pod, app, &image)
    }

    /// Of an image of any name.
    #[track_caller]
    pub(super) fn of(
        host: &'a Host,
        name: &'static str,
        pod: &str,
        app: &str,
        image: &str,
    ) -> Self {
        let sections = [
            format!("UpdateTimeoutSec=30\nUpdateSettleSec=2\n{pod}"),
            app.to_owned(),
        ];
        Self {
            host,
            service: Unit::new(name, &text(&sections, image)),
            name,
            unit: format!("{name}.service"),
            sections,
        }
    }

    /// Writes the pod file, of this image.
    #[track_caller]
    pub(super) fn write_file(&self, image: &str) {
        self.service.write_file(&text(&self.sections, image));
    }

    /// Writes what concerns the unit: `[Unit]` and `[Service]`.
    #[track_caller]
    pub(super) fn write_unit(&self, settings: &str) {
        self.service.write_unit(settings);
    }

    fn image(&self, version: &str, script: &str) -> Image {
        Image::busybox(self.host, &format!("{}-{version}", self.name))
            .exec(&["/bin/sh", "-c", script])
            .app("environment", json!([{ "name": "WEB", "value": version }]))
    }

    /// An image that runs `script`.
    #[track_caller]
    pub(super) fn build(&self, version: &str, script: &str) -> PathBuf {
        self.image(version, script).build()
    }

    /// Puts such an image in the place of the one before.
    #[track_caller]
    pub(super) fn put(&self, version: &str, script: &str) {
        self.put_image(self.image(version, script));
    }

    /// Puts an image whose program is missing in the place of the one before.
    #[track_caller]
    pub(super) fn put_without_program(&self, version: &str) {
        self.put_image(self.image(version, "").exec(&["/bin/missing"]));
    }

    /// Puts an image with the program `/app` in the place of the one before.
    #[track_caller]
    pub(super) fn put_file(&self, version: &str, content: &str) {
        self.put_image(self.image(version, "").file("app", content, 0o755));
    }

    #[track_caller]
    fn put_image(&self, image: Image) {
        let place = self.host.scratch().join("web.aci");
        fs::rename(image.build(), place).expect("the image can be moved");
    }

    /// Pushes an image that runs forever to the registry, as `web:1`.
    #[track_caller]
    pub(super) fn push(&self, registry: &Registry, version: &str) {
        let image = self.image(version, FOREVER);
        let layer = self.host.scratch().join(format!("{version}.tar"));
        let directory = image.path("");
        let args = [
            "--create".as_ref(),
            "--file".as_ref(),
            layer.as_os_str(),
            "--directory".as_ref(),
            directory.as_os_str(),
            ".".as_ref(),
        ];
        run("tar", args).success();
        let layers = [fs::read(layer).expect("the layer is there")];
        let mut config = config(&layers);
        config["config"] = json!({
            "Entrypoint": ["/bin/sh", "-c", FOREVER],
            "Env": [format!("WEB={version}")],
        });
        let directory = self.host.scratch().join(format!("layout-{version}"));
        let mut layout = Layout::new(directory, &layers, &config);
        let source = format!("oci:{}", layout.write().display());
        registry.push(&source, "web:1", &[]);
    }

    /// Starts the unit.
    #[track_caller]
    pub(super) fn start(&self) {
        self.service.start();
    }

    /// `skim update ARGS… NAME`.
    #[track_caller]
    pub(super) fn update(&self, args: &[&str]) -> Outcome {
        skim([&["update"], args, &[self.name]].concat())
    }

    /// The running pod.
    #[track_caller]
    pub(super) fn pod(&self) -> Pod {
        let list = skim(["list", "--format=json"]).success().stdout;
        let list: Value = serde_json::from_str(&list).expect("it is JSON");
        let pods = list.as_array().expect("it is a list").iter();
        let running: Vec<_> = pods.filter(|pod| pod["state"] == "running").collect();
        assert_eq!(running.len(), 1, "{list:#}");
        Pod {
            uuid: running[0]["name"].as_str().expect("it has a UUID").into(),
        }
    }

    /// Which version the service runs.
    #[track_caller]
    pub(super) fn runs(&self) -> String {
        let pid = systemd::main_pid(&self.pod().service("web"));
        let environment = fs::read_to_string(format!("/proc/{pid}/environ"));
        let environment = environment.expect("the app runs");
        let mut variables = environment.split('\0');
        let version = variables.find_map(|variable| variable.strip_prefix("WEB="));
        version.expect("it has the variable").to_owned()
    }

    /// `skim rollback --list`.
    #[track_caller]
    pub(super) fn versions(&self) -> Value {
        let list = skim(["rollback", "--list", "--format=json", self.name]);
        serde_json::from_str(&list.success().stdout).expect("it is JSON")
    }

    /// The number of the current version.
    #[track_caller]
    pub(super) fn current(&self) -> u64 {
        let versions = self.versions();
        let mut all = versions.as_array().expect("it is a list").iter();
        let current = all.find(|version| version["current"] == true);
        let number = current.and_then(|version| version["version"].as_u64());
        number.unwrap_or_else(|| panic!("none is current: {versions:#}"))
    }
}

/// The pod file, of this image.
fn text([pod, app]: &[String; 2], image: &str) -> String {
    format!("[Pod]\n{pod}\n[App web]\nImage={image}\n{app}")
}
