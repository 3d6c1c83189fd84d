//! The exit codes of systemd's own that a service has where it could not be executed
//! (systemd.exec(5), "Process Exit Codes").

/// Code, name, and what systemd failed to set up.
const EXIT_CODES: [(u8, &str, &str); 42] = [
    (200, "CHDIR", "its working directory"),
    (201, "NICE", "its nice level"),
    (202, "FDS", "its file descriptors"),
    (203, "EXEC", "its program"),
    (204, "MEMORY", "memory for it"),
    (205, "LIMITS", "its resource limits"),
    (206, "OOM_ADJUST", "its OOM score"),
    (207, "SIGNAL_MASK", "its signal mask"),
    (208, "STDIN", "its standard input"),
    (209, "STDOUT", "its standard output"),
    (210, "CHROOT", "its root directory"),
    (211, "IOPRIO", "its I/O priority"),
    (212, "TIMERSLACK", "its timer slack"),
    (213, "SECUREBITS", "its secure bits"),
    (214, "SETSCHEDULER", "its CPU scheduling"),
    (215, "CPUAFFINITY", "its CPU affinity"),
    (216, "GROUP", "its group"),
    (217, "USER", "its user"),
    (218, "CAPABILITIES", "its capabilities"),
    (219, "CGROUP", "its control group"),
    (220, "SETSID", "its session"),
    (221, "CONFIRM", "leave to execute it"),
    (222, "STDERR", "its standard error"),
    (224, "PAM", "its PAM session"),
    (225, "NETWORK", "its network namespace"),
    (226, "NAMESPACE", "its namespaces"),
    (227, "NO_NEW_PRIVILEGES", "NoNewPrivileges="),
    (228, "SECCOMP", "its system call filter"),
    (229, "SELINUX_CONTEXT", "its SELinux context"),
    (230, "PERSONALITY", "its personality"),
    (231, "APPARMOR_PROFILE", "its AppArmor profile"),
    (232, "ADDRESS_FAMILIES", "its address families"),
    (233, "RUNTIME_DIRECTORY", "its runtime directory"),
    (235, "CHOWN", "the owner of a socket"),
    (236, "SMACK_PROCESS_LABEL", "its SMACK label"),
    (237, "KEYRING", "its keyring"),
    (238, "STATE_DIRECTORY", "its state directory"),
    (239, "CACHE_DIRECTORY", "its cache directory"),
    (240, "LOGS_DIRECTORY", "its logs directory"),
    (
        241,
        "CONFIGURATION_DIRECTORY",
        "its configuration directory",
    ),
    (242, "NUMA_POLICY", "its NUMA policy"),
    (243, "CREDENTIALS", "its credentials"),
];

/// `EXIT_EXEC`: the program could not be executed.
pub const EXEC: u8 = 203;

/// `EXIT_CHDIR`: the working directory could not be entered.
pub const CHDIR: u8 = 200;

/// The name of a code, and what systemd failed to set up.
pub fn meaning(code: u8) -> Option<(&'static str, &'static str)> {
    let mut codes = EXIT_CODES.iter();
    let found = codes.find(|(own, ..)| *own == code)?;
    Some((found.1, found.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(EXIT_CODES.is_sorted_by_key(|(code, ..)| *code));
        assert_eq!(meaning(EXEC).unwrap().0, "EXEC");
        assert_eq!(meaning(CHDIR).unwrap().0, "CHDIR");
        assert_eq!(meaning(223), None);
    }
}
