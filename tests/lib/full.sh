# shellcheck shell=bash
# The full machine: QEMU with an emulated processor, which is ten to twenty times slower than the real
# one, but with a kernel of its own and every controller of cgroup v2, whatever the host has of them.
# It is for one command. Its files are in MACHINE_DIR/full; it dies with this script, however that ends.
#
#   full_machine_boot IMAGE TREE COMMAND…   until the command runs, as a service; IMAGE is what
#                                           full_machine prints; of TREE, opt and usr/local/bin are
#                                           seen there
#   full_machine_output                     what the command prints; returns its exit code

FULL_MACHINE_PID=

# In seconds, on a slow and busy host: it boots in ten, and its tests take one to two minutes.
FULL_MACHINE_BOOT=90
FULL_MACHINE_RUN=400

full_machine_supported() {
    [[ $(debian_arch) == amd64 ]] ||
        { note "the full machine is there for amd64 only, and this is $(debian_arch)"; return 1; }
}

full_machine_boot() {
    local image=$1 tree=$2 dir=$MACHINE_DIR/full
    shift 2
    mkdir -p "$dir" "$tree"/{opt,usr/local/bin}
    printf '%q ' "$@" >"$tree/command"
    truncate --size=1G "$dir/project"
    mkfs.ext4 -q -O ^has_journal -d "$tree" "$dir/project"
    mkfifo "$dir"/monitor.{in,out}
    full_machine_try "$image" && return 0
    # QEMU's emulation goes wrong now and then, before anything that is tested has begun. What hangs
    # once the command runs has failed.
    note "the full machine does not come up, the end of its console is below; it is booted once more"
    tail -n 10 "$dir/console" >&2 || true
    machine_kill "$MACHINE_DIR" full/pid "file=$dir/project,"
    full_machine_try "$image" || full_machine_failed "the full machine did not come up, twice"
}

# full_machine_try IMAGE: false where its command does not begin in time.
full_machine_try() {
    local dir=$MACHINE_DIR/full deadline
    : >"$dir/status"
    full_machine_spawn "$1" {MACHINE_LOCK}>&- &
    FULL_MACHINE_PID=$!
    disown "$FULL_MACHINE_PID"
    echo "$FULL_MACHINE_PID" >"$dir/pid"
    deadline=$((SECONDS + FULL_MACHINE_BOOT))
    until [[ -s $dir/status ]]; do
        [[ $SECONDS -lt $deadline ]] && full_machine_alive || return 1
        sleep 0.1
    done
}

full_machine_alive() {
    kill -0 "$FULL_MACHINE_PID" 2>/dev/null
}

full_machine_failed() {
    local dir=$MACHINE_DIR/full
    if full_machine_alive; then
        # What its processors are at, for whoever looks for the reason.
        echo 'info registers -a' >"$dir/monitor.in"
        timeout 3 cat "$dir/monitor.out" >&2 || true
    fi
    tail -n 30 "$dir/console" >&2 || true
    die "$1; the end of its console is above"
}

full_machine_output() {
    local dir=$MACHINE_DIR/full code
    timeout --foreground "$FULL_MACHINE_RUN" tail --quiet --pid="$FULL_MACHINE_PID" --sleep-interval=0.1 --lines=+1 --follow "$dir/output" ||
        full_machine_failed "the command did not end in $FULL_MACHINE_RUN seconds"
    # "started", and the exit code.
    code=$(sed -n 2p "$dir/status")
    [[ -n $code ]] || full_machine_failed "the full machine went away before its command had ended"
    return "$code"
}

# Runs in the background, as the process that becomes QEMU. /dev/kvm is not looked for: where it
# exists, it need not boot anything. Two namespaces of one NVMe controller keep their order.
full_machine_spawn() {
    local dir=$MACHINE_DIR/full options append
    append=(
        # The disk may be found late, where the host is busy.
        console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw rootwait panic=-1 quiet systemd.show_status=0
        # Each saves time.
        mitigations=off audit=0 apparmor=0 tsc=reliable no_timer_check
        rcupdate.rcu_expedited=1 cryptomgr.notests 8250.nr_uarts=1
    )
    options=(
        -nodefaults -no-user-config -display none -no-reboot
        -accel "tcg,thread=multi,tb-size=512" -machine "q35,usb=off,sata=off"
        # Without cmpxchg16b: QEMU 7.2 emulates it wrongly now and then.
        -cpu "max,svm=off,la57=off,cx16=off" -smp 2 -m 1G -nic none
        -kernel "$1/kernel" -append "${append[*]}"
        -drive "file=$1/disk,if=none,id=disk,format=raw,snapshot=on,cache=unsafe"
        -drive "file=$dir/project,if=none,id=project,format=raw,readonly=on"
        -device "nvme,id=nvme,serial=machine"
        -device "nvme-ns,drive=disk,nsid=1" -device "nvme-ns,drive=project,nsid=2"
        -serial "file:$dir/console" -device virtio-serial-pci
        -chardev "pipe,id=monitor,path=$dir/monitor" -mon chardev=monitor
        -chardev "file,id=output,path=$dir/output" -device "virtserialport,chardev=output,nr=1"
        -chardev "file,id=status,path=$dir/status" -device "virtserialport,chardev=status,nr=2"
    )
    # The snapshot's changes go to a file there.
    export TMPDIR=$dir
    exec setpriv --pdeathsig KILL setsid qemu-system-x86_64 "${options[@]}" </dev/null >>"$dir/console" 2>&1
}
