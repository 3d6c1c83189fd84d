//! Which programs are told what: data.
//!
//! A row holds for every distribution. Debian and its kin have a directory for each architecture
//! (`/usr/lib/x86_64-linux-gnu`), Fedora, RHEL and SUSE have `lib64`, Alpine and Arch `lib`, and
//! what was built by hand, as in Docker's official images, lies in `/usr/local`.

use super::Form;

const LIST: Form = Form::List(":");

/// A variable, who reads it, and where what it has to name may be.
///
/// In a pattern a `*` stands for any part of one name. A last name in brackets has to be there and
/// does not belong to the path: `/usr/share/perl/(5.*.*)` is `/usr/share/perl`, if such a directory
/// is in there.
pub(super) struct Rule {
    /// The programs or libraries that read it; with none of them in the image there is no hint.
    pub(super) programs: &'static [&'static str],
    /// The variable.
    pub(super) variable: &'static str,
    /// Patterns of directories or files, best first.
    pub(super) paths: &'static [&'static str],
    /// A pattern, and another one that comes last where there is nothing of the first.
    pub(super) substitute: Option<(&'static str, &'static str)>,
    /// How the variable names them.
    pub(super) form: Form,
}

const GIT: &[&str] = &["/usr/bin/git", "/usr/local/bin/git"];

const RUBY: &[&str] = &["/usr/bin/ruby", "/usr/local/bin/ruby", "/usr/bin/ruby3.*"];

const TCL: &[&str] = &[
    "/usr/bin/tclsh",
    "/usr/local/bin/tclsh",
    "/usr/bin/tclsh8.6",
    "/usr/local/bin/tclsh8.6",
    "/usr/lib/*-linux-*/libtcl8.6.so",
    "/usr/lib*/libtcl8.6.so",
];

const LUA_5_1: &[&str] = &[
    "/usr/bin/lua5.1",
    "/usr/bin/luajit",
    "/usr/bin/lua",
    "/usr/local/bin/lua",
];

const LUA_5_3: &[&str] = &["/usr/bin/lua5.3", "/usr/bin/lua", "/usr/local/bin/lua"];

/// Some servers have it built in.
const LUA_5_4: &[&str] = &[
    "/usr/bin/lua5.4",
    "/usr/bin/lua",
    "/usr/local/bin/lua",
    "/usr/lib/*-linux-*/liblua5.4.so.0",
    "/usr/lib*/liblua-5.4.so",
    "/usr/lib/liblua.so.5.4",
];

const LUA_MODULES: &[&str] = &["?.lua", "?/init.lua"];

const LUA_LIBRARIES: &[&str] = &["?.so"];

const PYTHON: &[&str] = &["/usr/bin/python3", "/usr/local/bin/python3"];

/// The GNU C library.
const GLIBC: &[&str] = &[
    "/usr/lib/*-linux-*/libc.so.6",
    "/lib/*-linux-*/libc.so.6",
    "/usr/lib*/libc.so.6",
    "/lib*/libc.so.6",
];

const ZONES: &[&str] = &["/usr/share/zoneinfo/(UTC)"];

/// The variables, each once. What is said of each is what it does to programs of the host that the
/// app starts, which get it, too.
pub(super) const RULES: &[Rule] = &[
    // perlrun(1). Perl looks into a directory's subdirectories named after its own version by
    // itself, so that a perl of another version, such as the host's, passes over what they hold.
    // Harmful where no version is in between (Fedora, Alpine, Debian's perl5 and perl-base): the
    // host's perl may find modules that were built for the image's, and refuses them.
    Rule {
        programs: &["/usr/bin/perl", "/usr/local/bin/perl", "/bin/perl"],
        variable: "PERL5LIB",
        paths: &[
            "/etc/perl",
            "/usr/local/lib/*-linux-*/perl/(5.*.*)",
            "/usr/local/share/perl/(5.*.*)",
            "/usr/local/lib/perl5/site_perl/(5.*.*)",
            "/usr/local/lib/perl5/vendor_perl/(5.*.*)",
            "/usr/local/lib/perl5/(5.*.*)",
            "/usr/lib/*-linux-*/perl5/5.*",
            "/usr/share/perl5",
            "/usr/lib/*-linux-*/perl/(5.*.*)",
            "/usr/share/perl/(5.*.*)",
            "/usr/lib/perl5/site_perl/(5.*.*)",
            "/usr/lib/perl5/vendor_perl/(5.*.*)",
            "/usr/lib/perl5/(5.*.*)",
            "/usr/lib/perl5/5.*/*_perl",
            "/usr/local/lib/perl5/site_perl",
            "/usr/local/share/perl5/site_perl",
            "/usr/local/lib64/perl5/5.*",
            "/usr/local/share/perl5/5.*",
            "/usr/lib*/perl5/*_perl",
            "/usr/share/perl5/*_perl",
            "/usr/lib64/perl5",
        ],
        // What a slim Debian has in place of all of perl's modules; no version keeps others away
        // from it.
        substitute: Some((
            "/usr/lib/*-linux-*/perl/(5.*.*)",
            "/usr/lib/*-linux-*/perl-base",
        )),
        form: LIST,
    },
    // Harmless: asked only by git's own scripts in perl.
    Rule {
        programs: GIT,
        variable: "GITPERLLIB",
        paths: &[
            "/usr/share/perl5/(Git.pm)",
            "/usr/share/perl5/vendor_perl/(Git.pm)",
            "/usr/local/share/perl5/(Git.pm)",
        ],
        substitute: None,
        form: LIST,
    },
    // git(1). The host's git would run the image's subcommands, which work.
    Rule {
        programs: GIT,
        variable: "GIT_EXEC_PATH",
        paths: &[
            "/usr/lib/git-core",
            "/usr/libexec/git-core",
            "/usr/lib64/git-core",
            "/usr/local/libexec/git-core",
            "/usr/local/lib/git-core",
        ],
        substitute: None,
        form: Form::First,
    },
    // git-init(1). Harmless.
    Rule {
        programs: GIT,
        variable: "GIT_TEMPLATE_DIR",
        paths: &[
            "/usr/share/git-core/templates",
            "/usr/local/share/git-core/templates",
        ],
        substitute: None,
        form: Form::First,
    },
    // ruby(1). Harmful: the host's ruby, if it is another version, refuses to start.
    Rule {
        programs: RUBY,
        variable: "RUBYLIB",
        paths: &[
            "/usr/local/lib/ruby/site_ruby/*.*.*",
            "/usr/local/lib/ruby/site_ruby/*.*.*/*-linux*",
            "/usr/local/lib/ruby/vendor_ruby/*.*.*",
            "/usr/local/lib/ruby/*.*.*",
            "/usr/local/lib/ruby/*.*.*/*-linux*",
            "/usr/lib/ruby/site_ruby/*.*.*",
            "/usr/lib/ruby/vendor_ruby/*.*.*",
            "/usr/lib/*-linux-*/ruby/vendor_ruby/*.*.*",
            "/usr/lib/ruby/vendor_ruby",
            "/usr/lib/ruby/*.*.*",
            "/usr/lib/ruby/*.*.*/*-linux*",
            "/usr/lib/*-linux-*/ruby/*.*.*",
            "/usr/share/ruby/vendor_ruby",
            "/usr/lib64/ruby/vendor_ruby",
            "/usr/share/rubygems",
            "/usr/share/ruby",
            "/usr/lib64/ruby",
        ],
        substitute: None,
        form: LIST,
    },
    // gem(1). The host's ruby finds the image's gems after its own.
    Rule {
        programs: RUBY,
        variable: "GEM_PATH",
        paths: &[
            "/usr/local/bundle",
            "/usr/local/lib/ruby/gems/*.*.*",
            "/var/lib/gems/*.*.*",
            "/usr/lib/ruby/gems/*.*.*",
            "/usr/lib/*-linux-*/ruby/gems/*.*.*",
            "/usr/lib/*-linux-*/rubygems-integration/*.*.*",
            "/usr/share/rubygems-integration/*",
            "/usr/local/share/gems",
            "/usr/share/gems",
        ],
        substitute: None,
        form: LIST,
    },
    // node(1), for what distributions add to its search path. Searched last, so harmless. Debian's
    // node needs more than that: it has parts of itself at absolute paths, and does not start.
    Rule {
        programs: &["/usr/bin/node", "/usr/bin/nodejs"],
        variable: "NODE_PATH",
        paths: &[
            "/usr/lib/*-linux-*/nodejs",
            "/usr/share/nodejs",
            "/usr/lib/node_modules",
        ],
        substitute: None,
        form: LIST,
    },
    // tclvars(n). A tclsh of another version passes over it.
    Rule {
        programs: TCL,
        variable: "TCL_LIBRARY",
        paths: &[
            "/usr/local/lib/tcl*.*/(init.tcl)",
            "/usr/share/tcltk/tcl*.*/(init.tcl)",
            "/usr/share/tcl*.*/(init.tcl)",
            "/usr/lib*/tcl*.*/(init.tcl)",
        ],
        substitute: None,
        form: Form::First,
    },
    // tm(n), for Debian, whose modules are elsewhere than Tcl looks. Its name has the version:
    // harmless.
    Rule {
        programs: TCL,
        variable: "TCL8_6_TM_PATH",
        paths: &["/usr/share/tcltk/tcl8.6/tcl8"],
        substitute: None,
        form: LIST,
    },
    // tclvars(n). Searched last.
    Rule {
        programs: TCL,
        variable: "TCLLIBPATH",
        paths: &[
            "/usr/share/tcltk",
            "/usr/lib/tcltk",
            "/usr/lib/tcltk/*-linux-*",
        ],
        substitute: None,
        form: Form::List(" "),
    },
    // lua(1). What is compiled in comes after it. Older ones than 5.2 read the variable without a
    // version, newer ones that of their own version first: harmless.
    lua(
        "LUA_PATH",
        LUA_5_1,
        &["/usr/local/share/lua/5.1", "/usr/share/lua/5.1"],
        LUA_MODULES,
    ),
    lua(
        "LUA_CPATH",
        LUA_5_1,
        &[
            "/usr/local/lib/lua/5.1",
            "/usr/lib/*-linux-*/lua/5.1",
            "/usr/lib*/lua/5.1",
        ],
        LUA_LIBRARIES,
    ),
    lua(
        "LUA_PATH_5_3",
        LUA_5_3,
        &["/usr/local/share/lua/5.3", "/usr/share/lua/5.3"],
        LUA_MODULES,
    ),
    lua(
        "LUA_CPATH_5_3",
        LUA_5_3,
        &[
            "/usr/local/lib/lua/5.3",
            "/usr/lib/*-linux-*/lua/5.3",
            "/usr/lib*/lua/5.3",
        ],
        LUA_LIBRARIES,
    ),
    lua(
        "LUA_PATH_5_4",
        LUA_5_4,
        &["/usr/local/share/lua/5.4", "/usr/share/lua/5.4"],
        LUA_MODULES,
    ),
    lua(
        "LUA_CPATH_5_4",
        LUA_5_4,
        &[
            "/usr/local/lib/lua/5.4",
            "/usr/lib/*-linux-*/lua/5.4",
            "/usr/lib*/lua/5.4",
        ],
        LUA_LIBRARIES,
    ),
    // erl(1). The host's erl starts the image's, which works. Debian's does not ask for it, and has
    // its root compiled in.
    Rule {
        programs: &["/usr/bin/erl", "/usr/local/bin/erl"],
        variable: "ERL_ROOTDIR",
        paths: &[
            "/usr/local/lib/erlang",
            "/usr/lib64/erlang",
            "/usr/lib/erlang",
        ],
        substitute: None,
        form: Form::First,
    },
    // openssl-env(7). The host's libcrypto loads the image's providers, for which a newer C library
    // may be needed; only those who ask for old ciphers do.
    Rule {
        programs: &[
            "/usr/lib/*-linux-*/libcrypto.so.3",
            "/usr/lib*/libcrypto.so.3",
            "/lib/libcrypto.so.3",
        ],
        variable: "OPENSSL_MODULES",
        paths: &[
            "/usr/lib/*-linux-*/ossl-modules/(*.so)",
            "/usr/lib*/ossl-modules/(*.so)",
        ],
        substitute: None,
        form: Form::First,
    },
    // iconv_open(3). The host's C library loads the image's converters before its own; they seldom
    // ask for a newer one.
    Rule {
        programs: GLIBC,
        variable: "GCONV_PATH",
        paths: &[
            "/usr/lib/*-linux-*/gconv/(gconv-modules*)",
            "/usr/lib*/gconv/(gconv-modules*)",
        ],
        substitute: None,
        form: LIST,
    },
    // tzset(3). Harmless: the format stays, and /etc/localtime is the host's in any case.
    Rule {
        programs: GLIBC,
        variable: "TZDIR",
        paths: ZONES,
        substitute: None,
        form: Form::First,
    },
    // Python's zoneinfo. Harmless, for the same reason.
    Rule {
        programs: PYTHON,
        variable: "PYTHONTZPATH",
        paths: ZONES,
        substitute: None,
        form: LIST,
    },
    // file(1). The host's file reads the image's database, and complains of a newer format.
    Rule {
        programs: &[
            "/usr/bin/file",
            "/usr/lib/*-linux-*/libmagic.so.1",
            "/usr/lib*/libmagic.so.1",
        ],
        variable: "MAGIC",
        paths: &[
            "/usr/lib/file/magic.mgc",
            "/usr/share/misc/magic.mgc",
            "/usr/share/file/magic.mgc",
            "/usr/share/file/misc/magic.mgc",
        ],
        substitute: None,
        form: Form::First,
    },
    // ncurses(3X). Harmless: the format stays, and what is compiled in is searched, too.
    Rule {
        programs: &[
            "/usr/lib/*-linux-*/libtinfo.so.6",
            "/lib/*-linux-*/libtinfo.so.6",
            "/usr/lib*/libtinfo.so.6",
            "/usr/lib*/libncursesw.so.6",
        ],
        variable: "TERMINFO_DIRS",
        paths: &["/etc/terminfo/(*)", "/usr/share/terminfo", "/lib/terminfo"],
        substitute: None,
        form: Form::ListAndDefault,
    },
];

const fn lua(
    variable: &'static str,
    programs: &'static [&'static str],
    paths: &'static [&'static str],
    templates: &'static [&'static str],
) -> Rule {
    Rule {
        programs,
        variable,
        paths,
        substitute: None,
        form: Form::Templates(templates),
    }
}
