#!/bin/sh
# Builds the Worker into edge/build/, where wrangler.toml and dev.mjs look for it.
#
#   sh edge/build.sh            as it is deployed
#   sh edge/build.sh --no-opt   without wasm-opt: much faster, a little larger
#
# Needs `npm ci` in edge/ (esbuild, wasm-opt), worker-build, and a wasm-bindgen of exactly Cargo.lock's version:
#
#   cargo install --root "${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools" worker-build --version 0.8.7
#   cargo install --root "${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools" wasm-bindgen-cli --version 0.2.130
#
# SNAPHOOK_TOOLS names another directory for the two; what is not there is looked for on the PATH. A tool that is found
# nowhere (or of another version) is left to worker-build, which downloads its own.
set -eu
cd "$(dirname "$0")"

tools=${SNAPHOOK_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools}
PATH=$tools/bin:$PATH
export PATH

if ! command -v worker-build >/dev/null; then
  echo "build.sh: worker-build is missing; the head of this file says how to install it" >&2
  exit 1
fi

modules=$PWD/node_modules/.bin
if [ -z "${ESBUILD_BIN:-}" ] && [ -x "$modules/esbuild" ]; then
  export ESBUILD_BIN="$modules/esbuild"
fi
if [ -z "${WASM_OPT_BIN:-}" ] && [ -x "$modules/wasm-opt" ]; then
  export WASM_OPT_BIN="$modules/wasm-opt"
fi

# Glue and module must come from the same wasm-bindgen: another version traps at run time, if it builds at all.
wanted=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[^0-9.]/, ""); print }' ../Cargo.lock)
if [ -z "${WASM_BINDGEN_BIN:-}" ] && found=$(wasm-bindgen --version 2>/dev/null) && [ "$found" = "wasm-bindgen $wanted" ]; then
  WASM_BINDGEN_BIN=$(command -v wasm-bindgen)
  export WASM_BINDGEN_BIN
fi

# wrangler calls this without arguments; its dry run in the tests needs no small module.
# shellcheck disable=SC2086  # a list of arguments
exec worker-build --profile edge ${SNAPHOOK_EDGE_BUILD:-} "$@"
