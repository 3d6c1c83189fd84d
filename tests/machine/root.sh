# shellcheck shell=bash
# The root of the machine: Debian bookworm with what a container host has, the peers that skim is
# measured against, and the foreign tools that make, sign and serve its images.

MACHINE_SUITE=bookworm
MACHINE_INCLUDE=(
    systemd systemd-sysv dbus iproute2 iptables kmod procps util-linux-extra libcap2-bin
    ca-certificates busybox-static podman conmon crun hyperfine
    skopeo umoci docker-registry gnupg openssl python3 strace attr
    bzip2 xz-utils zstd
)

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

# Prints the directory of the root; it is to be copied, never booted.
machine_root() {
    local dir
    dir=$(cached root "$(hash_of "$REPO/tests/machine/root.sh")" build_machine_root)
    echo "$dir/root"
}
