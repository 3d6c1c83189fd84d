//! JSON with line breaks, else as it was: its keys in their order, its numbers digit for digit.

use anyhow::Result;
use clap::{ArgAction, Args};
use stage1_skim::stdio;

/// How JSON is printed.
#[derive(Args, Debug)]
pub struct PrettyPrint {
    /// Print with line breaks and blanks for people to read
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pretty_print: bool,
}

impl PrettyPrint {
    /// Prints a document so, or byte for byte.
    ///
    /// # Errors
    /// Where standard output is closed.
    pub fn print(&self, document: &[u8]) -> Result<()> {
        match self.pretty_print {
            true => stdio::print(&json(document))?,
            false => stdio::print_bytes(document)?,
        }
        Ok(())
    }
}

/// How much deeper each level stands.
const INDENT: &str = "  ";

/// Sets the blanks of valid JSON anew.
pub fn json(document: &[u8]) -> String {
    let text = String::from_utf8_lossy(document);
    let mut pretty = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut characters = text.chars().filter(|c| !c.is_control()).peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                pretty.push('"');
                string(&mut characters, &mut pretty);
            }
            '{' | '[' => {
                pretty.push(character);
                while characters.next_if(|c| *c == ' ').is_some() {}
                if let Some(end) = characters.next_if(|c| matches!(c, '}' | ']')) {
                    pretty.push(end);
                } else {
                    depth += 1;
                    line(&mut pretty, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut pretty, depth);
                pretty.push(character);
            }
            ',' => {
                pretty.push(',');
                line(&mut pretty, depth);
            }
            ':' => pretty.push_str(": "),
            ' ' => (),
            other => pretty.push(other),
        }
    }
    pretty.push('\n');
    pretty
}

/// Copies a string up to its end.
fn string(characters: &mut impl Iterator<Item = char>, pretty: &mut String) {
    while let Some(character) = characters.next() {
        pretty.push(character);
        match character {
            '"' => return,
            '\\' => pretty.extend(characters.next()),
            _ => (),
        }
    }
}

fn line(pretty: &mut String, depth: i32) {
    pretty.push('\n');
    for _ in 0..depth {
        pretty.push_str(INDENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_numbers_stay() {
        let source = "{\"b\":[1.50,{ },[\n]],\r\n \"a\" : \"x{\\\",\\\\\",\"c\":null}";
        let expected = "{\n  \"b\": [\n    1.50,\n    {},\n    []\n  ],\n  \"a\": \"x{\\\",\\\\\",\n  \"c\": null\n}\n";
        assert_eq!(json(source.as_bytes()), expected);
        assert_eq!(json(b"{}"), "{}\n");
    }

    #[test]
    fn what_is_no_json_is_survived() {
        for odd in ["", "}}}", "[", "\"\\", "{]", "\u{1b}[1m"] {
            let text = json(odd.as_bytes());
            assert!(!text.contains('\u{1b}'), "{odd}");
        }
    }

    #[test]
    fn what_it_says_stays() {
        let source = serde_json::json!({"a": [1, {"b": "c\"\n ü"}], "d": {}, "e": -1.5e9});
        let pretty = json(source.to_string().as_bytes());
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&pretty).unwrap(),
            source
        );
    }
}
