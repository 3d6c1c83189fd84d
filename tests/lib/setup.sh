# shellcheck shell=bash
# Everything in this directory, in the order in which it builds on one another.

set -euo pipefail
shopt -s inherit_errexit

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in lib/common lib/packages lib/cache lib/build lib/machine lib/report \
    machine/root images/debian images/docker images/programs; do
    # shellcheck source=/dev/null
    . "$TESTS/$part.sh"
done
unset part

# A machine with skim in it, and /opt/images with containerd.aci, docker.aci and busybox.tar; not
# yet booted.
prepare_machine() {
    local images
    MACHINE_ROOT=$(machine_root)
    images=$(docker_images)
    build_release
    machine_remove_at_exit
    machine_create "$MACHINE_ROOT"
    install_skim "$MACHINE_DIR/root"
    install -D -m 0644 -t "$MACHINE_DIR/root/opt/images" "$images"/*
}
