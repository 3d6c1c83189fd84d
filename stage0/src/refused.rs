//! Flags of rkt that cannot mean anything without a chroot and namespaces: refused by name, with
//! what to do instead.

const NETWORK: &str = "apps share the host's network: leave it out";
const RESOLVER: &str = "apps read the host's own files in /etc: change those";
const STREAMS: &str = "an app has the journal, or with --interactive the caller's streams";
const STAGE1: &str = "there is one stage1: give another by --stage1-path";
const PULL: &str = "use --pull-policy=never or --pull-policy=update";

/// Flags, and why they are refused.
const FLAGS: [(&str, &str); 25] = [
    ("--net", NETWORK),
    ("--port", NETWORK),
    ("--dns", RESOLVER),
    ("--dns-search", RESOLVER),
    ("--dns-opt", RESOLVER),
    ("--dns-domain", RESOLVER),
    ("--hosts-entry", RESOLVER),
    ("--hostname", "apps have the host's name: leave it out"),
    ("--private-users", "apps share the host's users: see --user"),
    ("--ipc", "apps share the host's IPC: leave it out"),
    ("--no-overlay", "there is no other way than an overlay"),
    (
        "--mds-register",
        "there is no metadata service: leave it out",
    ),
    ("--stdin", STREAMS),
    ("--stdout", STREAMS),
    ("--stderr", STREAMS),
    ("--stage1-url", STAGE1),
    ("--stage1-name", STAGE1),
    ("--stage1-image", STAGE1),
    ("--stage1-hash", STAGE1),
    ("--stage1-from-dir", STAGE1),
    ("--no-store", PULL),
    ("--store-only", PULL),
    ("--user-config", "use --local-config"),
    ("--trust-keys-from-https", "trust a key by skim trust"),
    ("--private-network", NETWORK),
];

/// Why `flag`, which skim does not have, is refused; `None` where it is nothing known.
pub fn why(flag: &str) -> Option<String> {
    let name = flag.split('=').next().unwrap_or(flag);
    let (_, why) = FLAGS.iter().find(|(refused, _)| *refused == name)?;
    Some(format!("{name} cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_refused_by_name() {
        for flag in ["--net", "--net=host"] {
            let why = why(flag).unwrap();
            assert!(why.starts_with("--net cannot be used: apps share"), "{why}");
        }
        assert_eq!(why("--nets"), None);
    }
}
