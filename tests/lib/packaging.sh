# shellcheck shell=bash
# The packages, tried on machines that have no skim.
#
#   build_packages DIR                   two versions of them, in DIR/1 and DIR/2
#   packages_are_clean DIR               what Debian's own checker says of them
#   packaging_tests_named KIND PATTERN   whether a test's name contains PATTERN
#   packaging_tests KIND DIR             all of KIND, deb or rpm, on a machine of MACHINE_SUITE

build_packages() {
    local revision
    for revision in 1 2; do
        SKIM_PACKAGE_TOOLS=$CACHE/package-tools SKIM_PACKAGE_REVISION=$revision "$REPO/packaging/packages" "$1/$revision"
    done
}

# Whose address it is, and which bug asked for the package, whoever distributes them knows. That the programs are static, and that the
# removal of skim stops its slice, is on purpose.
packages_are_clean() {
    local tags=(bogus-mail-host{,-in-debian-changelog} initial-upload-closes-no-bugs
        shared-library-lacks-prerequisites maintainer-script-calls-systemctl)
    lintian --allow-root --fail-on error,warning \
        --suppress-tags "$(IFS=,; echo "${tags[*]}")" "$1"/1/*.deb
}

packaging_tests_named() {
    sed -n "s/^ *claim \([a-z_]*\) .*/packaging_$1::\1/p" "$TESTS/packaging/steps" | grep --fixed-strings -e "${2:-}" >/dev/null
}

packaging_tests() {
    machine_remove_at_exit
    machine_create "$(machine_root)"
    mkdir -p "$MACHINE_DIR/root/opt/packages"
    cp -a "$2"/{1,2} "$MACHINE_DIR/root/opt/packages/"
    install -D -t "$MACHINE_DIR/root/opt" "$TESTS/packaging/steps"
    note "booting a machine of $MACHINE_SUITE without skim"
    machine_boot
    run_tests "packages as $1, on $MACHINE_SUITE" machine_run /opt/steps "$1" /opt/packages/1 /opt/packages/2
    machine_drop
}
