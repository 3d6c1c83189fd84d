//! A user of the machine without privileges, whose own service manager runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command::{Outcome, limited, run};
use super::host::Host;
use super::journal;

/// The user; goes with the test, and all that is the user's.
pub(crate) struct User {
    name: String,
    uid: u32,
    home: PathBuf,
}

impl User {
    /// A user with a home of this name, and a service manager as from a log-in or lingering.
    #[track_caller]
    pub(crate) fn new(host: &Host, name: &str, uid: u32, home: &str) -> Self {
        let user = Self::without_manager(host, name, uid, home);
        run("loginctl", ["enable-linger", name]).success();
        let runtime = user.runtime_directory();
        journal::until("the user manager is up", || {
            runtime.join("systemd/private").exists() && runtime.join("bus").exists()
        });
        user
    }

    /// A user who is not logged in.
    #[track_caller]
    pub(crate) fn without_manager(host: &Host, name: &str, uid: u32, home: &str) -> Self {
        let home = host.scratch().join(home);
        let number = uid.to_string();
        let path = home.to_string_lossy();
        let args = [
            "--create-home",
            "--user-group",
            "--home-dir",
            &path,
            "--uid",
            &number,
            name,
        ];
        run("useradd", args).success();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("it is root's to set");
        Self {
            name: name.to_owned(),
            uid,
            home,
        }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn runtime_directory(&self) -> PathBuf {
        format!("/run/user/{}", self.uid).into()
    }

    /// Where skim keeps the user's images and pods.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.join(".local/share/skim")
    }

    /// A command of the user's, as in a session: nothing of the test's environment.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = limited("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.uid))
            .args(["--init-groups", "--reset-env", "env"])
            .arg(format!("XDG_RUNTIME_DIR=/run/user/{}", self.uid))
            .arg("LANG=C.UTF-8")
            .arg(program)
            .args(args)
            .current_dir(&self.home)
            .stdin(Stdio::null());
        command
    }

    /// Runs a program as the user.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Outcome {
        match self.command(program, args).output() {
            Ok(output) => output.into(),
            Err(error) => panic!("cannot run {program}: {error}"),
        }
    }

    /// `skim --user ARGS…`.
    #[track_caller]
    pub(crate) fn skim(&self, args: &[&str]) -> Outcome {
        let args: Vec<_> = ["--user"].iter().chain(args).copied().collect();
        self.run("skim", &args)
    }

    /// `systemctl --user ARGS…`.
    #[track_caller]
    pub(crate) fn systemctl(&self, args: &[&str]) -> Outcome {
        let args: Vec<_> = ["--user"].iter().chain(args).copied().collect();
        self.run("systemctl", &args)
    }

    /// skim's units that the user's manager has loaded.
    #[track_caller]
    pub(crate) fn units(&self) -> Vec<String> {
        let args = [
            "list-units",
            "--all",
            "--plain",
            "--no-legend",
            "--full",
            "skim*",
        ];
        let listed = self.systemctl(&args).success().stdout;
        let names = listed
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        names.map(str::to_owned).collect()
    }

    /// What there is of pods, other than in the store: units, their files, directories, processes.
    #[track_caller]
    pub(crate) fn traces(&self) -> Vec<String> {
        // systemd hears of the end of the holder that removed its pod a moment after the caller.
        let removes = |units: &[String]| units.iter().any(|unit| unit.ends_with("-rm.scope"));
        journal::until("the removal of pods has ended", || !removes(&self.units()));
        let mut traces = self.units();
        let look = "cd \"$1\" 2>/dev/null && find . -mindepth \"$2\" -name \"$3\" -prune";
        for (directory, depth, name) in [
            (self.runtime_directory().join("systemd"), "2", "*skim*"),
            (self.state().join("pods"), "2", "*"),
        ] {
            let directory = directory.to_string_lossy();
            let found = self
                .run("sh", &["-c", look, "sh", &directory, depth, name])
                .stdout;
            traces.extend(found.lines().map(str::to_owned));
        }
        traces
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let unit = format!("user@{}.service", self.uid);
        run("loginctl", ["disable-linger", &self.name]);
        run(
            "systemctl",
            [
                "stop",
                &unit,
                &format!("user-runtime-dir@{}.service", self.uid),
            ],
        );
        let removed = run("userdel", ["--force", &self.name]);
        if !std::thread::panicking() {
            removed.success();
            let left = format!("{}", self.uid);
            let processes = run("pgrep", ["--uid", &left]).stdout;
            assert_eq!(processes, "", "processes of the user are left");
        }
    }
}
