# shellcheck shell=bash
# Images made of Debian packages.

# The release that the daemons' and the services' images are made of, on every machine. Programs
# whose C library has to be another than the machine's are made of other_suite.
IMAGE_SUITE=trixie

# A release whose C library is not that of the machine, which is newer or older.
other_suite() {
    case $MACHINE_SUITE in
        trixie) echo bookworm ;;
        *) echo trixie ;;
    esac
}

# extract_packages ROOTFS PACKAGE… : their files, and those of their dependencies, with no
# maintainer script run; the first one's version goes to ROOTFS.version.
extract_packages() {
    local rootfs=$1 link
    shift
    # shellcheck disable=SC2016 # mmdebstrap runs the hook, with the root as $1
    mmdebstrap --quiet --variant=extract --include="$(IFS=,; echo "$*")" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --extract-hook='APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache show --no-all-versions '"$1"' >"$1.package"' \
        "$IMAGE_SUITE" "$rootfs" ${MIRROR:+"$MIRROR"}
    sed -n 's/^Version: //p' "$rootfs.package" >"$rootfs.version"
    rm "$rootfs.package"
    # The package usrmerge makes these; an image as people build them has them.
    for link in bin sbin lib lib64; do
        [[ -e $rootfs/$link || ! -d $rootfs/usr/$link ]] || ln -s "usr/$link" "$rootfs/$link"
    done
    # Device nodes, the builder's own settings and mmdebstrap's traces do not belong into an image.
    rm -rf "${rootfs:?}"/dev/* "$rootfs"/etc/{resolv.conf,hostname,apt} "$rootfs"/var/{cache,lib}/apt
    mkdir -p "$rootfs"/{proc,sys,run,root}
}

# The upstream part of the version of the package that ROOTFS was made of first.
upstream_version() {
    sed 's/^[0-9]*://; s/[-+~].*//' "$1.version"
}
