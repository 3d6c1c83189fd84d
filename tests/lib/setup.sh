# shellcheck shell=bash
# Everything in this directory, in the order in which it builds on one another.

set -euo pipefail
shopt -s inherit_errexit

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in lib/common lib/packages lib/cache lib/aci lib/build lib/machine lib/full lib/packaging lib/report boot/boot \
    machine/root machine/full images/debian images/docker images/programs images/oci \
    images/packages; do
    # shellcheck source=/dev/null
    . "$TESTS/$part.sh"
done
unset part

# install_foreign_images IMAGES : beside those, in the machine's /opt/images, what the tools of others
# have written, and in /opt/servers what the tests start.
install_foreign_images() {
    cp -a "$1"/. "$MACHINE_DIR/root/opt/images/"
    cp -a "$TESTS/system/servers" "$MACHINE_DIR/root/opt/servers"
}

# install_service_images IMAGES : the services' images beside them. They are large: linked, not copied.
install_service_images() {
    cp -al "$1"/. "$MACHINE_DIR/root/opt/images/"
}

# A machine with skim in it, and /opt/images with containerd.aci, docker.aci and busybox.tar; not
# yet booted.
prepare_machine() {
    MACHINE_ROOT=$(machine_root)
    DOCKER_IMAGES=$(docker_images)
    build_release
    machine_remove_at_exit
    machine_create "$MACHINE_ROOT"
    install_skim "$MACHINE_DIR/root"
    install -D -m 0644 -t "$MACHINE_DIR/root/opt/images" "$DOCKER_IMAGES"/*
}
