#!/bin/sh
# Installs what a development machine lacks, and nothing that it has. Safe to run again and again.
#
#   deploy/setup.sh run     what `make run` needs: compiler, Chromium, ffmpeg, fonts, wasm target, wasm-bindgen, npm packages
#   deploy/setup.sh test    the same, and the vendors' SDKs that the tests drive (npm, Python)
#
# System packages come through apt (with sudo only when not root, and it says so).
# Build tools go to $SNAPHOOK_TOOLS (default ~/.cache/snaphook/tools), shared by all clones.
set -eu
cd "$(dirname "$0")/.."
what=${1:-run}
tools=${SNAPHOOK_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools}

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

have cargo || die "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
have node || die "node is missing: install Node.js 20 or newer, then run this again"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || die "Node.js $(node --version) is too old: 20 or newer is needed"

# --- system packages -------------------------------------------------------------------------
packages=""
want() { packages="$packages $1"; }
have cc || want build-essential
have curl || want curl
# Encodes videos; everything else works without it.
have ffmpeg || want ffmpeg
find_chromium() {
    for name in chromium-headless-shell chrome-headless-shell chromium google-chrome; do
        if have "$name"; then command -v "$name"; return; fi
    done
    find "$tools/chrome" -name chrome-headless-shell -type f 2>/dev/null | head -n 1
}
chromium_from_npm=""
if [ -z "${SNAPHOOK_RENDER_CHROMIUM:-}" ] && [ -z "$(find_chromium)" ]; then
    want_chromium=yes
else
    want_chromium=""
fi
fonts_dir=/usr/share/fonts
[ -n "$(find $fonts_dir -name 'LiberationSans-Regular*' 2>/dev/null | head -n 1)" ] || want fonts-liberation
[ -n "$(find $fonts_dir -name 'NotoColorEmoji*' 2>/dev/null | head -n 1)" ] || want fonts-noto-color-emoji
[ -n "$(find $fonts_dir -name 'NotoSansCJK*' 2>/dev/null | head -n 1)" ] || want fonts-noto-cjk
# The tests take both builds of Chromium through the attack page; where a distribution has no plain packages of them (Ubuntu
# has a snap), they take the one that is there.
want_both=""
if [ "$what" = test ] && ! { have chromium && have chromium-headless-shell; } && have apt-get; then
    want_both=yes
fi
[ "$what" != test ] || have strace || want strace
# Debian keeps it out of the PATH of all but root.
[ "$what" != test ] || have nft || [ -x /usr/sbin/nft ] || want nftables
[ "$what" != test ] || have ip || [ -x /usr/sbin/ip ] || want iproute2
# Debian keeps the server out of the PATH.
[ "$what" != test ] || have postgres || [ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null | head -n 1)" ] || want postgresql
if [ "$what" = test ] && ! { have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null; }; then
    want python3
    want python3-venv
fi

if [ -n "$packages$want_chromium$want_both" ]; then
    have apt-get || die "please install by hand (no apt-get here):$packages and Chromium (or set SNAPHOOK_RENDER_CHROMIUM)"
    sudo=""
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "root is needed to install:$packages"
        sudo="sudo"
        say "sudo is used once, to install system packages"
    fi
    say "reading the package lists"
    $sudo apt-get update -qq || say "the package lists could not be refreshed; going on with the old ones"
    if [ -n "$want_chromium" ]; then
        if apt-cache policy chromium-headless-shell 2>/dev/null | grep -q 'Candidate: [0-9]'; then
            want chromium-headless-shell
        else
            chromium_from_npm=yes # Ubuntu ships Chromium as a snap only, which cannot be driven from here
            for lib in libnss3 libgbm1 libatk-bridge2.0-0 libxkbcommon0 libxcomposite1 libxdamage1 libxrandr2; do want $lib; done
        fi
    fi
    if [ -n "$want_both" ]; then
        for build in chromium chromium-headless-shell; do
            if ! have $build && apt-cache policy $build 2>/dev/null | grep -q 'Candidate: [0-9]'; then want $build; fi
        done
    fi
    if [ -n "$packages" ]; then
        say "installing:$packages"
        # shellcheck disable=SC2086  # a list of package names
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null
    fi
fi
if [ -n "$chromium_from_npm" ]; then
    say "fetching chrome-headless-shell"
    npx --yes @puppeteer/browsers install chrome-headless-shell@stable --path "$tools/chrome" >/dev/null
    # The Makefile has this folder in PATH, where the service looks.
    mkdir -p "$tools/bin"
    ln -sf "$(find_chromium)" "$tools/bin/chrome-headless-shell"
fi

# What tests alerts comes out of Debian's package, whose service is not wanted here.
if [ "$what" = test ] && ! have promtool && [ ! -x "$tools/bin/promtool" ] && have apt-get; then
    say "fetching promtool"
    (
        folder=$(mktemp -d) && cd "$folder" && apt-get download -qq prometheus >/dev/null && dpkg -x prometheus_*.deb . &&
            mkdir -p "$tools/bin" && cp usr/bin/promtool "$tools/bin/promtool" && rm -r "$folder"
    ) || say "promtool could not be had; the alerts are not tested"
fi

# --- Rust: the wasm target, and the tools that build a Worker ---------------------------------
if ! rustup target list --installed | grep -q wasm32-unknown-unknown; then
    say "adding the wasm32 target"
    rustup target add wasm32-unknown-unknown
fi
bindgen=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[^0-9.]/, ""); print }' Cargo.lock)
# One target directory for both, and little optimisation: they share most of their dependencies, and compile time
# is all that counts for a tool that runs for a second.
install_tool() {
    name=$1 version=$2
    if [ -x "$tools/bin/$name" ] && "$tools/bin/$name" --version 2>/dev/null | grep -q "$version"; then return; fi
    say "building $name $version (a few minutes, once)"
    CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
        cargo install --quiet --force --root "$tools" --version "$version" "$3"
}
mkdir -p "$tools"
install_tool wasm-bindgen "$bindgen" wasm-bindgen-cli

# --- npm and Python packages ------------------------------------------------------------------
install_npm() {
    if [ ! -d "$1/node_modules" ] || [ "$1/package-lock.json" -nt "$1/node_modules/.package-lock.json" ]; then
        say "npm packages of $1"
        (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
    fi
}
install_npm edge
if [ "$what" = test ]; then
    install_npm tests/sdk
    # The mark is set last: what was broken off is begun anew.
    if [ ! -f tests/sdk/.venv/installed ] || [ tests/sdk/requirements.txt -nt tests/sdk/.venv/installed ]; then
        say "Python packages of tests/sdk"
        python3 -m venv tests/sdk/.venv
        tests/sdk/.venv/bin/pip install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
        touch tests/sdk/.venv/installed
    fi
fi
say "ready"
