# shellcheck shell=bash disable=SC2034
# The root of a machine: a Debian release with what a container host has, the peers that skim is
# measured against, and the foreign tools that make, sign and serve its images.

# The machines that all tests run on: bookworm has systemd 252, trixie 257.
read -ra TEST_SUITES <<<"${SKIM_TEST_SUITES:-bookworm trixie}"
# Of those, the one that is made where a script makes but one.
MACHINE_SUITE=${TEST_SUITES[0]}
# The one whose tools make the images: they are the same in all machines.
TOOLS_SUITE=bookworm
MACHINE_INCLUDE=(
    systemd systemd-sysv libpam-systemd dbus dbus-user-session iproute2 iptables kmod procps util-linux-extra libcap2-bin
    ca-certificates busybox-static podman conmon crun hyperfine
    skopeo umoci docker-registry gnupg openssl python3 strace attr
    bzip2 xz-utils zstd rpm
)

# machine_suite_known SUITE
machine_suite_known() {
    case $1 in
        bookworm | trixie) ;;
        *) die "no machine of $1 is known; SKIM_TEST_SUITES holds names out of: bookworm trixie" ;;
    esac
}

build_machine_root() {
    local include
    include=$(IFS=,; echo "${MACHINE_INCLUDE[*]}")
    mmdebstrap --quiet --variant=minbase --include="$include" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$MACHINE_SUITE" "$1/root" ${MIRROR:+"$MIRROR"}
    # Every machine gets an identity of its own; "uninitialized" would also enable every unit.
    : >"$1/root/etc/machine-id"
    # A registry is started by the tests that want one, each with settings of its own.
    rm "$1/root/etc/systemd/system/multi-user.target.wants/docker-registry.service"
    # Containers that outlive their daemon are what the tests look at.
    mkdir -p "$1/root/etc/docker"
    echo '{ "live-restore": true }' >"$1/root/etc/docker/daemon.json"
}

# machine_root [SUITE]: prints the directory of the root; it is to be copied, never booted.
machine_root() {
    local MACHINE_SUITE=${1:-$MACHINE_SUITE} dir
    machine_suite_known "$MACHINE_SUITE"
    dir=$(cached root "$MACHINE_SUITE-$(hash_of "$REPO/tests/machine/root.sh")" build_machine_root)
    echo "$dir/root"
}
