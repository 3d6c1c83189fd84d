# shellcheck shell=bash
# What takes long to make is made once, keyed by a hash of what it is made from.

# The machine mounts overlays whose upper directory lies in the cache; the kernel refuses that on
# an overlay, and a tmpfs would hold several gigabytes.
require_real_file_system() {
    mkdir -p "$CACHE"
    case $(stat --file-system --format=%T "$CACHE") in
        overlayfs | tmpfs) die "$CACHE is on $(stat -f -c %T "$CACHE"); set SKIM_TEST_CACHE to a directory on a disk's file system" ;;
    esac
}

# hash_of FILE… : a short hash of the files' contents and of the architecture and mirror.
hash_of() {
    { debian_arch; echo "$MIRROR"; cat "$@"; } | sha256sum | cut -c1-12
}

# cached NAME KEY BUILDER: prints the directory NAME-KEY of the cache; where it is missing, BUILDER
# is called with an empty directory to fill. One builder at a time; a half-built one is never seen.
cached() {
    local name=$1 dir=$CACHE/$1-$2 builder=$3 lock
    exec {lock}>"$CACHE/$name.lock"
    flock "$lock"
    if [[ ! -d $dir ]]; then
        note "building $name (kept in $dir)"
        rm -rf "$dir.part"
        mkdir "$dir.part"
        # The lock must not be held by whatever the builder leaves running.
        "$builder" "$dir.part" {lock}>&- >&2
        mv "$dir.part" "$dir"
    fi
    touch "$dir"
    drop_old_versions "$name" "$dir"
    exec {lock}>&-
    echo "$dir"
}

# Other versions of NAME that no run has asked for within a week.
drop_old_versions() {
    local old
    while IFS= read -r old; do
        [[ $old == "$2" ]] || rm -rf "$old"
    done < <(find "$CACHE" -mindepth 1 -maxdepth 1 -type d -name "$1-*" -mtime +7)
}
