# shellcheck shell=bash
# What the full machine boots: a kernel of its own, and a disk with a Debian release and little more
# than systemd. There is no initrd: the kernel has the drivers for the disk and its file system built
# in, and nothing has to be mounted here to make it.

FULL_MACHINE_INCLUDE=(systemd systemd-sysv dbus kmod procps linux-image-cloud-amd64)
# What a machine of two devices and one command can do without; each costs seconds on an emulated
# processor.
FULL_MACHINE_MASKED=(
    systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket
    systemd-udev-trigger.service systemd-logind.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service e2scrub_reap.service getty.target timers.target
)

build_full_machine_root() {
    local include unit
    include=$(IFS=,; echo "${FULL_MACHINE_INCLUDE[*]}")
    # The variable is for the kernel's package.
    INITRD=No mmdebstrap --quiet --variant=minbase --include="$include" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$MACHINE_SUITE" "$1" ${MIRROR:+"$MIRROR"}
    : >"$1/etc/machine-id"
    for unit in "${FULL_MACHINE_MASKED[@]}"; do
        ln -s /dev/null "$1/etc/systemd/system/$unit"
    done
    echo virtio_console >"$1/etc/modules-load.d/job.conf"
    install -D -t "$1/usr/local/lib" "$REPO/tests/machine/full/job"
    install -D -m 0644 -t "$1/etc/systemd/system" "$REPO/tests/machine/full/job.service"
    ln -s ../job.service "$1/etc/systemd/system/multi-user.target.wants/job.service"
}

build_full_machine() {
    build_full_machine_root "$1/root"
    cp "$1"/root/boot/vmlinuz-* "$1/kernel"
    truncate --size=2G "$1/disk"
    mkfs.ext4 -q -d "$1/root" "$1/disk"
    rm -r "$1/root"
}

# Prints the directory with `kernel` and `disk` of MACHINE_SUITE; the disk is to be booted as a snapshot
# only.
full_machine() {
    cached full-machine "$MACHINE_SUITE-$(hash_of "$REPO"/tests/machine/full.sh "$REPO"/tests/machine/full/*)" build_full_machine
}
