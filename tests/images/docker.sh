# shellcheck shell=bash
# containerd.aci and docker.aci: Debian's own packages, unchanged.

# Both leave their containers alone when they are stopped or restarted, and have cgroups to manage.
DAEMON_DROPIN='[Service]\nType=notify\nDelegate=yes\nKillMode=process\nRestart=on-failure\nLimitNOFILE=infinity\nTasksMax=infinity\n'

build_containerd_aci() {
    local dir=$1/containerd
    mkdir "$dir"
    extract_packages "$dir/rootfs" containerd runc
    aci_manifest containerd "$(upstream_version "$dir/rootfs")" \
        '{ "exec": ["/usr/bin/containerd"], "user": "0", "group": "0" }' \
        '{ "name": "skim.dropin", "value": "'"$DAEMON_DROPIN"'OOMScoreAdjust=-999\n" }' >"$dir/manifest"
    rm "$dir/rootfs.version"
    build_aci "$dir" "$1/containerd.aci"
    rm -rf "$dir"
}

build_docker_aci() {
    local dir=$1/docker
    mkdir "$dir"
    extract_packages "$dir/rootfs" docker.io docker-cli
    # The package depends on containerd; this image gets it from the other app of its pod.
    rm -f "$dir"/rootfs/usr/bin/containerd* "$dir/rootfs/usr/bin/ctr"
    aci_manifest docker "$(upstream_version "$dir/rootfs")" \
        '{ "exec": ["/usr/sbin/dockerd", "--containerd=/run/containerd/containerd.sock"], "user": "0", "group": "0" }' \
        '{ "name": "skim.requires", "value": "containerd" }, { "name": "skim.dropin", "value": "'"$DAEMON_DROPIN"'OOMScoreAdjust=-500\n" }' \
        >"$dir/manifest"
    rm "$dir/rootfs.version"
    build_aci "$dir" "$1/docker.aci"
    rm -rf "$dir"
}

# busybox.tar: what `docker import` makes the container's image of.
build_busybox_tar() {
    local dir=$1/busybox-root applet
    mkdir -p "$dir"/{bin,etc,root,tmp}
    cp "$TOOLS_ROOT/bin/busybox" "$dir/bin/busybox"
    for applet in sh true false echo cat sleep; do
        ln -s busybox "$dir/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$dir/etc/passwd"
    tar -C "$dir" --owner=0 --group=0 -cf "$1/busybox.tar" .
    rm -rf "$dir"
}

build_docker_images() {
    build_containerd_aci "$1"
    build_docker_aci "$1"
    build_busybox_tar "$1"
}

# Prints the directory with containerd.aci, docker.aci and busybox.tar.
docker_images() {
    local TOOLS_ROOT
    TOOLS_ROOT=$(machine_root "$TOOLS_SUITE")
    cached docker-images "$(hash_of "$REPO"/tests/{lib/aci,images/debian,images/docker}.sh "$REPO/tests/machine/root.sh")" build_docker_images
}
