# shellcheck shell=bash disable=SC2034
# The Debian packages that the tests and the demo stand on.

MACHINE_PACKAGES=(mmdebstrap debian-archive-keyring systemd-container util-linux)
FULL_MACHINE_PACKAGES=(qemu-system-x86 e2fsprogs)
BUILD_PACKAGES=(gcc libc6-dev musl-tools appc-spec python3 bzip2 xz-utils zstd)
LINT_PACKAGES=(shellcheck lintian)

package_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]
}

# Installs those of the packages named that are missing.
install_missing() {
    local package missing=()
    for package in "$@"; do
        package_installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null || die "packages are missing (${missing[*]}) and there is no apt-get; use Debian or Ubuntu"
    note "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

rust_version_wanted() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$REPO/Cargo.toml"
}

# True where the cargo on PATH (not only a rustup without a toolchain) is new enough.
rust_suffices() {
    local have
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
    [[ -n $have ]] || return 1
    printf '%s\n%s\n' "$(rust_version_wanted)" "$have" | sort --version-sort --check=quiet
}

# A Rust toolchain: the one that is there, else that of the package rustup, where there is one.
ensure_rust() {
    [[ ! -d ${HOME:-/root}/.cargo/bin ]] || PATH=${HOME:-/root}/.cargo/bin:$PATH
    if ! rust_suffices && apt-cache show rustup >/dev/null 2>&1; then
        install_missing rustup
        rustup default stable >&2
    fi
    rust_suffices || die "Rust $(rust_version_wanted) or newer is needed and not found; install it from https://rustup.rs"
    local component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 || rustup component add "${component/fmt/rustfmt}" >&2 ||
            die "cargo $component is missing; install it (rustup component add ${component/fmt/rustfmt})"
    done
}
