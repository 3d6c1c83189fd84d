# shellcheck shell=bash
# Images as other people's tools write them: umoci, skopeo and podman in a machine's root, actool
# out here.

FOREIGN=$REPO/tests/images/foreign

# in_machine_root DIR COMMAND… : runs it in a copy-on-write view of TOOLS_ROOT, in DIR.
in_machine_root() {
    local dir=$1 view=$1/.view
    shift
    mkdir -p "$view"/{upper,work,root}
    # shellcheck disable=SC2016 # the new shell's to expand
    unshare --mount --pid --fork --kill-child bash -euc '
        view=$1 root=$1/root dir=$2
        mount -t overlay -o "lowerdir=$3,upperdir=$view/upper,workdir=$view/work" overlay "$root"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        mkdir "$root/images"
        mount --bind "$dir" "$root/images"
        mount --bind "$4" "$root/mnt"
        shift 4
        exec chroot "$root" /usr/bin/env --ignore-environment HOME=/root LANG=C.UTF-8 \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd /images && exec \"\$@\"" sh "$@"
    ' bash "$view" "$dir" "$TOOLS_ROOT" "$FOREIGN" "$@"
    rm -rf "$view"
}

# compress FILE : beside it, FILE.gz and the others, each by its own tool.
compress() {
    gzip --keep --no-name "$1"
    bzip2 --keep "$1"
    xz --keep -1 "$1"
    zstd --quiet "$1" -o "$1.zst"
}

# app.aci is app.oci's tree; the names of the compressed ones end in .aci as well.
build_app_images() {
    local dir=$1 kind
    cp -a "$PROGRAMS" "$dir/programs"
    in_machine_root "$dir" /mnt/app
    rm -r "$dir/programs"
    aci_manifest app 1.0.0 '{ "exec": ["/bin/sh", "show", "one", "two words"], "user": "app", "group": "app",
        "workingDirectory": "/srv/app", "environment": [{ "name": "GREETING", "value": "hello = world" }] }' >"$dir/flat/manifest"
    rm -f "$dir"/flat/{config.json,umoci.json,sha256_*}
    build_aci "$dir/flat" "$dir/app.aci"
    rm -r "$dir/flat"
    compress "$dir/app.aci"
    for kind in gz bz2 xz zst; do
        mv "$dir/app.aci.$kind" "$dir/app-$kind.aci"
    done
}

build_docker_oci() {
    local dir=$1 image
    mkdir "$dir/tree"
    for image in containerd docker; do
        tar -C "$dir/tree" --strip-components=1 -xf "$DOCKER_IMAGES/$image.aci" rootfs
    done
    # The JSON string that the ACIs have.
    printf '%bOOMScoreAdjust=-500\n' "$DAEMON_DROPIN" >"$dir/dropin"
    in_machine_root "$dir" /mnt/docker
}

# small-files.aci, by xz, and small-files.oci.tar, of one layer by zstd.
build_small_files() {
    local dir=$1
    mkdir "$dir/aci"
    aci_manifest small-files 1.0.0 '{ "exec": ["/bin/true"], "user": "0", "group": "0" }' >"$dir/aci/manifest"
    mkdir "$dir/aci/rootfs"
    tar -C "$dir/aci" -cf "$dir/head.tar" manifest rootfs
    "$FOREIGN/small-files" rootfs >"$dir/tail.tar"
    tar -f "$dir/head.tar" --concatenate "$dir/tail.tar"
    xz -1 --stdout "$dir/head.tar" >"$dir/small-files.aci"
    in_machine_root "$dir" bash -euc '
        /mnt/small-files "" >layer.tar
        umoci init --layout layout
        umoci new --image layout:1.0
        umoci raw add-layer --image layout:1.0 layer.tar
        umoci config --image layout:1.0 --config.entrypoint /bin/true
        skopeo copy --quiet --dest-compress-format=zstd oci:layout:1.0 oci-archive:small-files.oci.tar:1.0
        rm -r layout layer.tar'
    rm -r "$dir/aci" "$dir"/{head,tail}.tar
}

build_oci_images() {
    build_app_images "$1"
    build_docker_oci "$1"
    build_small_files "$1"
}

# Needs DOCKER_IMAGES and PROGRAMS. Prints the directory.
oci_images() {
    local TOOLS_ROOT
    TOOLS_ROOT=$(machine_root "$TOOLS_SUITE")
    cached oci-images "$(hash_of "$REPO"/tests/{lib/aci,images/debian,images/docker,images/oci,images/programs}.sh "$FOREIGN"/* "$REPO"/tests/images/programs/*.c "$REPO/tests/machine/root.sh")" build_oci_images
}
