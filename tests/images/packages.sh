# shellcheck shell=bash
# Services as images: NAME.aci is a Debian package of IMAGE_SUITE, what it depends on, and the
# little that maintainer scripts would have added. What several images have is fetched and unpacked
# once.

# Each with the package that it is an image of.
declare -A SERVICE_PACKAGES=(
    [redis]=redis-server
    [memcached]=memcached
    [python]=python3
    [php]=php-cli
    [postgresql]=postgresql-17
    [haproxy]=haproxy
    [java]=openjdk-21-jre-headless
    [caddy]=caddy
    [perl]=perl
    [git]=git
)

# Large, and not missed: what PostgreSQL compiles expensive queries with, and sources of locales.
SERVICE_LEFT_OUT='^(libllvm19|libz3-4|locales|libc-l10n)$'

# service_exec NAME: what its image executes, in the words of a manifest's `exec`.
service_exec() {
    case $1 in
        redis) echo '["/usr/bin/redis-server"]' ;;
        memcached) echo '["/usr/bin/memcached"]' ;;
        python) echo '["/usr/bin/python3", "-m", "http.server"]' ;;
        php) echo '["/usr/bin/php"]' ;;
        postgresql) echo '["/usr/lib/postgresql/17/bin/postgres"]' ;;
        haproxy) echo '["/usr/sbin/haproxy", "-db"]' ;;
        java) echo '["/usr/bin/java"]' ;;
        caddy) echo '["/usr/bin/caddy"]' ;;
        perl) echo '["/usr/bin/perl"]' ;;
        git) echo '["/usr/bin/git"]' ;;
    esac
}

# service_user NAME: the system user that its maintainer scripts make; root where there is none.
service_user() {
    case $1 in
        redis) echo redis ;;
        memcached) echo memcache ;;
        postgresql) echo postgres ;;
        haproxy) echo haproxy ;;
        caddy) echo caddy ;;
        *) echo root ;;
    esac
}

# fetch_services DIR: the packages of all images go to DIR/debs, the names of those that PACKAGE
# brings to DIR/PACKAGE.list. apt resolves and verifies them, and installs nothing.
fetch_services() {
    # shellcheck disable=SC2016 # mmdebstrap runs the hook, with its root as $1
    SERVICES=$1 WANTED=${SERVICE_PACKAGES[*]} mmdebstrap --quiet --variant=custom \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        --customize-hook='
            set -eu
            export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
            install="-o APT::Install-Recommends=false --quiet=2 --yes install"
            for package in $WANTED; do
                apt-get --simulate $install "$package" | sed -n "s/^Inst \([^ ]*\) .*/\1/p" >"$SERVICES/$package.list"
            done
            apt-get --download-only $install $WANTED >/dev/null
            mv "$1/var/cache/apt/archives" "$SERVICES/debs"' \
        "$IMAGE_SUITE" "$1/apt" ${MIRROR:+"$MIRROR"}
    rm -rf "$1/apt"
}

# unpack_package DIR DEB: its files to DIR/unpacked/PACKAGE, its version to
# DIR/unpacked/PACKAGE.version.
unpack_package() {
    local package
    package=$(dpkg-deb --field "$2" Package)
    mkdir "$1/unpacked/$package"
    dpkg-deb --field "$2" Version >"$1/unpacked/$package.version"
    dpkg-deb --fsys-tarfile "$2" | tar -x -C "$1/unpacked/$package" \
        --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'
}

# What the packages' maintainer scripts make: users, the links of update-alternatives.
finish_service() {
    local rootfs=$1 name=$2 user link
    mkdir -p "$rootfs"/{etc/alternatives,proc,sys,dev,run,root,tmp,var/tmp}
    chmod 1777 "$rootfs"/{tmp,var/tmp}
    for link in bin sbin lib lib64; do
        [[ -e $rootfs/$link || ! -d $rootfs/usr/$link ]] || ln -s "usr/$link" "$rootfs/$link"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$rootfs/etc/passwd"
    echo 'root:x:0:' >"$rootfs/etc/group"
    user=$(service_user "$name")
    if [[ $user != root ]]; then
        # A number that no user of the machine has.
        echo "$user:x:4242:4343::/var/lib/$name:/usr/sbin/nologin" >>"$rootfs/etc/passwd"
        echo "$user:x:4343:" >>"$rootfs/etc/group"
    fi
    case $name in
        php) alternative "$rootfs" php /usr/bin/php8.4 ;;
        java) alternative "$rootfs" java "/usr/lib/jvm/java-21-openjdk-$(debian_arch)/bin/java" ;;
        # Of no use without the compiler that is left out.
        postgresql) rm -r "$rootfs"/usr/lib/postgresql/17/lib/{bitcode,llvmjit*} ;;
    esac
}

# alternative ROOTFS COMMAND PATH
alternative() {
    ln -s "$3" "$1/etc/alternatives/$2"
    ln -s "/etc/alternatives/$2" "$1/usr/bin/$2"
}

# build_service DIR NAME: DIR/NAME.aci. Its tree is hard links to the unpacked packages: no file of
# theirs may be written to.
build_service() {
    local dir=$1/$2 package version user
    mkdir -p "$dir/rootfs"
    while IFS= read -r package; do
        cp -al "$1/unpacked/$package/." "$dir/rootfs/"
    done < <(grep -vE "$SERVICE_LEFT_OUT" "$1/${SERVICE_PACKAGES[$2]}.list")
    finish_service "$dir/rootfs" "$2"
    version=$(sed 's/^[0-9]*://; s/[-+~].*//' "$1/unpacked/${SERVICE_PACKAGES[$2]}.version")
    user=$(service_user "$2")
    aci_manifest "$2" "$version" "{ \"exec\": $(service_exec "$2"), \"user\": \"$user\", \"group\": \"$user\" }" >"$dir/manifest"
    build_aci "$dir" "$1/$2.aci"
    rm -rf "$dir"
}

# each_by_core FUNCTION DIR ITEM… : FUNCTION DIR ITEM for each item, on all cores.
each_by_core() {
    local function=$1 dir=$2 item running=() pid
    shift 2
    for item in "$@"; do
        "$function" "$dir" "$item" &
        running+=($!)
        if [[ ${#running[@]} -ge $(nproc) ]]; then
            wait "${running[0]}"
            running=("${running[@]:1}")
        fi
    done
    for pid in "${running[@]}"; do
        wait "$pid"
    done
}

build_service_images() {
    fetch_services "$1"
    mkdir "$1/unpacked"
    each_by_core unpack_package "$1" "$1"/debs/*.deb
    each_by_core build_service "$1" "${!SERVICE_PACKAGES[@]}"
    rm -rf "$1"/{debs,unpacked} "$1"/*.list
}

# Prints the directory with one ACI for each of SERVICE_PACKAGES.
service_images() {
    cached service-images "$(hash_of "$REPO"/tests/{lib/aci,images/debian,images/packages}.sh)" build_service_images
}
