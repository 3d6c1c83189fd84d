//! How much memory an import takes: little, whatever the size of the image.

use crate::support::command::run;
use crate::support::host::Host;
use crate::support::process::peak_memory;
use crate::support::registry::{Guard, Registry};
use crate::support::store::{Store, image};

/// In KiB.
const BOUND: u64 = 64 << 10;

#[track_caller]
fn assert_bounded(host: &Host, name: &str, args: &[&str]) {
    let store = Store::new(host, name);
    let command = ["skim".into(), store.dir(), "fetch".into(), "--quiet".into()];
    let args = args.iter().map(Into::into);
    let peak = peak_memory(command.into_iter().chain(args));
    assert!(peak < BOUND, "{name} took {peak} KiB");
    assert_eq!(store.images().len(), 1);
}

#[test]
fn of_the_demos_docker_in_every_form() {
    let host = Host::new();
    let (aci, oci) = (
        image("docker.aci"),
        format!("oci-archive:{}", image("docker.oci.tar")),
    );
    assert_bounded(&host, "aci", &[&aci]);
    assert_bounded(&host, "oci-archive", &[&oci]);
    let docker = host.scratch().join("docker.docker.tar");
    let archive = format!("docker-archive:{}:docker:1.0", docker.display());
    run("skopeo", ["copy", "--quiet", &oci, &archive]).success();
    assert_bounded(&host, "docker-archive", &[&archive]);
}

#[test]
fn of_the_demos_docker_compressed() {
    let host = Host::new();
    let aci = image("docker.aci");
    for (program, level) in [("xz", "-0"), ("zstd", "-3"), ("gzip", "-1")] {
        let packed = host.scratch().join(format!("{program}.aci"));
        let script = format!("{program} {level} --stdout {aci} >{}", packed.display());
        run("sh", ["-c", &script]).success();
        assert_bounded(&host, program, &[&packed.to_string_lossy()]);
    }
}

#[test]
fn of_an_image_out_of_a_registry() {
    let host = Host::new();
    let registry = Registry::start(&host, Guard::None);
    registry.push(
        &format!("oci-archive:{}", image("docker.oci.tar")),
        "docker:1.0",
        &[],
    );
    let name = registry.image("docker:1.0");
    assert_bounded(&host, "registry", &["--insecure-options=http", &name]);
}

#[test]
fn of_two_hundred_thousand_small_files() {
    let host = Host::new();
    assert_bounded(&host, "xz", &[&image("small-files.aci")]);
    let zstd = format!("oci-archive:{}", image("small-files.oci.tar"));
    assert_bounded(&host, "zstd", &[&zstd]);
}
