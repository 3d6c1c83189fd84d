use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// An image's tree with these empty files; those that end in a slash are directories, those with
/// an arrow links.
fn tree(paths: &[&str]) -> (TempDir, Tree) {
    let root = TempDir::new().unwrap();
    for path in paths {
        let (path, target) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Some(target)),
            None => (*path, None),
        };
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, file).unwrap(),
            None if path.ends_with('/') => fs::create_dir_all(file).unwrap(),
            None => fs::write(file, "").unwrap(),
        }
    }
    let tree = Tree::open(root.path()).unwrap();
    (root, tree)
}

/// `VARIABLE=value` of each hint, for a rootfs at `/r`.
fn told(paths: &[&str]) -> Vec<String> {
    let (_root, tree) = tree(paths);
    let hints = find(&tree).unwrap().into_iter();
    hints
        .map(|hint| format!("{}={}", hint.variable, hint.value(Path::new("/r"))))
        .collect()
}

#[test]
fn what_reads_a_variable_and_what_it_names_must_be_there() {
    assert_eq!(told(&[]), [""; 0]);
    assert_eq!(told(&["usr/share/perl/5.40.1/", "bin/sh"]), [""; 0]);
    assert_eq!(told(&["usr/bin/perl", "usr/bin/git"]), [""; 0]);
}

#[test]
fn the_layouts_of_distributions_are_known() {
    for (name, paths, expected) in [
        (
            "perl of Debian",
            &[
                "usr/bin/perl",
                "etc/perl/",
                "usr/lib/x86_64-linux-gnu/perl/5.40.1/",
                "usr/lib/x86_64-linux-gnu/perl/5.40 -> 5.40.1",
                "usr/lib/x86_64-linux-gnu/perl-base/",
                "usr/lib/x86_64-linux-gnu/perl5/5.40/",
                "usr/share/perl/5.40.1/",
                "usr/share/perl5/",
            ][..],
            &[
                "PERL5LIB=/r/etc/perl:/r/usr/lib/x86_64-linux-gnu/perl5/5.40:/r/usr/share/perl5:\
               /r/usr/lib/x86_64-linux-gnu/perl:/r/usr/share/perl",
            ][..],
        ),
        (
            "perl of a slim Debian",
            &[
                "usr/bin/perl",
                "usr/lib/aarch64-linux-gnu/perl-base/",
                "usr/share/perl5/Debconf/",
            ],
            &["PERL5LIB=/r/usr/share/perl5:/r/usr/lib/aarch64-linux-gnu/perl-base"],
        ),
        (
            "perl of Fedora",
            &[
                "usr/bin/perl",
                "usr/lib64/perl5/vendor_perl/",
                "usr/share/perl5/vendor_perl/",
            ],
            &[
                "PERL5LIB=/r/usr/share/perl5:/r/usr/lib64/perl5/vendor_perl:\
               /r/usr/share/perl5/vendor_perl:/r/usr/lib64/perl5",
            ],
        ),
        (
            "perl of Alpine",
            &[
                "usr/bin/perl",
                "usr/lib/perl5/core_perl/",
                "usr/share/perl5/core_perl/",
            ],
            &[
                "PERL5LIB=/r/usr/share/perl5:/r/usr/lib/perl5/core_perl:/r/usr/share/perl5/core_perl",
            ],
        ),
        (
            "perl of Arch",
            &[
                "usr/bin/perl",
                "usr/lib/perl5/5.40/core_perl/",
                "usr/share/perl5/vendor_perl/",
            ],
            &[
                "PERL5LIB=/r/usr/share/perl5:/r/usr/lib/perl5/5.40/core_perl:\
               /r/usr/share/perl5/vendor_perl",
            ],
        ),
        (
            "Docker's own perl",
            &[
                "usr/local/bin/perl",
                "usr/local/lib/perl5/5.40.0/x86_64-linux-gnu/",
                "usr/local/lib/perl5/site_perl/5.40.0/",
            ],
            &["PERL5LIB=/r/usr/local/lib/perl5/site_perl:/r/usr/local/lib/perl5"],
        ),
        (
            "git of Fedora",
            &[
                "usr/bin/git",
                "usr/libexec/git-core/",
                "usr/share/git-core/templates/",
                "usr/share/perl5/vendor_perl/Git.pm",
            ],
            &[
                "GITPERLLIB=/r/usr/share/perl5/vendor_perl",
                "GIT_EXEC_PATH=/r/usr/libexec/git-core",
                "GIT_TEMPLATE_DIR=/r/usr/share/git-core/templates",
            ],
        ),
        (
            "Docker's own ruby",
            &[
                "usr/local/bin/ruby",
                "usr/local/lib/ruby/3.3.0/x86_64-linux/",
                "usr/local/lib/ruby/gems/3.3.0/",
                "usr/local/bundle/",
            ],
            &[
                "RUBYLIB=/r/usr/local/lib/ruby/3.3.0:/r/usr/local/lib/ruby/3.3.0/x86_64-linux",
                "GEM_PATH=/r/usr/local/bundle:/r/usr/local/lib/ruby/gems/3.3.0",
            ],
        ),
        (
            "tcl of Debian",
            &[
                "usr/bin/tclsh8.6",
                "usr/share/tcltk/tcl8.6/init.tcl",
                "usr/share/tcltk/tcl8.6/tcl8/",
                "usr/lib/tcltk/x86_64-linux-gnu/",
            ],
            &[
                "TCL_LIBRARY=/r/usr/share/tcltk/tcl8.6",
                "TCL8_6_TM_PATH=/r/usr/share/tcltk/tcl8.6/tcl8",
                "TCLLIBPATH=/r/usr/share/tcltk /r/usr/lib/tcltk /r/usr/lib/tcltk/x86_64-linux-gnu",
            ],
        ),
        (
            "lua of Debian",
            &[
                "usr/bin/lua5.4",
                "usr/share/lua/5.4/",
                "usr/lib/x86_64-linux-gnu/lua/5.4/",
            ],
            &[
                "LUA_PATH_5_4=/r/usr/share/lua/5.4/?.lua;/r/usr/share/lua/5.4/?/init.lua;;",
                "LUA_CPATH_5_4=/r/usr/lib/x86_64-linux-gnu/lua/5.4/?.so;;",
            ],
        ),
        (
            "a C library",
            &[
                "lib/x86_64-linux-gnu/libc.so.6",
                "usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
                "usr/share/zoneinfo/UTC",
                "lib/x86_64-linux-gnu/libtinfo.so.6",
                "etc/terminfo/README",
                "lib/terminfo/x/",
            ],
            &[
                "GCONV_PATH=/r/usr/lib/x86_64-linux-gnu/gconv",
                "TZDIR=/r/usr/share/zoneinfo",
                "TERMINFO_DIRS=/r/etc/terminfo:/r/lib/terminfo:",
            ],
        ),
    ] {
        assert_eq!(told(paths), expected, "{name}");
    }
}

#[test]
fn the_program_is_named_and_no_variable_twice() {
    let (_root, tree) = tree(&["usr/local/bin/erl", "usr/local/lib/erlang/"]);
    let hints = find(&tree).unwrap();
    assert_eq!(hints[0].program, "/usr/local/bin/erl");
    assert_eq!(hints[0].paths, ["/usr/local/lib/erlang"]);
    let mut variables: Vec<_> = RULES.iter().map(|rule| rule.variable).collect();
    variables.sort_unstable();
    variables.dedup();
    assert_eq!(variables.len(), RULES.len());
}

#[test]
fn the_tree_is_never_left() {
    let outside = TempDir::new().unwrap();
    fs::create_dir_all(outside.path().join("perl/5.40.1")).unwrap();
    let link = |path: &str| format!("{path} -> {}", outside.path().display());
    let escapes = [
        "usr/bin/perl".to_owned(),
        link("usr/share"),
        "usr/local/share -> ../../../../../../..".to_owned(),
    ];
    assert_eq!(told(&escapes.each_ref().map(String::as_str)), [""; 0]);
    // An absolute link means the tree's own files.
    let inside = ["usr/bin/perl", "data/perl/5.40.1/", "usr/share -> /data"];
    assert_eq!(told(&inside), ["PERL5LIB=/r/usr/share/perl"]);
}

#[test]
fn hostile_names_and_crowds_are_survived() {
    let (root, tree) = tree(&["usr/bin/ruby"]);
    let lib = root.path().join("usr/lib/ruby");
    for name in ["3.3.0:", "3.3 .0", "3.$3.0", "3.\n3.0", "3.ü.0"] {
        fs::create_dir_all(lib.join(name)).unwrap();
    }
    assert_eq!(find(&tree).unwrap(), []);
    for number in 0..2 * MAX_MATCHES {
        fs::create_dir(lib.join(format!("1.1.{number}"))).unwrap();
    }
    assert_eq!(find(&tree).unwrap()[0].paths.len(), MAX_MATCHES);
}

#[test]
fn names_fit_patterns() {
    for (name, pattern, expected) in [
        ("perl", "perl", true),
        ("perl5", "perl", false),
        ("5.40.1", "5.*.*", true),
        ("5.40", "5.*.*", false),
        ("15.40.1", "5.*.*", false),
        ("x86_64-linux-gnu", "*-linux-*", true),
        ("-linux-", "*-linux-*", true),
        ("linux-gnu", "*-linux-*", false),
        ("lib64", "lib*", true),
        ("ab", "ab*ab", false),
        ("aXbXc", "a*b*c", true),
        ("ac", "a*c*c", false),
        ("", "*", true),
    ] {
        assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
    }
}
