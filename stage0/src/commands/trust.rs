//! `skim trust`: the keys that are trusted to sign images.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use sequoia_openpgp::Cert;
use serde::Serialize;
use stage1_skim::names::EXIT_ERROR;
use stage1_skim::stdio;

use super::output::{self, for_each};
use crate::cli::Format;
use crate::host::Host;
use crate::trust::edit::{self, Removed};
use crate::trust::key::{self, Description, Fingerprint, MAX_KEY_FILE};
use crate::trust::keyring::{self, Entry};
use crate::trust::prefix::{Prefix, Scope};

const HELP: &str = "\
Examples:
  skim trust --prefix=example.com/app key.asc   trust a key for images beneath example.com/app
  gpg --export me@example.com | skim trust --root --yes -
  skim trust list
  skim trust remove --prefix=example.com/app FINGERPRINT

An image FILE.aci is signed by: gpg --armor --detach-sign FILE.aci
What images must have is said in /etc/skim/policy.d/*.json; without a rule there, images without
a signature are accepted.
Compare a key's fingerprint with what its owner tells you on another way than the key came.";

/// Arguments of `skim trust`.
#[derive(Args, Debug)]
#[command(
    after_help = HELP,
    subcommand_negates_reqs = true
)]
pub struct TrustArguments {
    /// Another thing to do than to trust a key.
    #[command(subcommand)]
    pub verb: Option<TrustVerb>,
    /// What to trust the keys for.
    #[command(flatten)]
    pub scope: ScopeArguments,
    /// Do not ask whether the fingerprints are right
    #[arg(long, visible_alias = "skip-fingerprint-review")]
    pub yes: bool,
    /// Files of public keys; - is standard input
    #[arg(value_name = "KEYFILE", required = true)]
    pub files: Vec<String>,
}

/// What to do with trusted keys.
#[derive(Debug, Subcommand)]
pub enum TrustVerb {
    /// List the trusted keys
    #[command(visible_alias = "ls")]
    List(ListArguments),
    /// Trust keys no more
    #[command(visible_alias = "rm")]
    Remove(RemoveArguments),
}

/// The images that keys are trusted for.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct ScopeArguments {
    /// Images whose names start with PREFIX, by path component
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// All images
    #[arg(long)]
    pub root: bool,
}

/// Arguments of `skim trust list`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  skim trust list\n  skim trust list --format=json\n\nThe prefix * means all images. An outdated key has expired, was revoked or is too weak for new\nsignatures; older ones may still be good by it."
)]
pub struct ListArguments {
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `skim trust remove`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  skim trust remove --prefix=example.com/app FINGERPRINT\n  skim trust remove --root FINGERPRINT\n\nFingerprints are shown by skim trust list. A key of the vendor's (--system-config) is masked by\nan empty file in --local-config."
)]
pub struct RemoveArguments {
    /// What they are trusted for.
    #[command(flatten)]
    pub scope: ScopeArguments,
    /// The keys' fingerprints
    #[arg(value_name = "FINGERPRINT", required = true)]
    pub keys: Vec<String>,
}

/// Carries out the verb.
///
/// # Errors
/// Where a key is of no use, or files cannot be read or written.
pub fn run(host: &Host, arguments: &TrustArguments) -> Result<u8> {
    let TrustArguments { scope, files, .. } = arguments;
    // clap's own rule would refuse global flags before the verb as well.
    ensure!(
        arguments.verb.is_none()
            || (files.is_empty() && scope.prefix.is_none() && !scope.root && !arguments.yes),
        "flags follow list and remove; for a file of such a name, give ./NAME"
    );
    match &arguments.verb {
        None => add(host, arguments),
        Some(TrustVerb::List(arguments)) => list(host, arguments),
        Some(TrustVerb::Remove(arguments)) => remove(host, arguments),
    }
}

impl ScopeArguments {
    fn scope(&self) -> Result<Scope> {
        match (&self.prefix, self.root) {
            (Some(prefix), _) => Ok(Scope::Prefix(Prefix::parse(prefix)?)),
            (None, true) => Ok(Scope::Root),
            (None, false) => bail!(
                "say for which images: --prefix=PREFIX for those beneath a name, or --root for all"
            ),
        }
    }
}

fn add(host: &Host, arguments: &TrustArguments) -> Result<u8> {
    host.check_caller()?;
    let scope = arguments.scope.scope()?;
    let now = SystemTime::now();
    let mut keys = Vec::new();
    for file in &arguments.files {
        let found = read_keys(file, now).with_context(|| format!("cannot trust {file:?}"))?;
        keys.extend(found);
    }
    let ask = !arguments.yes;
    ensure!(
        !ask || rustix::termios::isatty(io::stdin()),
        "nobody is there to compare the fingerprint: run it on a terminal, or give --yes"
    );
    let mut code = 0;
    for key in &keys {
        stdio::print(&text(&key::describe(key, now)))?;
        if ask && !confirm(&scope)? {
            stdio::print("not trusted\n")?;
            code = EXIT_ERROR;
            continue;
        }
        let path = edit::add(&host.config, &scope, key)?;
        stdio::print(&format!("trusted for {scope}: {}\n", path.display()))?;
    }
    Ok(code)
}

/// The keys in a file, all of which must be of use.
fn read_keys(file: &str, now: SystemTime) -> Result<Vec<Cert>> {
    let content = if file == "-" {
        read_bounded(io::stdin())?
    } else if file.contains("://") && !Path::new(file).exists() {
        bail!("keys are not fetched: get the file by other means, and look at what you got");
    } else {
        read_bounded(File::open(file)?)?
    };
    let keys = key::parse(&content)?;
    for key in &keys {
        key::check_usable(key, now)
            .with_context(|| format!("the key {} is of no use", Fingerprint::of(key)))?;
    }
    Ok(keys)
}

fn read_bounded(from: impl Read) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    from.take(MAX_KEY_FILE + 1).read_to_end(&mut content)?;
    ensure!(
        content.len() as u64 <= MAX_KEY_FILE,
        "it has more than {MAX_KEY_FILE} bytes"
    );
    Ok(content)
}

/// Asks on the terminal.
fn confirm(scope: &Scope) -> Result<bool> {
    stdio::print(&format!("Trust this key for {scope}? (yes/no) "))?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .take(1024)
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(answer == "yes" || answer == "y")
}

/// A key for people to look at. Pure.
fn text(key: &Description) -> String {
    let mut lines = format!("fingerprint: {}\n", key.fingerprint.spaced());
    for id in &key.user_ids {
        lines += &format!("user ID:     {id}\n");
    }
    let expires = key.expires.map_or("never".to_owned(), output::absolute);
    let created = output::absolute(key.created);
    lines + &format!("created:     {created}\nexpires:     {expires}\n")
}

fn remove(host: &Host, arguments: &RemoveArguments) -> Result<u8> {
    host.check_caller()?;
    let scope = arguments.scope.scope()?;
    for_each(&arguments.keys, |text| {
        // As gpg prints it: upper case, and in groups.
        let digits: String = text.split_whitespace().collect();
        let fingerprint = Fingerprint::parse(&digits.to_ascii_lowercase())?;
        let line = match edit::remove(&host.config, &scope, &fingerprint)? {
            Removed::File(path) => format!("removed {}\n", path.display()),
            Removed::Masked(path) => format!("masked by {}\n", path.display()),
        };
        stdio::print(&line)
    })
}

/// A key in a place, as JSON. Times are in whole seconds since the epoch.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    /// What it is trusted for; none for all images.
    prefix: Option<String>,
    fingerprint: String,
    user_ids: Vec<String>,
    created_at: Option<i64>,
    expires_at: Option<i64>,
    state: &'static str,
    file: String,
    /// The file that masks it.
    masked_by: Option<String>,
}

fn list(host: &Host, arguments: &ListArguments) -> Result<u8> {
    let scan = keyring::scan(&host.config);
    let now = SystemTime::now();
    let keys: Vec<_> = scan
        .entries
        .iter()
        .map(|entry| listed(entry, now))
        .collect();
    match arguments.format {
        Format::Json => stdio::print(&format!("{}\n", serde_json::to_string(&keys)?))?,
        Format::Text => stdio::print(&table(&keys))?,
    }
    for fault in &scan.faults {
        log::error!("{fault:#}");
    }
    Ok(if scan.faults.is_empty() {
        0
    } else {
        EXIT_ERROR
    })
}

/// A key in a place, as JSON.
pub(super) fn listed(entry: &Entry, now: SystemTime) -> Listed {
    let description = key::describe(&entry.key, now);
    let state = match (&entry.masked_by, key::check_usable(&entry.key, now)) {
        (Some(_), _) => "masked",
        (None, Ok(())) => "trusted",
        // Revoked, expired, too weak: it may be good for older signatures.
        (None, Err(_)) => "outdated",
    };
    Listed {
        prefix: entry.scope.prefix().map(Prefix::to_string),
        fingerprint: description.fingerprint.to_string(),
        user_ids: description.user_ids,
        created_at: output::seconds(description.created),
        expires_at: description.expires.and_then(output::seconds),
        state,
        file: entry.path.display().to_string(),
        masked_by: entry
            .masked_by
            .as_ref()
            .map(|path| path.display().to_string()),
    }
}

/// The table. Pure.
fn table(keys: &[Listed]) -> String {
    let headings = ["PREFIX", "FINGERPRINT", "USER ID", "STATE", "FILE"];
    let mut rows = vec![headings.map(str::to_string).to_vec()];
    rows.extend(keys.iter().map(|key| {
        vec![
            // As in a policy.
            key.prefix.clone().unwrap_or_else(|| "*".to_owned()),
            key.fingerprint.clone(),
            key.user_ids.first().cloned().unwrap_or_default(),
            key.state.to_owned(),
            key.file.clone(),
        ]
    }));
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, Verb};
    use crate::trust::testing;

    fn parse(line: &str) -> Result<TrustArguments, clap::Error> {
        let arguments = Arguments::try_parse_from(line.split(' '))?;
        match arguments.verb {
            Verb::Trust(arguments) => Ok(arguments),
            verb => panic!("{verb:?}"),
        }
    }

    #[test]
    fn the_plain_form_and_the_verbs() {
        let arguments = parse("skim trust --prefix=a/b k1 -").unwrap();
        assert_eq!(
            arguments.scope.scope().unwrap().to_string(),
            "images beneath a/b"
        );
        assert_eq!(arguments.files, ["k1", "-"]);
        let arguments = parse("skim trust --root --skip-fingerprint-review k").unwrap();
        assert!(arguments.yes && arguments.verb.is_none());
        assert_eq!(arguments.scope.scope().unwrap(), Scope::Root);
        let list = parse("skim trust list --format=json").unwrap().verb;
        assert!(matches!(list, Some(TrustVerb::List(_))));
        let remove = parse("skim trust remove --root ABCD").unwrap().verb;
        assert!(matches!(remove, Some(TrustVerb::Remove(_))));
        let debug = parse("skim trust --debug list").unwrap().verb;
        assert!(matches!(debug, Some(TrustVerb::List(_))));
        assert!(parse("skim trust k").unwrap().scope.scope().is_err());
        for bad in [
            "skim trust",
            "skim trust --root",
            "skim trust --root --prefix=a k",
            "skim trust remove --root",
        ] {
            let result = parse(bad);
            assert!(result.is_err(), "{bad}: {result:?}");
        }
    }

    #[test]
    fn flags_before_a_verb_are_not_lost() {
        let global = ["--dir=/", "--local-config=/none", "--system-config=/none"].join(" ");
        for bad in ["--root list", "--yes list", "--prefix=a remove --root ab"] {
            let arguments =
                Arguments::try_parse_from(format!("skim trust {global} {bad}").split(' '));
            let arguments = arguments.unwrap();
            let Verb::Trust(verb) = arguments.verb else {
                panic!("{bad}");
            };
            let error = run(&Host::new(arguments.global).unwrap(), &verb).unwrap_err();
            assert!(
                error.to_string().contains("flags follow"),
                "{bad}: {error:#}"
            );
        }
    }

    #[test]
    fn what_is_shown() {
        let key = testing::key("A <a@example.com>");
        let description = key::describe(&key, testing::now());
        let expected = format!(
            "fingerprint: {}\nuser ID:     A <a@example.com>\ncreated:     2027-01-05 08:00:00.000 +0000 UTC\nexpires:     never\n",
            description.fingerprint.spaced()
        );
        assert_eq!(text(&description), expected);
        let entry = Entry {
            scope: Scope::Root,
            key,
            path: "/f".into(),
            masked_by: None,
        };
        let fingerprint = &description.fingerprint;
        assert_eq!(
            table(&[listed(&entry, testing::now())]),
            format!(
                "PREFIX  FINGERPRINT{blank}  USER ID            STATE    FILE\n*       {fingerprint}  A <a@example.com>  trusted  /f\n",
                blank = " ".repeat(40 - "FINGERPRINT".len())
            )
        );
    }
}
