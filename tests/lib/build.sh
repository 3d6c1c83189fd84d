# shellcheck shell=bash
# The programs that run in the machine: linked statically, as its C library is older than that of
# many hosts that build them.

host_triple() {
    rustc -vV | sed -n 's/^host: //p'
}

# Cargo for the machine; `--target`, even though it names the host, keeps the flags away from build
# scripts and procedural macros.
cargo_for_machine() {
    (cd "$REPO" && RUSTFLAGS="-C target-feature=+crt-static" cargo "$1" --quiet --release --locked --target "$(host_triple)" "${@:2}")
}

release_dir() {
    echo "${CARGO_TARGET_DIR:-$REPO/target}/$(host_triple)/release"
}

build_release() {
    note "building skim and stage1-skim"
    cargo_for_machine build --workspace --bins
}

# Builds the system tests and prints where the executable is.
build_system_tests() {
    note "building the system tests"
    cargo_for_machine test -p skim --features system-tests --test system --no-run --message-format=json |
        sed -n 's/.*"name":"system".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# install_skim ROOT: skim as its users install it, and the command of Docker's client.
install_skim() {
    "$REPO/packaging/install" "$1" >&2
    install -D -t "$1/usr/local/bin" "$REPO/packaging/docker"
}
