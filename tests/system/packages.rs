//! Services out of Debian packages, of a release that is not the host's: each listens and answers,
//! run from its image, with no chroot.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use serde_json::Value;

use crate::support::command::{Outcome, run, skim};
use crate::support::host::Host;
use crate::support::pod::{self, Pod};
use crate::support::service::Port;
use crate::support::{process, systemd};

/// The number that the images' own users have there; no user of the host has it.
const IMAGE_UID: u32 = 4242;

/// An image's service, answering.
struct Service {
    pod: Pod,
    name: &'static str,
    port: Port,
}

impl Service {
    /// Starts the image of this name with flags, then arguments, and waits until it listens.
    #[track_caller]
    fn start(name: &'static str, port: Port, words: &[&str]) -> Self {
        let image = image(name);
        let pod = Pod::start([&[image.as_str()], words].concat());
        port.wait();
        let pid = systemd::main_pid(&pod.service(name));
        let executable = process::executable(pid);
        assert!(
            executable.starts_with(pod.rootfs(name)),
            "{} is not the image's",
            executable.display()
        );
        assert_eq!(process::root(pid).to_str(), Some("/"));
        Self { pod, name, port }
    }

    /// Fails unless its main process runs as the image's own user.
    #[track_caller]
    fn assert_is_the_images_user(&self) {
        let pid = systemd::main_pid(&self.pod.service(self.name));
        let process = fs::metadata(format!("/proc/{pid}")).expect("the service runs");
        assert_eq!(process.uid(), IMAGE_UID);
    }

    /// A program of the image's, with the app's environment.
    #[track_caller]
    fn enter(&self, command: &[&str]) -> Outcome {
        skim([&["enter", &self.pod.uuid, "--"], command].concat()).success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.pod.stop();
            pod::gc();
            forget(self.name);
        }
    }
}

/// Takes an image out of the store: together they are large, and other tests read all of it.
#[track_caller]
fn forget(name: &str) {
    skim(["image", "rm", &format!("example.com/{name}")]).success();
}

fn image(name: &str) -> String {
    format!("/opt/images/{name}.aci")
}

/// What `skim image inspect` says of an image that was run.
#[track_caller]
fn inspect(name: &str) -> Value {
    let name = format!("example.com/{name}");
    let outcome = skim(["image", "inspect", &name]).success();
    let mut images: Vec<Value> = serde_json::from_str(&outcome.stdout).expect("it is JSON");
    images.remove(0)
}

/// The upstream version of the package that an image was made of.
#[track_caller]
fn version(name: &str) -> String {
    let version = inspect(name)["version"].as_str().map(str::to_owned);
    version.expect("the image has a version")
}

/// A directory with a page for a web server.
#[track_caller]
fn site(host: &Host) -> String {
    let directory = host.directory("site");
    fs::write(directory.join("page.txt"), "served out of the image\n").expect("a page");
    path(directory)
}

fn path(path: PathBuf) -> String {
    path.into_os_string()
        .into_string()
        .expect("the tests' paths are text")
}

#[track_caller]
fn assert_says(answer: &str, expected: &str) {
    assert!(
        answer.contains(expected),
        "no {expected:?} in the answer: {answer}"
    );
}

#[test]
fn redis_keeps_a_value() {
    let host = Host::new();
    let port = Port::free();
    let number = port.number();
    let directory = path(host.directory("data"));
    let args = ["--bind", "127.0.0.1", "--save", "", "--dir", &directory];
    let words = [&["--", "--port", &number], &args[..]].concat();
    let redis = Service::start("redis", port, &words);
    redis.assert_is_the_images_user();
    assert_eq!(redis.port.ask("PING\r\n", "\r\n"), "+PONG\r\n");
    let answer = redis
        .port
        .ask("SET greeting hello\r\nGET greeting\r\n", "hello\r\n");
    assert_eq!(answer, "+OK\r\n$5\r\nhello\r\n");
    let info = redis.port.ask(
        "INFO server\r\n",
        &format!("redis_version:{}\r\n", version("redis")),
    );
    assert_says(&info, &path(redis.pod.rootfs("redis")));
}

#[test]
fn memcached_keeps_a_value() {
    let _host = Host::new();
    let port = Port::free();
    let number = port.number();
    let words = ["--", "-l", "127.0.0.1", "-p", &number];
    let memcached = Service::start("memcached", port, &words);
    memcached.assert_is_the_images_user();
    let request = "set greeting 0 0 5\r\nhello\r\nget greeting\r\nversion\r\nquit\r\n";
    let version = version("memcached");
    assert_eq!(
        memcached.port.ask(request, ""),
        format!("STORED\r\nVALUE greeting 0 5\r\nhello\r\nEND\r\nVERSION {version}\r\n")
    );
}

#[test]
fn python_serves_files() {
    let host = Host::new();
    let (site, port) = (site(&host), Port::free());
    let number = port.number();
    let words = ["--", &number, "--bind", "127.0.0.1", "--directory", &site];
    let python = Service::start("python", port, &words);
    let page = python.port.get("/page.txt");
    assert_says(&page, &format!("Python/{}", version("python")));
    assert_says(&page, "\r\n\r\nserved out of the image\n");
}

#[test]
fn php_runs_a_script_with_an_extension_of_the_images() {
    let host = Host::new();
    let (site, port) = (site(&host), Port::free());
    let script = "<?php header('Content-Type: text/plain');\n\
                  echo json_encode(['query' => $_GET['x'], 'exif' => exif_tagname(0x10f)]);";
    fs::write(format!("{site}/index.php"), script).expect("a script");
    // No variable says where php's extensions are, but its settings may use those of the
    // environment.
    let settings = host.directory("settings");
    let text = "extension_dir = ${SKIM_ROOTFS}/usr/lib/php/20240924\nextension = exif\n";
    fs::write(settings.join("own.ini"), text).expect("settings");
    let flag = format!("--set-env=PHP_INI_SCAN_DIR={}", path(settings));
    let address = port.address();
    let words = [&flag, "--", "-S", &address, "-t", &site];
    let php = Service::start("php", port, &words);
    let page = php.port.get("/index.php?x=asked");
    assert_says(&page, &format!("X-Powered-By: PHP/{}", version("php")));
    assert_says(&page, r#"{"query":"asked","exif":"Make"}"#);
}

#[test]
fn postgresql_is_set_up_and_answers_a_query() {
    let host = Host::new();
    let (data, port) = (path(host.directory("data")), Port::free());
    // initdb asks the C library what its user is called, and that knows the host's users only.
    let passwd = path(host.scratch().join("passwd"));
    let users = fs::read_to_string("/etc/passwd").expect("the host has users");
    let user = format!("postgres:x:{IMAGE_UID}:4343::/nonexistent:/usr/sbin/nologin\n");
    fs::write(&passwd, users + &user).expect("a list of users");
    let knows = format!("--property=BindReadOnlyPaths={passwd}:/etc/passwd");
    let programs = "/usr/lib/postgresql/17/bin";
    let initdb = format!("--exec={programs}/initdb");
    let directory = format!("{data}/cluster");
    let args = ["--auth=trust", "--no-sync", "--locale=C", "--pgdata"];
    let image = image("postgresql");
    let words = [
        &["run", &image, &initdb, &knows, "--"],
        &args[..],
        &[&directory],
    ]
    .concat();
    skim(words).success();

    let number = port.number();
    let args = [
        "-h",
        "127.0.0.1",
        "-k",
        &data,
        "-p",
        &number,
        "-D",
        &directory,
    ];
    let server = Service::start("postgresql", port, &[&["--"], &args[..]].concat());
    server.assert_is_the_images_user();
    let psql = format!("{programs}/psql");
    let client = [
        &psql,
        "-h",
        "127.0.0.1",
        "-p",
        &number,
        "-U",
        "postgres",
        "-d",
        "postgres",
    ];
    let query = |sql| {
        server
            .enter(&[&client[..], &["-At", "-c", sql]].concat())
            .line()
    };
    query("create table t (n int)");
    query("insert into t select generate_series(1, 100)");
    assert_eq!(query("select sum(n) from t"), "5050");
    assert_says(
        &query("select version()"),
        &format!("PostgreSQL {} ", version("postgresql")),
    );
    // plpgsql is a library of the image's.
    query("do $$ begin perform 1; end $$");
}

/// Answers one HTTP request after the other, for as long as the tests run.
#[track_caller]
fn backend() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("no port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut head = [0; 1024];
            let size = stream.read(&mut head).expect("a request");
            let line = String::from_utf8_lossy(&head[..size]);
            let body = format!("asked for {}", line.lines().next().unwrap_or_default());
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).expect("it listens");
        }
    });
    address
}

#[test]
fn haproxy_relays_requests() {
    let host = Host::new();
    let port = Port::free();
    let config = path(host.scratch().join("haproxy.cfg"));
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         frontend web\n bind {}\n stats enable\n stats uri /stats\n default_backend app\n\
         backend app\n server one {}\n",
        port.address(),
        backend(),
    );
    fs::write(&config, text).expect("a configuration");
    let haproxy = Service::start("haproxy", port, &["--", "-f", &config]);
    haproxy.assert_is_the_images_user();
    let page = haproxy.port.get("/relayed");
    assert_says(&page, "asked for GET /relayed HTTP/1.1");
    let stats = haproxy.port.get("/stats");
    assert_says(&stats, &format!("HAProxy version {}", version("haproxy")));
}

#[test]
fn java_serves_files() {
    let host = Host::new();
    let (site, port) = (site(&host), Port::free());
    let number = port.number();
    let args = ["-b", "127.0.0.1", "-p", &number, "-d", &site];
    let words = [&["--", "-m", "jdk.httpserver"], &args[..]].concat();
    let java = Service::start("java", port, &words);
    assert_says(&java.port.get("/page.txt"), "served out of the image\n");
    let told = java.enter(&["java", "-version"]).stderr;
    assert_says(&told, &format!("\"{}\"", version("java")));
}

#[test]
fn caddy_serves_files() {
    let host = Host::new();
    let (site, port) = (site(&host), Port::free());
    let address = port.address();
    let words = ["--", "file-server", "--listen", &address, "--root", &site];
    let caddy = Service::start("caddy", port, &words);
    caddy.assert_is_the_images_user();
    let page = caddy.port.get("/page.txt");
    assert_says(&page, "Server: Caddy");
    assert_says(&page, "served out of the image\n");
    assert_eq!(caddy.enter(&["caddy", "version"]).line(), version("caddy"));
}

/// A server of one line, with modules in perl and modules in C.
const PERL_DAEMON: &str = r#"
use strict;
use warnings;
use Data::Dumper;
use IO::Socket::INET;
use JSON::PP;
use List::Util qw(sum);
use POSIX qw(floor);
$Data::Dumper::Terse = 1;
my $server = IO::Socket::INET->new(LocalAddr => $ARGV[0], Listen => 5) or die "cannot listen: $@";
while (my $client = $server->accept) {
    my $request = <$client> // next;
    my $sum = sum(map { floor($_) } $request =~ /[\d.]+/g);
    my $host = qx(/usr/bin/perl -MList::Util=sum -e 'print \$INC{q(List/Util.pm)}');
    my @others = grep { index($_, $ENV{SKIM_ROOTFS}) != 0 } values %INC;
    my %answer = (version => sprintf('%vd', $^V), sum => $sum, dumped => Dumper('x'), host => $host, others => \@others);
    print $client JSON::PP->new->canonical->encode(\%answer), "\n";
}
"#;

#[test]
fn a_daemon_in_perl_finds_its_modules_and_spares_the_hosts() {
    let host = Host::new();
    let port = Port::free();
    let script = path(host.scratch().join("daemon.pl"));
    fs::write(&script, PERL_DAEMON).expect("a script");
    let address = port.address();
    let perl = Service::start("perl", port, &["--", &script, &address]);
    let answer = perl.port.ask("1.5 and 2.5\n", "\n");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("it answers in JSON");
    assert_eq!(answer["version"], version("perl"));
    assert_eq!(answer["dumped"], "'x'\n");
    assert_eq!(answer["sum"], 3);
    assert_eq!(answer["others"], serde_json::json!([]), "{answer}");
    // The directories that perl is told of are of its version: a host's perl of the very same version,
    // as on trixie, finds the same modules there.
    let of_host = answer["host"].as_str().expect("a path");
    let hosts = run("perl", ["-e", "printf '%vd', $^V"]).line();
    let is_same = answer["version"] == hosts.as_str();
    assert!(is_same || of_host.starts_with("/usr/"), "{answer}");
}

#[test]
fn git_serves_a_repository_and_clones_it() {
    let host = Host::new();
    let (base, port) = (path(host.directory("base")), Port::free());
    let number = port.number();
    let listen = ["--listen=127.0.0.1", &format!("--port={number}")];
    let serve = [
        "--reuseaddr",
        "--export-all",
        &format!("--base-path={base}"),
    ];
    let words = [&["--", "daemon"], &listen[..], &serve[..]].concat();
    let git = Service::start("git", port, &words);
    let (work, bare) = (format!("{base}/work"), format!("{base}/served.git"));
    git.enter(&["git", "init", "--quiet", "--initial-branch=main", &work]);
    fs::write(format!("{work}/file"), "out of the repository\n").expect("a file");
    git.enter(&["git", "-C", &work, "add", "file"]);
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    let commit = ["commit", "--quiet", "--message=first"];
    git.enter(&[&["git", "-C", &work], &who[..], &commit[..]].concat());
    git.enter(&["git", "clone", "--quiet", "--bare", &work, &bare]);

    let clone = format!("{base}/clone");
    let url = format!("git://{}/served.git", git.port.address());
    let outcome = git.enter(&["git", "clone", "--quiet", &url, &clone]);
    assert_eq!(outcome.stderr, "", "git misses something");
    let cloned = fs::read_to_string(format!("{clone}/file")).expect("the file was cloned");
    assert_eq!(cloned, "out of the repository\n");

    // gitprotocol-pack(5), "Git Transport"; gitprotocol-v2(5).
    let request = "git-upload-pack /served.git\0host=x\0\0version=2\0";
    let packet = format!("{:04x}{request}0000", request.len() + 4);
    let answer = git.port.ask(packet, "0000");
    assert_says(&answer, &format!("agent=git/{}", version("git")));
}

#[test]
fn hints_are_told_and_the_users_variables_stay() {
    let _host = Host::new();
    let image = image("perl");
    let script = r#"print "$ENV{PERL5LIB}\n""#;
    let told =
        |flags: &[&str]| skim([&["run", &image], flags, &["--", "-e", script]].concat()).line();
    let hints = told(&[]);
    let hint = &inspect("perl")["hints"][0];
    assert_eq!(hint["program"], "/usr/bin/perl");
    assert_eq!(hint["variable"], "PERL5LIB");
    let paths: Vec<_> = hint["paths"].as_array().expect("a list").iter().collect();
    let ends: Vec<_> = hints.split(':').collect();
    assert_eq!(ends.len(), paths.len(), "{hints}");
    for (end, path) in ends.iter().zip(paths) {
        let path = path.as_str().expect("a path");
        assert!(
            end.ends_with(&format!("/apps/perl/rootfs{path}")),
            "{hints}"
        );
    }
    assert_eq!(told(&["--set-env=PERL5LIB=/mine"]), "/mine");
    pod::gc();
    forget("perl");
}
