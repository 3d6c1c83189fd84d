//! The one place where values become unit text.
//!
//! Unit text is a language (systemd.syntax(7), systemd.unit(5) "Specifiers", systemd.service(5)
//! "Command lines"): `%` starts a specifier, quotes and backslashes group and escape, a line end
//! ends the value. Everything that comes from an image or a flag is data and passes through here.
//! What systemd cannot carry at all is refused, never dropped.

use std::fmt;
use std::path::Path;

use crate::names::UNIT_NAME_MAX;

/// Longest line that systemd reads from a unit file (`LONG_LINE_MAX`), in bytes.
pub const LINE_MAX: usize = 1024 * 1024;

/// What the names of units end in (systemd(1), "Concepts").
const UNIT_KINDS: [&str; 11] = [
    "service",
    "socket",
    "target",
    "device",
    "mount",
    "automount",
    "swap",
    "timer",
    "path",
    "slice",
    "scope",
];

/// Why a value cannot be expressed in a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrepresentable {
    /// It holds a NUL byte.
    Nul,
    /// It is not UTF-8.
    NotUtf8,
    /// It holds a control character where systemd allows none.
    Control,
    /// The path of an executable holds a quote, a backslash or a control character.
    ExecutableName,
    /// The path is not absolute.
    NotAbsolute,
    /// The path ends in white space or a backslash, which a unit file cannot express.
    Trailing,
    /// The name of an environment variable is not one that systemd takes.
    VariableName,
    /// It is not the name of a unit.
    UnitName,
    /// The line would be longer than [`LINE_MAX`].
    TooLong,
}

impl fmt::Display for Unrepresentable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nul => "it holds a NUL byte",
            Self::NotUtf8 => "it is not UTF-8, which systemd requires",
            Self::Control => "it holds a control character, which systemd does not take here",
            Self::ExecutableName => {
                "systemd takes no quote, backslash or control character in the path of a program"
            }
            Self::NotAbsolute => "it is not an absolute path",
            Self::Trailing => "a unit file cannot express white space or a backslash at its end",
            Self::VariableName => {
                "systemd takes only letters, digits and _ in the name of a variable"
            }
            Self::UnitName => "it is not the name of a unit of systemd",
            Self::TooLong => "systemd reads no line over 1 MiB",
        })
    }
}

impl std::error::Error for Unrepresentable {}

/// `%` doubled, so that systemd expands no specifier in `text`.
pub fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// One word, in double quotes, for a value that systemd splits into words and unescapes.
///
/// # Errors
/// [`Unrepresentable::Nul`], as no escape gives a NUL.
pub fn quoted(word: &str) -> Result<String, Unrepresentable> {
    let mut out = String::with_capacity(word.len() + 2);
    out.push('"');
    for c in word.chars() {
        match c {
            '\0' => return Err(Unrepresentable::Nul),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '%' => out.push_str("%%"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}

/// One word, in double quotes, for text that is unquoted and nothing else: specifiers mean
/// nothing there.
///
/// # Errors
/// As [`quoted`].
pub fn word(word: &str) -> Result<String, Unrepresentable> {
    quoted_text(word)
}

/// As [`quoted`], but specifiers stay what they are.
fn quoted_text(word: &str) -> Result<String, Unrepresentable> {
    Ok(quoted(word)?.replace("%%", "%"))
}

/// The value of `ExecStart=` and its like: `path` is executed with `argv`, `argv[0]` first.
///
/// The prefix `@` passes `argv[0]` apart from the path, `:` keeps systemd from expanding `$`
/// (systemd.service(5), "Special executable prefixes"). They are part of the first word, and so
/// stand within its quotes.
///
/// # Errors
/// Where the path or an argument cannot be expressed.
pub fn command_line(path: &Path, argv: &[String]) -> Result<String, Unrepresentable> {
    let path = absolute(path)?;
    if path.contains(['"', '\'', '\\']) || path.chars().any(char::is_control) {
        return Err(Unrepresentable::ExecutableName);
    }
    let mut line = quoted(&format!(":@{path}"))?;
    for word in argv {
        line.push(' ');
        line.push_str(&quoted(word)?);
    }
    bounded(line)
}

/// The value of `ExecStart=` and its like where the arguments are unit text: `path` is executed
/// with `argv`, `argv[0]` first, in which systemd expands specifiers, and variables unless
/// `prefixes` say otherwise. Like `@`, which is added, they stand within the first word's quotes.
///
/// # Errors
/// As [`command_line`].
pub fn text_command_line(
    prefixes: &str,
    path: &Path,
    argv: &[String],
) -> Result<String, Unrepresentable> {
    let path = absolute(path)?;
    if path.contains(['"', '\'', '\\']) || path.chars().any(char::is_control) {
        return Err(Unrepresentable::ExecutableName);
    }
    let mut line = quoted(&format!("{prefixes}@{path}"))?;
    for word in argv {
        line.push(' ');
        line.push_str(&quoted_text(word)?);
    }
    bounded(line)
}

/// Data as a word of unit text, for a command line of [`text_command_line`]: where variables are
/// expanded, `$` is doubled, too.
pub fn literal(word: &str, keeps_variables: bool) -> String {
    let word = specifiers(word);
    match keeps_variables {
        true => word,
        false => word.replace('$', "$$"),
    }
}

/// The lines of a file for `EnvironmentFile=`.
///
/// # Errors
/// As [`environment`].
pub fn environment_file<'a>(
    variables: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<String, Unrepresentable> {
    let mut text = String::new();
    for (name, value) in variables {
        environment(name, value)?;
        text.push_str(&format!("{name}=\""));
        for c in value.chars() {
            // What a backslash escapes within double quotes (systemd.exec(5)).
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    Ok(text)
}

/// The value of one `Environment=` line.
///
/// # Errors
/// Where systemd takes no such name or value: names of letters, digits and `_`, values without
/// control characters other than tab and newline (environ(7), systemd.exec(5)).
pub fn environment(name: &str, value: &str) -> Result<String, Unrepresentable> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid)
    {
        return Err(Unrepresentable::VariableName);
    }
    if value.contains('\0') {
        return Err(Unrepresentable::Nul);
    }
    if value
        .chars()
        .any(|c| c.is_ascii_control() && c != '\t' && c != '\n')
    {
        return Err(Unrepresentable::Control);
    }
    bounded(quoted(&format!("{name}={value}"))?)
}

/// The value of a directive that takes one path as it stands, such as `WorkingDirectory=`.
///
/// # Errors
/// Such values are not unquoted, so a path that ends in white space or a backslash, or holds a
/// control character, cannot be expressed.
pub fn path(path: &Path) -> Result<String, Unrepresentable> {
    let path = absolute(path)?;
    if path.chars().any(char::is_control) {
        return Err(Unrepresentable::Control);
    }
    if path.ends_with(|c: char| c.is_whitespace() || c == '\\') {
        return Err(Unrepresentable::Trailing);
    }
    bounded(specifiers(path))
}

/// One path of a list such as `BindReadOnlyPaths=`, in quotes, which also keep a `:` from
/// separating it.
///
/// # Errors
/// Such words are unquoted, but their escapes are not expanded, so a path that holds a control
/// character cannot be expressed.
pub fn path_word(path: &Path) -> Result<String, Unrepresentable> {
    let path = absolute(path)?;
    if path.chars().any(char::is_control) {
        return Err(Unrepresentable::Control);
    }
    bounded(quoted(path)?)
}

/// The value of `After=` and its like: names of units, which need no quotes and are not unescaped
/// (systemd.unit(5)).
///
/// # Errors
/// Where one is not the name of a unit.
pub fn unit_names<'a>(
    names: impl IntoIterator<Item = &'a String>,
) -> Result<String, Unrepresentable> {
    let mut line = String::new();
    for name in names {
        if !is_unit_name(name) {
            return Err(Unrepresentable::UnitName);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(name);
    }
    bounded(line)
}

/// What systemd takes for the name of a unit (systemd.unit(5), "String escaping for inclusion in
/// unit names"), a template without its instance excepted.
fn is_unit_name(name: &str) -> bool {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return false;
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    !stem.is_empty()
        && !stem.starts_with('@')
        && !stem.ends_with('@')
        && stem.chars().all(valid)
        && UNIT_KINDS.contains(&kind)
        && name.len() <= UNIT_NAME_MAX
}

/// Free text such as a description: control characters become blanks, `%` is doubled.
pub fn text(text: &str) -> String {
    let flat: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    specifiers(flat.trim_end_matches('\\'))
}

fn absolute(path: &Path) -> Result<&str, Unrepresentable> {
    let path = path.to_str().ok_or(Unrepresentable::NotUtf8)?;
    if !path.starts_with('/') {
        return Err(Unrepresentable::NotAbsolute);
    }
    if path.contains('\0') {
        return Err(Unrepresentable::Nul);
    }
    Ok(path)
}

fn bounded(line: String) -> Result<String, Unrepresentable> {
    // The key, `=` and the line end stand on the same line: 64 bytes are more than any key.
    if line.len() + 64 > LINE_MAX {
        return Err(Unrepresentable::TooLong);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What systemd's extract_first_word(UNQUOTE | CUNESCAPE) and specifier expansion make of a
    /// value that consists of double-quoted words.
    fn read_back(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            if c == ' ' {
                continue;
            }
            assert_eq!(c, '"', "every word is quoted: {line}");
            let mut word = String::new();
            loop {
                match chars.next().expect("closing quote") {
                    '"' => break,
                    '%' => {
                        assert_eq!(chars.next(), Some('%'), "a specifier in {line}");
                        word.push('%');
                    }
                    '\\' => match chars.next().expect("escape") {
                        'n' => word.push('\n'),
                        't' => word.push('\t'),
                        'x' => {
                            let hex: String = [chars.next().unwrap(), chars.next().unwrap()]
                                .iter()
                                .collect();
                            word.push(u8::from_str_radix(&hex, 16).unwrap() as char);
                        }
                        c @ ('"' | '\\') => word.push(c),
                        c => panic!("unknown escape {c:?}"),
                    },
                    c => word.push(c),
                }
            }
            words.push(word);
        }
        words
    }

    #[test]
    fn quotes_what_means_something() {
        assert_eq!(quoted("a b").unwrap(), r#""a b""#);
        assert_eq!(quoted("100%").unwrap(), r#""100%%""#);
        assert_eq!(quoted("$HOME ${X}").unwrap(), r#""$HOME ${X}""#);
        assert_eq!(quoted("it's \"q\" \\").unwrap(), r#""it's \"q\" \\""#);
        assert_eq!(quoted("a\nb\tc\rd\x1b").unwrap(), r#""a\nb\tc\x0dd\x1b""#);
        assert_eq!(quoted(";").unwrap(), r#"";""#);
        assert_eq!(quoted("").unwrap(), r#""""#);
        assert_eq!(quoted("a\0b"), Err(Unrepresentable::Nul));
    }

    #[test]
    fn command_line_keeps_argv0_and_dollar() {
        let argv = ["sh".to_string(), "-c".into(), "echo $$ %i".into()];
        assert_eq!(
            command_line(Path::new("/r/bin/sh"), &argv).unwrap(),
            r#"":@/r/bin/sh" "sh" "-c" "echo $$ %%i""#
        );
    }

    #[test]
    fn names_of_units_are_what_systemd_takes() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let good = names(&["dbus.service", "a@b:c_d.e.socket", r"dev-disk\x2d1.device"]);
        assert_eq!(unit_names(&good).unwrap(), good.join(" "));
        assert_eq!(unit_names(&[]).unwrap(), "");
        let long = format!("{}.service", "x".repeat(UNIT_NAME_MAX));
        for bad in [
            "",
            "dbus",
            ".service",
            "a b.service",
            "a%i.service",
            "a.conf",
            "a\n.service",
            "a@.service",
            "@a.service",
            "a/b.mount",
            "ä.service",
            "a.service\\",
            &long,
        ] {
            let bad = names(&[bad]);
            assert_eq!(unit_names(&bad), Err(Unrepresentable::UnitName), "{bad:?}");
        }
    }

    #[test]
    fn refuses_what_systemd_refuses() {
        let argv = ["x".to_string()];
        for path in ["/a\"b", "/a'b", "/a\\b", "/a\nb"] {
            assert_eq!(
                command_line(Path::new(path), &argv),
                Err(Unrepresentable::ExecutableName),
                "{path:?}"
            );
        }
        assert_eq!(
            command_line(Path::new("bin/x"), &argv),
            Err(Unrepresentable::NotAbsolute)
        );
        for name in ["", "1A", "a.b", "a-b", "a=b", "ä"] {
            assert_eq!(environment(name, "v"), Err(Unrepresentable::VariableName));
        }
        assert_eq!(environment("A", "\x1b[0m"), Err(Unrepresentable::Control));
        assert_eq!(path(Path::new("/a ")), Err(Unrepresentable::Trailing));
        assert_eq!(path(Path::new("/a\\")), Err(Unrepresentable::Trailing));
        assert_eq!(path(Path::new("/a\nb")), Err(Unrepresentable::Control));
        let long = "x".repeat(LINE_MAX);
        assert_eq!(environment("A", &long), Err(Unrepresentable::TooLong));
    }

    proptest! {
        #[test]
        fn every_word_reads_back(words in proptest::collection::vec("[^\0]{0,40}", 1..6)) {
            let line = command_line(Path::new("/bin/x"), &words).unwrap();
            prop_assert!(!line.contains(['\n', '\r']));
            let read = read_back(&line);
            prop_assert_eq!(&read[0], ":@/bin/x");
            prop_assert_eq!(&read[1..], &words[..]);
        }

        #[test]
        fn every_variable_reads_back(name in "[A-Za-z_][A-Za-z0-9_]{0,9}", value in "[^\0-\x08\x0b-\x1f\x7f]{0,60}") {
            let line = environment(&name, &value).unwrap();
            prop_assert!(!line.contains(['\n', '\r']));
            prop_assert_eq!(read_back(&line), vec![format!("{name}={value}")]);
        }
    }
}
