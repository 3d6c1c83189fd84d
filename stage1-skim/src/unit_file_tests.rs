//! Tests of the syntax of unit files.

use super::*;

fn line(number: usize, section: &str, key: &str, value: &str) -> Line {
    Line {
        number,
        section: section.into(),
        key: key.into(),
        value: value.into(),
    }
}

#[test]
fn lines_are_found_as_systemd_finds_them() {
    let text = "\u{feff}# why\n[Unit]\n  After = a.target  \n\n[App web app]\n; note\nExec=/bin/a \\\n\
                # aside\n  b \\\n\n  C=d\\\\\n[Service]\r\nType=exec\r\nX=a = b\n[Empty]\nE=\\";
    assert_eq!(
        lex(text).unwrap(),
        [
            line(3, "Unit", "After", "a.target"),
            line(7, "App web app", "Exec", "/bin/a  b"),
            line(11, "App web app", "C", "d\\\\"),
            line(13, "Service", "Type", "exec"),
            line(14, "Service", "X", "a = b"),
            line(16, "Empty", "E", ""),
        ]
    );
    let headings = headings("[A]\n[B b]\nx=1\n[A]").unwrap();
    let headings: Vec<_> = headings
        .iter()
        .map(|h| (h.number, h.name.as_str()))
        .collect();
    assert_eq!(headings, [(1, "A"), (2, "B b"), (4, "A")]);
}

#[test]
fn what_is_no_line_is_refused_with_its_number() {
    let long = format!("[{}]", "x".repeat(NAME_MAX + 1));
    let many = format!("[A]\n{}", "a=\n".repeat(LINES_MAX));
    for (text, says) in [
        ("a=b", "line 1: `a=b` stands before the first section"),
        ("[A]\n\nfoo", "line 3: `foo` is neither"),
        ("[A]\nfoo \\\n bar", "line 2: `foo  bar` is neither"),
        ("[A", "line 1: `[A` is a section without its ]"),
        ("[]", "line 1: the name of the section is empty"),
        ("[A]\n=b", "line 2: the name of the key is empty"),
        (
            "[A]\na\u{1b}=b",
            "line 2: the name of the key `a\\u{1b}` holds",
        ),
        (&long, "line 1: the name of the section is over"),
        (&many, "line 10001: there are over 10000 lines"),
        (&"#".repeat(TEXT_MAX + 1), "it is over 1048576 bytes long"),
    ] {
        let error = format!("{:#}", lex(text).unwrap_err());
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn words_are_split_as_systemd_splits_them() {
    for (text, expected) in [
        ("", &[][..]),
        ("  a\t b  ", &["a", "b"]),
        (r#"a "b c" 'd "e'"#, &["a", "b c", "d \"e"]),
        (r#"a"b c"d '' """#, &["ab cd", "", ""]),
        (r"a\sb \x41\102\u00e9\U0001F600", &["a b", "ABé😀"]),
        (r#""a\"b\\" 'c\'d'"#, &["a\"b\\", "c'd"]),
        (r"\xc3\xa9", &["é"]),
        // systemd leaves escapes alone that C does not have.
        (r"\$A \. \8 \x4", &[r"\$A", r"\.", r"\8", r"\x4"]),
        (r"\u12 \+12", &[r"\u12", r"\+12"]),
        ("$A ${B} %i %%", &["$A", "${B}", "%i", "%%"]),
        ("a\\é", &["a\\é"]),
    ] {
        assert_eq!(split_words(text).unwrap(), expected, "{text}");
    }
    let many = "a ".repeat(WORDS_MAX + 1);
    for (text, says) in [
        ("a \"b c", "the quote \" in `\"b c` is not closed"),
        ("a\\", "it ends in a backslash"),
        (r"a\x00", "an escape in it gives a NUL byte"),
        (r"\xff", r"an escape in `\xff` gives no UTF-8"),
        (&many, "it has over 10000 words"),
    ] {
        let error = split_words(text).unwrap_err().to_string();
        assert_eq!(error, says);
    }
}
