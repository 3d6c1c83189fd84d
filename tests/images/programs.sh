# shellcheck shell=bash disable=SC2034
# Small trees and programs which the system tests make their images of.
#
#   busybox      a static busybox
#   dump         a static program that writes down what it was given
#   musl/        a dynamic musl program with a shared library of its own
#   glibc/       dynamic programs against another C library than the machine's

build_musl_tree() {
    local rootfs=$1/musl arch source=$REPO/tests/images/programs
    arch=$(uname -m)
    mkdir -p "$rootfs"/{bin,lib,usr/lib}
    cp -L "/lib/ld-musl-$arch.so.1" "$rootfs/lib/ld-musl-$arch.so.1"
    musl-gcc -shared -fPIC -Wl,-soname,libgreeting.so.1 -o "$rootfs/usr/lib/libgreeting.so.1" "$source/greeting.c"
    musl-gcc -o "$rootfs/bin/greet" "$source/greet.c" "$rootfs/usr/lib/libgreeting.so.1"
}

build_programs() {
    local IMAGE_SUITE
    IMAGE_SUITE=$(other_suite)
    cp "$TOOLS_ROOT/bin/busybox" "$1/busybox"
    gcc -O2 -Wall -Wextra -Werror -static -o "$1/dump" "$REPO/tests/images/programs/dump.c"
    build_musl_tree "$1"
    extract_packages "$1/glibc" bash coreutils libc-bin
    rm "$1/glibc.version"
}

# Prints the directory. Only those of the machine MACHINE_SUITE are foreign to it.
test_programs() {
    local TOOLS_ROOT
    TOOLS_ROOT=$(machine_root "$TOOLS_SUITE")
    cached programs "$MACHINE_SUITE-$(hash_of "$REPO"/tests/images/{debian,programs}.sh "$REPO"/tests/images/programs/*.c "$REPO/tests/machine/root.sh")" build_programs
}
