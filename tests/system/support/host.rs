//! The machine, for the time of one test.

use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use tempfile::TempDir;

use super::command::{run, skim};
use super::trace::Trace;

/// The machine, found without any pod; left so, or made so where the test has failed.
pub(crate) struct Host {
    scratch: TempDir,
}

impl Host {
    /// Checks that this is the machine that the tests may change, and that it has no pods.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
        assert_eq!(
            init.trim_end(),
            "systemd",
            "PID 1 is not systemd: run these tests by tests/run"
        );
        assert!(
            env::var_os("SKIM_TEST_MACHINE").is_some(),
            "SKIM_TEST_MACHINE is not set: run these tests by tests/run"
        );
        Trace::assert_none();
        // Programs of a non-root app write there, too.
        let scratch = TempDir::with_prefix("skim-test-").expect("cannot make a scratch directory");
        run("chmod", ["0777".as_ref(), scratch.path().as_os_str()]).success();
        Self { scratch }
    }

    /// A directory for the test's own files.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A new, empty directory that every user may write to.
    #[track_caller]
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.scratch().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        run("chmod", ["0777".as_ref(), path.as_os_str()]).success();
        path
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            force_clean();
            return;
        }
        let pods = skim(["list", "--quiet"]).success().stdout;
        if !pods.is_empty() {
            skim(["stop", "--force"].into_iter().chain(pods.lines()));
            skim(["gc", "--grace-period=0s"]).success();
        }
        Trace::assert_none();
    }
}

/// Takes every trace away without skim's help, so that one failure does not look like many. What
/// fails here shows in the next test's check.
fn force_clean() {
    let script = r#"
        systemctl kill --signal=KILL 'skim-*.service' 'skim-*.scope'
        systemctl stop 'skim-*'
        for exe in $(find /proc -maxdepth 2 -name exe 2>/dev/null); do
            case $(readlink "$exe") in
                /var/lib/skim/*|*/stage1-skim*) pid=${exe%/exe}; kill -KILL "${pid#/proc/}" ;;
            esac
        done
        awk '$5 ~ "^/var/lib/skim/" { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount --lazy
        rm -rf /run/systemd/system/skim* /run/systemd/system/.skim* /run/systemd/transient/skim-* /var/lib/skim/pods
        systemctl daemon-reload
        systemctl reset-failed
    "#;
    run("sh", ["-c", script]);
}
