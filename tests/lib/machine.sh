# shellcheck shell=bash
# A disposable machine with a real systemd as PID 1: a booted container of its own root, killed and
# removed when the script that booted it ends, however it ends.
#
#   machine_reserve           MACHINE_DIR, a directory for this script alone
#   machine_create ROOT       a copy of ROOT in there
#   machine_boot              until systemd says that it is up
#   machine_run COMMAND…      a service in it, with this script's stdin, stdout and stderr
#   machine_kill_power        as a power cut; machine_boot boots it again
#   machine_shut_down         as its operator would; machine_boot boots it again
#   machine_drop              kills it, removes its directory; another may be made
#   machine_remove            the same for a script that ends

MACHINE_DIR=
MACHINE_LOCK=
MACHINE_NSPAWN=
MACHINE_INIT=

# A systemd outside gives nspawn a scope of its own; otherwise a cgroup of its own is made here, as
# two machines would share one.
host_has_systemd() {
    [[ -d /run/systemd/system ]]
}

cgroup_mount() {
    findmnt --noheadings --output TARGET --types cgroup2 | head -n 1
}

machine_cgroup() {
    echo "$(cgroup_mount)/skim-machine-${1##*/}"
}

machine_reserve() {
    local registry
    [[ -z $MACHINE_DIR ]] || return 0
    mkdir -p "$CACHE/machines"
    exec {registry}>"$CACHE/machines.lock"
    flock "$registry"
    machine_sweep
    MACHINE_DIR=$(mktemp -d "$CACHE/machines/XXXXXX")
    # Held as long as this script lives: what tells a machine in use from a stale one.
    exec {MACHINE_LOCK}>"$MACHINE_DIR/lock"
    flock "$MACHINE_LOCK"
    exec {registry}>&-
}

machine_create() {
    machine_reserve
    cp -a --reflink=auto "$1" "$MACHINE_DIR/root"
}

# Removes the machines of scripts that were killed before they could.
machine_sweep() {
    local dir lock
    for dir in "$CACHE"/machines/*/; do
        [[ -d $dir ]] || continue
        exec {lock}>"${dir}lock"
        if flock --nonblock "$lock"; then
            machine_erase "${dir%/}"
        fi
        exec {lock}>&-
    done
}

# machine_erase DIR: kills what still runs of the machine and removes its directory and cgroup.
machine_erase() {
    machine_halt "$1"
    rm -rf "$1"
}

# As a power cut: nothing in the machine hears of it. Its root stays, to be booted again.
machine_kill_power() {
    machine_halt "$MACHINE_DIR"
}

machine_shut_down() {
    machine_enter systemctl poweroff
    timeout 180 tail --pid="$MACHINE_NSPAWN" --sleep-interval=0.1 -f /dev/null ||
        machine_failed "the machine did not shut down in 180 seconds"
    machine_halt "$MACHINE_DIR"
}

# machine_halt DIR: kills what still runs of the machine and removes its cgroup.
machine_halt() {
    local cgroup
    machine_kill "$1" pid "--directory=$1/root "
    machine_kill "$1" full/pid "file=$1/full/project,"
    cgroup=$(machine_cgroup "$1")
    if [[ -d $cgroup ]]; then
        [[ ! -w $cgroup/cgroup.kill ]] || echo 1 >"$cgroup/cgroup.kill"
        for _ in {1..100}; do
            find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.05
        done
    fi
}

# machine_kill DIR FILE ARGUMENT: the process whose PID is in FILE, if ARGUMENT tells that it is the
# machine's own.
machine_kill() {
    local pid
    pid=$(cat "$1/$2" 2>/dev/null || true)
    if [[ -n $pid ]] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q -- "$3"; then
        kill -KILL "$pid" 2>/dev/null || true
        tail --pid="$pid" --sleep-interval=0.05 -f /dev/null
    fi
}

machine_boot() {
    machine_spawn {MACHINE_LOCK}>&- &
    MACHINE_NSPAWN=$!
    # Its end is no news to the user.
    disown "$MACHINE_NSPAWN"
    echo "$MACHINE_NSPAWN" >"$MACHINE_DIR/pid"
    local deadline=$((SECONDS + 90))
    until machine_up; do
        kill -0 "$MACHINE_NSPAWN" 2>/dev/null || machine_failed "the machine went away while it booted"
        [[ $SECONDS -lt $deadline ]] || machine_failed "the machine did not come up in 90 seconds"
        sleep 0.1
    done
}

machine_failed() {
    tail -n 20 "$MACHINE_DIR/console" >&2
    die "$1; its console is above"
}

machine_up() {
    local state
    MACHINE_INIT=$(tr -d ' ' <"/proc/$MACHINE_NSPAWN/task/$MACHINE_NSPAWN/children" 2>/dev/null)
    [[ -n $MACHINE_INIT ]] || return 1
    state=$(machine_enter timeout 60 systemctl is-system-running --wait 2>/dev/null)
    [[ $state == running || $state == degraded ]]
}

# Runs in the background, as the process that becomes nspawn: it dies with the script.
machine_spawn() {
    local options=(
        --quiet "--directory=$MACHINE_DIR/root" --boot "--machine=skim-${MACHINE_DIR##*/}"
        --register=no --private-network --capability=all --console=interactive
    )
    [[ ! -e /dev/fuse ]] || options+=(--bind=/dev/fuse)
    if ! host_has_systemd; then
        options+=(--keep-unit)
        mkdir "$(machine_cgroup "$MACHINE_DIR")"
        echo "$BASHPID" >"$(machine_cgroup "$MACHINE_DIR")/cgroup.procs"
    fi
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_LOCK=0 SYSTEMD_SECCOMP=0
    # In a session of its own: Ctrl-C is this script's to handle.
    exec setpriv --pdeathsig KILL setsid systemd-nspawn "${options[@]}" </dev/null >"$MACHINE_DIR/console" 2>&1
}

# Enters the machine's namespaces; what runs so is no unit of its systemd. nsenter stops when its
# child is stopped, which a machine that shuts down does to all: killed with the script, it holds
# up nobody.
machine_enter() {
    setpriv --pdeathsig KILL nsenter --target "$MACHINE_INIT" --all env --ignore-environment \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "TERM=${TERM:-dumb}" "$@" {MACHINE_LOCK}>&-
}

# The version of its systemd, in systemd's own words.
machine_systemd() {
    machine_enter systemctl --version | head -n 1
}

machine_run() {
    machine_enter systemd-run --quiet --wait --pipe --collect --service-type=exec \
        --setenv=LANG=C.UTF-8 --setenv=RUST_BACKTRACE=0 --setenv=SKIM_TEST_MACHINE=1 "$@"
}

machine_drop() {
    [[ -n $MACHINE_DIR ]] || return 0
    machine_erase "$MACHINE_DIR"
    exec {MACHINE_LOCK}>&-
    MACHINE_DIR=
}

machine_remove() {
    # A second Ctrl-C would leave half of it.
    trap '' INT TERM HUP
    machine_drop
}

# To be called once by every script that makes a machine.
machine_remove_at_exit() {
    trap machine_remove EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}
