//! A host on which the examples' names mean something.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::files;
use super::table::{How, Need, Row};
use crate::signatures::{Key, Signer};
use crate::support::command::{Outcome, limited, run, skim};
use crate::support::host::Host;
use crate::support::terminal::on_terminal;
use crate::support::trace::STATE;

/// What the examples write to beyond their own directory, and the store. What is there lies aside
/// meanwhile.
const PATHS: [&str; 8] = [
    "/etc/bash_completion.d",
    "/etc/fish",
    "/etc/skim",
    "/run/web.uuid",
    "/srv/db",
    "/tmp/etc",
    "/usr/local/share/zsh",
    STATE,
];

/// The place of what an example's name stands for.
pub(super) const UUID_FILE: &str = "/run/web.uuid";

/// A pod that an example has a name for.
struct Named {
    images: Vec<&'static str>,
    uuid: String,
}

/// The host. What was there before comes back when it is dropped.
pub(super) struct World {
    /// What else an example needs, such as a registry.
    surroundings: Vec<Box<dyn std::any::Any>>,
    pods: BTreeMap<&'static str, Named>,
    /// What stands for words of the examples.
    words: BTreeMap<&'static str, String>,
    variables: Vec<(&'static str, OsString)>,
    rows: usize,
    /// Where the example at hand runs.
    pub(super) directory: PathBuf,
    signer: Option<(Signer, Key)>,
    pub(super) host: Host,
    has_docker: bool,
    _places: Places,
}

impl World {
    /// An empty store, and the files that the examples name. The images of docker and containerd
    /// are real only where that is asked for, and then the store is that of the other tests, as
    /// they take long to import.
    #[track_caller]
    pub(super) fn new(has_docker: bool) -> Self {
        let host = Host::new();
        let places = Places::new(!has_docker);
        files::make(&host, has_docker);
        Self {
            surroundings: Vec::new(),
            pods: BTreeMap::new(),
            words: BTreeMap::new(),
            variables: Vec::new(),
            rows: 0,
            directory: host.scratch().to_owned(),
            signer: None,
            host,
            has_docker,
            _places: places,
        }
    }

    /// Keeps something until the end.
    pub(super) fn keep(&mut self, thing: impl std::any::Any) {
        self.surroundings.push(Box::new(thing));
    }

    /// Sets a variable of every example.
    pub(super) fn variable(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.push((name, value.into()));
    }

    /// The UUID of the pod that the examples call so.
    #[track_caller]
    pub(super) fn uuid(&self, name: &str) -> &str {
        &self.pods[name].uuid
    }

    /// What `skim status` calls the state of the pod.
    #[track_caller]
    pub(super) fn state(&self, name: &str) -> String {
        let text = skim(["status", self.uuid(name)]).success().stdout;
        let state = text.lines().find_map(|line| line.strip_prefix("state="));
        state.expect("a pod has a state").to_owned()
    }

    /// The key that the examples trust.
    pub(super) fn key(&self) -> &Key {
        &self.signer.as_ref().expect("there is a key").1
    }

    /// Whether the example at hand has left a file there, relative to its directory.
    pub(super) fn has(&self, path: &str) -> bool {
        self.directory.join(path).exists()
    }

    /// Runs an example and looks at what it has done.
    pub(super) fn try_out(&mut self, row: &Row) {
        self.prepare(row.needs);
        let words = row.text.split(' ');
        let words = words.map(|word| self.words.get(word).map_or(word, String::as_str));
        let text = words.collect::<Vec<_>>().join(" ");
        let outcome = match row.how {
            How::Ends(code) => {
                let outcome = self.run(&text, "");
                assert_eq!(outcome.code, Some(code), "{outcome:#?}");
                outcome
            }
            How::Reads(input) => self.run(&text, input).success(),
            How::Typed(steps) => {
                let script = format!("cd {} && {text}", self.directory.display());
                let mut command: Vec<_> = vec!["env".into()];
                command.extend(self.variables.iter().map(|(name, value)| {
                    let mut pair = OsString::from(format!("{name}="));
                    pair.push(value);
                    pair
                }));
                command.extend(["sh", "-c", &script].map(OsString::from));
                on_terminal(steps, command).success()
            }
            How::Says(line) => self.interrupted(&text, line),
            How::Elsewhere(_) => return,
        };
        (row.then)(self, &outcome);
    }

    fn shell(&self, text: &str) -> Command {
        let mut command = limited("sh");
        let bin = self.host.scratch().join("bin");
        let path = format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            bin.display()
        );
        command
            .args(["-c", text])
            .current_dir(&self.directory)
            .env("PATH", path)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    #[track_caller]
    fn run(&self, text: &str, input: &str) -> Outcome {
        let mut child = self.shell(text).spawn().expect("cannot run sh");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin
            .write_all(input.as_bytes())
            .expect("cannot write to it");
        drop(stdin);
        let output = child.wait_with_output();
        output.expect("cannot wait for it").into()
    }

    /// Runs a command where all the files are.
    #[track_caller]
    fn in_files(&self, text: &str) -> Outcome {
        let files = self.host.scratch().join(files::DIRECTORY);
        self.run(&format!("cd {} && {text}", files.display()), "")
    }

    /// Ctrl-C, once the command has printed something with `line` in it.
    #[track_caller]
    fn interrupted(&self, text: &str, line: &str) -> Outcome {
        // The command itself is to get the signal.
        let mut child = self.shell(&format!("exec {text}")).spawn();
        let child = child.as_mut().expect("cannot run sh");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut said = String::new();
        while !said.contains(line) {
            let more = stdout.read_line(&mut said).expect("it can be read");
            assert_ne!(more, 0, "it ended: {said}, {}", stderr(child));
        }
        run("pkill", ["--signal=INT", "-P", &child.id().to_string()]).success();
        stdout.read_to_string(&mut said).expect("it can be read");
        let stderr = stderr(child);
        let code = child.wait().expect("cannot wait for it").code();
        Outcome {
            code,
            stdout: said,
            stderr,
        }
    }

    #[track_caller]
    fn prepare(&mut self, needs: &[Need]) {
        self.enter_directory(needs);
        let pods: Vec<_> = needs.iter().filter_map(Need::pod).collect();
        let is_there = |(name, state, images): &(&'static str, &str, &[&str])| {
            let pod = self.pods.get(name);
            pod.is_some_and(|pod| pod.images == *images) && self.state(name) == *state
        };
        let count = skim(["list", "--quiet"]).success().stdout.lines().count();
        if count != pods.len() || !pods.iter().all(is_there) {
            self.remove_pods();
            for (name, state, images) in &pods {
                self.make_pod(name, state, images);
            }
        }
        if pods.is_empty() && !self.has_docker {
            remove_images();
        }
        for need in needs {
            self.provide(need);
        }
    }

    /// A directory of the example's own, with all the files but those that it makes itself.
    fn enter_directory(&mut self, needs: &[Need]) {
        self.rows += 1;
        self.directory = self.host.directory(&self.rows.to_string());
        let files = self.host.scratch().join(files::DIRECTORY);
        for file in fs::read_dir(files).expect("it is there") {
            let file = file.expect("it can be listed");
            let name = file.file_name();
            let is_absent =
                |need: &Need| matches!(need, Need::Absent(absent) if name.to_str() == Some(absent));
            if !needs.iter().any(is_absent) {
                symlink(file.path(), self.directory.join(name)).expect("cannot make a link");
            }
        }
    }

    #[track_caller]
    fn remove_pods(&mut self) {
        let pods = skim(["list", "--quiet"]).success().stdout;
        if !pods.is_empty() {
            // Those that never ran cannot be stopped.
            skim(["stop", "--force"].into_iter().chain(pods.lines()));
            skim(["rm"].into_iter().chain(pods.lines())).success();
        }
        self.pods.clear();
    }

    #[track_caller]
    fn make_pod(&mut self, name: &'static str, state: &str, images: &[&'static str]) {
        let verb: &[&str] = match state {
            "prepared" => &["prepare", "--quiet"],
            _ => &["run", "--quiet", "--detach"],
        };
        let mut command = verb.join(" ");
        for image in images {
            command = format!("{command} {image}");
        }
        let uuid = self.in_files(&format!("skim {command}")).line();
        if state == "exited" {
            skim(["stop", &uuid]).success();
            skim(["status", "--wait=60s", &uuid]).success();
        }
        // Two pods' UUIDs may begin alike, if not that far.
        self.words.insert(name, uuid[..13].to_owned());
        let images = images.to_vec();
        self.pods.insert(name, Named { images, uuid });
    }

    #[track_caller]
    fn provide(&mut self, need: &Need) {
        match *need {
            Need::Running(..) | Need::Exited(..) | Need::Prepared(..) | Need::Absent(_) => {}
            Need::Stored(image) => {
                self.in_files(&format!("skim fetch --quiet {image}"))
                    .success();
            }
            Need::Id(name, image) => {
                let id = self.in_files(&format!("skim fetch --quiet --full {image}"));
                let id = id.line();
                self.words.insert(name, id[..23].to_owned());
            }
            Need::UuidFile(name) => {
                fs::write(UUID_FILE, self.uuid(name)).expect("cannot write the UUID");
            }
            Need::Directory(path) => {
                fs::create_dir_all(path).expect("cannot make a directory");
            }
            Need::Does(script) => {
                self.run(script, "").success();
            }
            Need::Key => self.provide_key(),
        }
    }

    /// me@example.com, in a GnuPG that is found by its variable.
    #[track_caller]
    fn provide_key(&mut self) {
        if self.signer.is_none() {
            let signer = Signer::new(&self.host);
            let key = signer.key("me", "ed25519");
            self.variable("GNUPGHOME", &signer.home);
            self.words.insert("FINGERPRINT", key.fingerprint.clone());
            let file = self.host.scratch().join(files::DIRECTORY).join("key.asc");
            fs::copy(&key.file, &file).expect("cannot copy the key");
            symlink(file, self.directory.join("key.asc")).expect("cannot make a link");
            self.signer = Some((signer, key));
        }
    }
}

/// What the images of one example have in common with those of another is no matter then.
#[track_caller]
fn remove_images() {
    let args = ["image", "list", "--full", "--no-legend", "--fields=id"];
    let ids = skim(args).success().stdout;
    if !ids.is_empty() {
        let ids = ids.lines().map(str::trim_end);
        skim(["image", "rm"].into_iter().chain(ids)).success();
    }
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    let pipe = child.stderr.as_mut().expect("stderr is a pipe");
    pipe.read_to_string(&mut text).expect("it can be read");
    text
}

/// Puts back what was on the host.
struct Places(Vec<&'static str>);

impl Places {
    #[track_caller]
    fn new(has_own_store: bool) -> Self {
        let is_ours = |path: &&str| has_own_store || *path != STATE;
        let places = Self(PATHS.into_iter().filter(is_ours).collect());
        for path in &places.0 {
            // Left there by a run that was killed.
            restore(path);
            if Path::new(path).exists() {
                fs::rename(path, aside(path)).expect("cannot put it aside");
            }
        }
        places
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for path in &self.0 {
            remove(path);
            restore(path);
        }
    }
}

fn aside(path: &str) -> String {
    format!("{path}.aside")
}

fn restore(path: &str) {
    if Path::new(&aside(path)).exists() {
        remove(path);
        fs::rename(aside(path), path).expect("cannot put it back");
    }
}

fn remove(path: &str) {
    run("rm", ["-r", "-f", "--one-file-system", "--", path]).success();
}
