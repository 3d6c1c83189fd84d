//! From the values of keys to flags of the command line, which have the one grammar. Pure.

use std::error::Error;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use stage1_skim::unit_file;

use super::fault::Fault;
use super::keys::{Kind, in_terms_of_a_file};
use super::lines::Assignment;
use crate::cli;
use crate::commands::app_flags::AppFlags;
use crate::commands::image_flags::ImageFlags;

#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true)]
struct AppGrammar {
    #[command(flatten)]
    flags: AppFlags,
}

#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true)]
struct ImageGrammar {
    #[command(flatten)]
    flags: ImageFlags,
}

/// The flags of an app in `words`, such as `--memory=2G`.
///
/// # Errors
/// What is wrong with them, in the terms of a pod file.
pub fn app_flags(words: &[String]) -> Result<AppFlags, String> {
    let parsed = AppGrammar::try_parse_from(words);
    parsed
        .map(|grammar| grammar.flags)
        .map_err(|error| problem(&error))
}

/// The flags of the fetching of images in `words`.
///
/// # Errors
/// As [`app_flags`].
pub fn image_flags(words: &[String]) -> Result<ImageFlags, String> {
    let parsed = ImageGrammar::try_parse_from(words);
    parsed
        .map(|grammar| grammar.flags)
        .map_err(|error| problem(&error))
}

/// What clap has to say of a value, without the flag's name.
fn problem(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match (error.kind(), error.source()) {
        (ErrorKind::ValueValidation, Some(source)) => in_terms_of_a_file(&source.to_string()),
        (ErrorKind::InvalidValue, _) => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) => valid.join(", "),
                _ => String::new(),
            };
            match value.is_empty() {
                true => format!("it has no value (must be one of: {valid})"),
                false => format!("`{}` (must be one of: {valid})", value.escape_debug()),
            }
        }
        _ => {
            let line = cli::one_line(error);
            let line = line.strip_suffix(" (see --help)").unwrap_or(&line);
            in_terms_of_a_file(line)
        }
    }
}

/// The value that a key has in the end.
#[derive(Clone, Debug, Default)]
pub struct Value<'a> {
    /// Its words, each with the assignment that it stands in.
    pub words: Vec<(String, &'a Assignment)>,
    /// The last assignment, also where it is empty.
    pub last: Option<&'a Assignment>,
}

impl Value<'_> {
    /// The words alone.
    pub fn texts(&self) -> Vec<String> {
        self.words.iter().map(|(word, _)| word.clone()).collect()
    }

    /// The first word: of a key that has one.
    pub fn text(&self) -> Option<&str> {
        self.words.first().map(|(word, _)| word.as_str())
    }
}

/// The value of `key` in `lines`: lists are appended to, of others the last assignment holds,
/// and an empty one takes back what stands before it.
pub fn value<'a>(
    lines: &'a [Assignment],
    key: &str,
    kind: Kind,
    faults: &mut Vec<Fault>,
) -> Value<'a> {
    let mut value = Value::default();
    for line in lines.iter().filter(|line| line.key == key) {
        value.last = Some(line);
        let words = match unit_file::split_words(&line.value) {
            Ok(words) => words,
            Err(error) => {
                faults.push(line.fault(format!("{error:#}")));
                continue;
            }
        };
        let is_one = matches!(kind, Kind::Single | Kind::Boolean);
        if is_one && words.len() > 1 {
            faults.push(line.fault("it takes one word: put blanks in quotes"));
            continue;
        }
        if words.is_empty() || is_one {
            value.words.clear();
        }
        value
            .words
            .extend(words.into_iter().map(|word| (word, line)));
    }
    value
}

/// The value of a key that is the program and arguments of a command: the last assignment holds.
pub fn command<'a>(lines: &'a [Assignment], key: &str, faults: &mut Vec<Fault>) -> Value<'a> {
    let last = lines.iter().rposition(|line| line.key == key);
    // Only that one counts, but what is wrong with the others is told.
    let all = value(lines, key, Kind::List, faults);
    match last {
        Some(at) => value(&lines[at..=at], key, Kind::List, &mut Vec::new()),
        None => all,
    }
}

/// The words that give `value` to the flag `flag`. Each is parsed by itself, so that what is wrong
/// with it is told with its line, and left out.
pub fn flag_words(
    flag: &str,
    kind: Kind,
    value: &Value<'_>,
    check: impl Fn(&[String]) -> Result<(), String>,
    faults: &mut Vec<Fault>,
) -> Vec<String> {
    let texts: Vec<(Result<String, String>, &Assignment)> = match (kind, value.last) {
        // An empty --requires= means something: no other app.
        (Kind::Joined, Some(last)) if !value.words.is_empty() || flag == "requires" => {
            vec![(Ok(value.texts().join(",")), last)]
        }
        (Kind::Joined, _) => Vec::new(),
        (Kind::Boolean, _) => {
            let word = |word: &String| match boolean(word) {
                Some(on) => Ok(on.to_string()),
                None => Err(not_boolean(word)),
            };
            value
                .words
                .iter()
                .map(|(text, line)| (word(text), *line))
                .collect()
        }
        _ => {
            let words = value.words.iter();
            words
                .map(|(word, line)| (Ok(word.clone()), *line))
                .collect()
        }
    };
    let mut words = Vec::new();
    for (text, line) in texts {
        let word = text.map(|text| format!("--{flag}={text}"));
        match word.and_then(|word| check(std::slice::from_ref(&word)).map(|()| word)) {
            Ok(word) => words.push(word),
            Err(what) => faults.push(line.fault(what)),
        }
    }
    words
}

/// A boolean as systemd reads it (systemd.syntax(7)).
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// What is said of a value that is no boolean.
pub fn not_boolean(text: &str) -> String {
    format!("`{}` is neither yes nor no", text.escape_debug())
}
