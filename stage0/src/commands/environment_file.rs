//! Files of variables (`--set-env-file`).

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use stage1_skim::escape;

/// No such file is larger, in bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// The variables in a file: lines `NAME=VALUE`; empty lines and those that begin with `#` or
/// `;` are passed over.
///
/// # Errors
/// Where it cannot be read, or a line is none of these or sets a variable again.
pub fn read(file: &Path) -> Result<Vec<(String, String)>> {
    let context = || format!("environment file {}", file.display());
    let mut text = String::new();
    File::open(file)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_string(&mut text))
        .with_context(context)?;
    ensure!(
        text.len() as u64 <= FILE_MAX,
        "environment file {} is larger than {FILE_MAX} bytes",
        file.display()
    );
    parse(&text).with_context(context)
}

fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut names = HashSet::new();
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() || line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            bail!("line {number}: {line:?} is not of the form NAME=VALUE");
        };
        let name = name.trim_start();
        escape::environment(name, value)
            .with_context(|| format!("line {number}: variable {name:?}"))?;
        ensure!(
            names.insert(name),
            "line {number}: the variable {name:?} is set a second time"
        );
        variables.push((name.to_string(), value.to_string()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables_or_comments() {
        let text = "# a comment\n; another\n\nA=1\n  B=x = y\nC=\nD= spaced \"q\" # kept\n";
        let expected = [
            ("A", "1"),
            ("B", "x = y"),
            ("C", ""),
            ("D", " spaced \"q\" # kept"),
        ];
        let expected = expected.map(|(name, value)| (name.to_string(), value.to_string()));
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn faults_are_named_by_their_line() {
        for (text, message) in [
            (
                "A=1\nA=2",
                "line 2: the variable \"A\" is set a second time",
            ),
            ("\nfoo", "line 2: \"foo\" is not of the form NAME=VALUE"),
            ("A-B=1", "line 1: variable \"A-B\": "),
            ("A=\u{1b}[0m", "line 1: variable \"A\": "),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.starts_with(message), "{error}");
        }
    }
}
