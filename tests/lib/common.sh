# shellcheck shell=bash disable=SC2034
# What every script here needs: where things are, and how to speak to the user.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${SKIM_TEST_CACHE:-/var/cache/skim-tests}
MIRROR=${SKIM_TEST_MIRROR:-}

note() {
    printf '== %s\n' "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

require_root() {
    [[ $(id -u) -eq 0 ]] || die "needs root: it boots a machine and mounts file systems"
}

# The architecture in dpkg's words, and in those of an ACI's `arch` label.
debian_arch() {
    dpkg --print-architecture
}

aci_arch() {
    case $(debian_arch) in
        arm64) echo aarch64 ;;
        *) debian_arch ;;
    esac
}
