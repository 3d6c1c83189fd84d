//! Tests of the library directories.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const AMD64: Machine = Machine {
    number: 62,
    wide: true,
};
const I386: Machine = Machine {
    number: 3,
    wide: false,
};

#[test]
fn reads_ld_so_conf() {
    let text = b"# comment\ninclude /etc/ld.so.conf.d/*.conf a.conf\n\n  /opt/lib # x\n\
        /old=libc6\nhwcap 0 nosegneg\n/with blank\n";
    let expected = [
        Directive::Include(b"/etc/ld.so.conf.d/*.conf"),
        Directive::Include(b"a.conf"),
        Directive::Directory(b"/opt/lib"),
        Directive::Directory(b"/old"),
        Directive::Directory(b"/with blank"),
    ];
    assert_eq!(directives(text), expected);
}

#[test]
fn knows_the_loaders() {
    for (path, libc) in [
        ("/lib64/ld-linux-x86-64.so.2", Libc::Glibc),
        ("/lib/ld-musl-aarch64.so.1", Libc::Musl(b"aarch64".to_vec())),
        ("/system/bin/linker64", Libc::Glibc),
    ] {
        assert_eq!(Libc::of_loader(path.as_bytes()), libc, "{path}");
    }
    assert!(Libc::Glibc.is_named(b"libc.so.6"));
    assert!(!Libc::Glibc.is_named(b"libc.musl-x86_64.so.1"));
    assert!(Libc::Musl(b"x86_64".to_vec()).is_named(b"libc.so"));
}

#[test]
fn matches_names() {
    for (pattern, name, expected) in [
        ("*.conf", "a.conf", true),
        ("*.conf", ".conf", false),
        ("*.conf", "a.conf~", false),
        ("a?c*", "abcd", true),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        ("", "", true),
        ("x", "", false),
        ("**", "x", true),
    ] {
        assert_eq!(
            is_match(pattern.as_bytes(), name.as_bytes()),
            expected,
            "{pattern} {name}"
        );
    }
}

#[test]
fn lists_what_is_there_without_repeats() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for directory in [
        "usr/lib/x86_64-linux-gnu",
        "usr/lib64",
        "usr/local/lib",
        "opt/b",
        "etc/conf.d",
    ] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    symlink("usr/lib", at("lib")).unwrap();
    symlink("/usr/lib64", at("lib64")).unwrap();
    fs::write(at("etc/ld.so.conf"), "include conf.d/*.conf\n/missing\n").unwrap();
    fs::write(
        at("etc/conf.d/a.conf"),
        "/opt/b\ninclude a.conf\ninclude /etc/ld.so.conf\n",
    )
    .unwrap();
    let fd = fs::File::open(root.path()).unwrap();
    let tree = Tree::new(fd.as_fd());
    let list = |machine| {
        let found = directories(tree, &Libc::Glibc, machine).unwrap();
        found
            .into_iter()
            .map(|path| String::from_utf8(path).unwrap())
            .collect::<Vec<_>>()
    };
    let expected = [
        "/opt/b",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ];
    assert_eq!(list(AMD64), expected);
    assert_eq!(list(I386), ["/opt/b", "/usr/lib", "/usr/local/lib"]);

    let musl = Libc::Musl(b"x86_64".to_vec());
    assert_eq!(
        directories(tree, &musl, AMD64).unwrap(),
        [&b"/usr/lib"[..], b"/usr/local/lib"]
    );
    fs::write(at("etc/ld-musl-x86_64.path"), "/opt/b\n/missing:relative\n").unwrap();
    assert_eq!(directories(tree, &musl, AMD64).unwrap(), [b"/opt/b"]);
}

proptest! {
    #[test]
    fn any_configuration_is_read(text in any::<Vec<u8>>()) {
        for directive in directives(&text) {
            let (Directive::Directory(path) | Directive::Include(path)) = directive;
            prop_assert!(!path.contains(&b'\n') && !path.contains(&b'#'));
        }
        prop_assert!(musl_path(&text).len() <= MAX_DIRECTORIES);
    }

    #[test]
    fn a_pattern_matches_what_it_was_made_of(name in "[a-z]{0,8}", cut in 0_usize..9) {
        let cut = cut.min(name.len());
        let pattern = format!("{}*", &name[..cut]);
        prop_assert!(is_match(pattern.as_bytes(), name.as_bytes()));
        let longer = format!("{name}x");
        prop_assert!(!is_match(name.as_bytes(), longer.as_bytes()));
    }
}
