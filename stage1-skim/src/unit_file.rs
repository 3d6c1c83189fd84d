//! The syntax of unit files (systemd.syntax(7)): lines, sections, assignments, words. Pure.
//!
//! What systemd passes over with a line in the journal (a line that is neither a section nor an
//! assignment) is an error here: whoever wrote it is told at once.

use anyhow::{Context, Result, bail, ensure};

/// Longest text that is read, in bytes.
pub const TEXT_MAX: usize = 1024 * 1024;

/// Most assignments in a text.
pub const LINES_MAX: usize = 10_000;

/// Longest name of a section or a key, in bytes.
pub const NAME_MAX: usize = 512;

/// Most words of a value.
pub const WORDS_MAX: usize = 10_000;

/// What systemd takes for white space between words and around lines.
const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// One assignment of a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of the line that it begins in, from 1.
    pub number: usize,
    /// The section that it stands in, as between the brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, continued lines joined: neither unquoted nor expanded.
    pub value: String,
}

/// The heading of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The number of its line, from 1.
    pub number: usize,
    /// What stands between the brackets.
    pub name: String,
}

/// What a line of a unit file is, once continued lines are joined.
enum Item {
    Heading(Heading),
    Assignment(Line),
}

/// The assignments of a unit file in their order, in whatever sections.
///
/// # Errors
/// Where a line is neither a section, an assignment within one nor a comment, or something is
/// longer or more than the bounds of this module; the message names the line.
pub fn lex(text: &str) -> Result<Vec<Line>> {
    let items = items(text)?.into_iter();
    let lines = items.filter_map(|item| match item {
        Item::Assignment(line) => Some(line),
        Item::Heading(_) => None,
    });
    Ok(lines.collect())
}

/// The headings of a unit file in their order, also those of sections that hold nothing, and
/// those that come again.
///
/// # Errors
/// As [`lex`].
pub fn headings(text: &str) -> Result<Vec<Heading>> {
    let items = items(text)?.into_iter();
    let headings = items.filter_map(|item| match item {
        Item::Heading(heading) => Some(heading),
        Item::Assignment(_) => None,
    });
    Ok(headings.collect())
}

fn items(text: &str) -> Result<Vec<Item>> {
    ensure!(
        text.len() <= TEXT_MAX,
        "it is over {TEXT_MAX} bytes long, which is more than skim reads of a unit file"
    );
    let mut items = Vec::new();
    let mut section: Option<String> = None;
    for (number, line) in joined(text) {
        let item = item(number, &line, section.as_deref());
        let item = item.with_context(|| format!("line {number}"))?;
        if let Item::Heading(heading) = &item {
            section = Some(heading.name.clone());
        }
        items.push(item);
        ensure!(
            items.len() <= LINES_MAX,
            "line {number}: there are over {LINES_MAX} lines before it"
        );
    }
    Ok(items)
}

/// The lines that say something, each with the number of its first one: comments and empty lines
/// are left out, and a line that ends in a backslash goes on in the next that is no comment.
fn joined(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches(WHITE_SPACE);
        if line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        whole.push_str(line);
        if is_continued(&whole) {
            whole.pop();
            whole.push(' ');
            open = Some((number, whole));
        } else {
            lines.push((number, whole));
        }
    }
    lines.extend(open);
    let trimmed = lines
        .into_iter()
        .map(|(number, line)| (number, line.trim_matches(WHITE_SPACE).to_string()));
    trimmed.filter(|(_, line)| !line.is_empty()).collect()
}

/// Whether a line ends in a backslash that is not itself escaped.
fn is_continued(line: &str) -> bool {
    let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\');
    backslashes.count() % 2 == 1
}

fn item(number: usize, line: &str, section: Option<&str>) -> Result<Item> {
    let wrong = || format!("`{}`", excerpt(line));
    if let Some(name) = line.strip_prefix('[') {
        let name = name.strip_suffix(']');
        let name = name.with_context(|| format!("{} is a section without its ]", wrong()))?;
        check_name("section", name)?;
        let name = name.to_string();
        return Ok(Item::Heading(Heading { number, name }));
    }
    let Some((key, value)) = line.split_once('=') else {
        bail!("{} is neither a section nor KEY=VALUE", wrong());
    };
    let key = key.trim_end_matches(WHITE_SPACE);
    check_name("key", key)?;
    let Some(section) = section else {
        bail!("{} stands before the first section", wrong());
    };
    Ok(Item::Assignment(Line {
        number,
        section: section.to_string(),
        key: key.to_string(),
        value: value.trim_start_matches(WHITE_SPACE).to_string(),
    }))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    ensure!(!name.is_empty(), "the name of the {what} is empty");
    ensure!(
        name.len() <= NAME_MAX,
        "the name of the {what} is over {NAME_MAX} bytes long"
    );
    ensure!(
        !name.chars().any(char::is_control),
        "the name of the {what} `{}` holds a control character",
        name.escape_debug()
    );
    Ok(())
}

/// The beginning of a text, fit for a message.
fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let begin = chars.by_ref().take(60);
    let mut shown: String = begin
        .map(|c| match c.is_control() {
            true => c.escape_debug().to_string(),
            false => c.to_string(),
        })
        .collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The words of a value, as systemd splits it (systemd.syntax(7), "Quoting"): at white space, with
/// quotes removed and C escapes expanded. An escape that C does not have stays as it stands.
/// Neither specifiers nor variables are expanded.
///
/// # Errors
/// Where a quote is not closed, the value ends in a backslash, an escape gives a NUL or no UTF-8,
/// or there are over [`WORDS_MAX`] words.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = first_word(rest)? {
        words.push(word);
        rest = after;
        ensure!(words.len() <= WORDS_MAX, "it has over {WORDS_MAX} words");
    }
    Ok(words)
}

/// The first word of a value, as [`split_words`] has it, and what follows the white space after
/// it; `None` where there is none.
///
/// # Errors
/// As [`split_words`].
pub fn first_word(text: &str) -> Result<Option<(String, &str)>> {
    let text = text.trim_start_matches(WHITE_SPACE);
    if text.is_empty() {
        return Ok(None);
    }
    let mut word = Vec::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let length = escape(&text[at + 1..], &mut word)?;
                chars.by_ref().take(length).for_each(drop);
            }
            _ if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            _ if quote.is_none() && WHITE_SPACE.contains(&c) => {
                end = at;
                break;
            }
            _ => word.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    if let Some(quote) = quote {
        bail!("the quote {quote} in `{}` is not closed", excerpt(text));
    }
    let word = String::from_utf8(word).ok();
    let word = word.with_context(|| format!("an escape in `{}` gives no UTF-8", excerpt(text)))?;
    Ok(Some((word, text[end..].trim_start_matches(WHITE_SPACE))))
}

/// Puts into `word` what the escape that begins `text`, its backslash taken off, stands for; the
/// number of characters of `text` that it takes.
fn escape(text: &str, word: &mut Vec<u8>) -> Result<usize> {
    let Some(first) = text.chars().next() else {
        bail!("it ends in a backslash");
    };
    let plain = match first {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        's' => b' ',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' | '\'' => first as u8,
        _ => 0,
    };
    if plain != 0 {
        word.push(plain);
        return Ok(1);
    }
    let number = |from: usize, count: usize, radix: u32| {
        let digits = text.get(from..from + count)?;
        let all = digits.chars().all(|c| c.is_digit(radix));
        u32::from_str_radix(digits, radix).ok().filter(|_| all)
    };
    let (value, length) = match first {
        'x' => (number(1, 2, 16), 3),
        'u' => (number(1, 4, 16), 5),
        'U' => (number(1, 8, 16), 9),
        _ => (number(0, 3, 8), 3),
    };
    ensure!(value != Some(0), "an escape in it gives a NUL byte");
    let is_character = matches!(first, 'u' | 'U');
    if let Some(c) = value.and_then(char::from_u32).filter(|_| is_character) {
        word.extend(c.encode_utf8(&mut [0; 4]).bytes());
        return Ok(length);
    }
    let byte = value.and_then(|value| u8::try_from(value).ok());
    if let Some(byte) = byte.filter(|_| !is_character) {
        word.push(byte);
        return Ok(length);
    }
    // Not one of C's: systemd warns, and leaves it as it stands.
    word.push(b'\\');
    word.extend(first.encode_utf8(&mut [0; 4]).bytes());
    Ok(1)
}

#[cfg(test)]
#[path = "unit_file_tests.rs"]
mod tests;
