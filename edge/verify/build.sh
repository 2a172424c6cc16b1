#!/bin/sh
# Builds the npm package @snaphook/verify into pkg/; `npm pack ./pkg` makes the tarball of it.
#
#   WASM_BINDGEN_BIN   the wasm-bindgen to use; else one in SNAPHOOK_TOOLS/bin, else one in PATH.
#                      It has to be of exactly the version in Cargo.lock.
#   SNAPHOOK_TOOLS     where the build tools were installed; ~/.cache/snaphook/tools
#   WASM_OPT_BIN       the wasm-opt to use; else the one npm installed in edge/. Without any the wasm stays larger.
set -eu
cd "$(dirname "$0")"

fail() {
  echo "edge/verify/build.sh: $*" >&2
  exit 1
}

cargo build --profile edge --target wasm32-unknown-unknown -p snaphook-verify
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
wasm=$target/wasm32-unknown-unknown/edge/snaphook_verify.wasm
[ -f "$wasm" ] || fail "cargo built no $wasm"

# The version of the command line tool must be the library's: the two share an unstable format.
want=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[^0-9.]/, ""); print }' ../../Cargo.lock)
tools=${SNAPHOOK_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools}
for bindgen in "${WASM_BINDGEN_BIN:-}" "$tools/bin/wasm-bindgen" "$(command -v wasm-bindgen || true)"; do
  [ -z "$bindgen" ] || [ ! -x "$bindgen" ] || break
done
[ -n "$bindgen" ] && [ -x "$bindgen" ] || fail "no wasm-bindgen: cargo install wasm-bindgen-cli --version $want"
have=$("$bindgen" --version)
[ "$have" = "wasm-bindgen $want" ] || fail "$bindgen is $have; Cargo.lock wants $want"

# Built aside and then put in place, so that a failed build leaves the last good package.
rm -rf pkg.new
mkdir pkg.new
trap 'rm -rf pkg.new' EXIT
"$bindgen" --target web --no-typescript --out-dir pkg.new --out-name snaphook_verify "$wasm"

opt=${WASM_OPT_BIN:-../node_modules/.bin/wasm-opt}
if [ -x "$opt" ]; then
  # Stripping took the list of used features with it, so they are named here: rustc's defaults for this target, and
  # simd from .cargo/config.toml.
  "$opt" -O --enable-simd --enable-bulk-memory --enable-multivalue --enable-mutable-globals \
    --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext \
    pkg.new/snaphook_verify_bg.wasm -o pkg.new/opt.wasm
  mv pkg.new/opt.wasm pkg.new/snaphook_verify_bg.wasm
else
  echo "edge/verify/build.sh: no wasm-opt, the wasm stays larger (npm ci in edge/ brings it)" >&2
fi

cp npm/* pkg.new/
for licence in ../../LICENSE-*; do
  [ ! -f "$licence" ] || cp "$licence" pkg.new/
done

rm -rf pkg
mv pkg.new pkg
echo "edge/verify/pkg: $(wc -c <pkg/snaphook_verify_bg.wasm) bytes of wasm, $(gzip -9 -c pkg/snaphook_verify_bg.wasm | wc -c) gzipped"
