# shellcheck shell=bash
# Docker and other pods on a machine that is killed, then shut down, and booted again each time.
#
#   boot_tests_named PATTERN   whether a test's name contains PATTERN
#   boot_tests_of_suite        makes a machine of MACHINE_SUITE, and adds up what tests/boot/steps says

boot_tests_named() {
    sed -n 's/^ *holds \([a-z_]*\) .*/boot::\1/p' "$TESTS/boot/steps" | grep --fixed-strings -e "${1:-}" >/dev/null
}

# A machine as a container OS has it: skim, the units of Docker, and no Docker; /var is a mount that
# goes when the machine is shut down.
prepare_container_os() {
    local root
    prepare_machine
    root=$MACHINE_DIR/root
    "$REPO/packaging/install" --docker "$root" >&2
    install -D -t "$root/opt/tests/boot" "$TESTS/boot/steps"
    echo '/var /var none bind 0 0' >>"$root/etc/fstab"
    install -d "$root"/etc/skim/{docker,containerd}.skim.d
    printf '[App docker]\nImage=/opt/images/docker.aci\n' >"$root/etc/skim/docker.skim.d/image.conf"
    printf '[App containerd]\nImage=/opt/images/containerd.aci\n' >"$root/etc/skim/containerd.skim.d/image.conf"
}

boot_tests_of_suite() {
    prepare_container_os
    note "booting a machine of $MACHINE_SUITE as a container OS has it"
    machine_boot
    run_tests "Docker as a pod file, on $MACHINE_SUITE" machine_run --setenv=IMAGE_ARCH="$(aci_arch)" /opt/tests/boot/steps install
    note "killing the machine, and booting it again"
    machine_kill_power
    machine_boot
    run_tests "after the machine was killed, on $MACHINE_SUITE" machine_run /opt/tests/boot/steps killed
    note "shutting the machine down, and booting it again"
    machine_shut_down
    machine_boot
    run_tests "after the machine was shut down, on $MACHINE_SUITE" machine_run /opt/tests/boot/steps shut-down
    machine_drop
}
