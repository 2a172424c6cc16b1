#!/bin/sh
# Builds the Worker into edge/build/, where wrangler.toml and dev.mjs look for it.
#
#   sh edge/build.sh            as it is deployed
#   sh edge/build.sh --no-opt   without wasm-opt: much faster, a little larger
#
# Needs `npm ci` in edge/ (esbuild, wasm-opt) and a wasm-bindgen of exactly Cargo.lock's version:
#
#   cargo install --root "${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools" wasm-bindgen-cli --version 0.2.130
#
# SNAPHOOK_TOOLS names another directory for it, WASM_BINDGEN_BIN the program itself, ESBUILD_BIN and WASM_OPT_BIN the two others.
# SNAPHOOK_EDGE_BUILD is read like arguments: wrangler calls this without any, and its dry run in the tests needs no small module.
set -eu
cd "$(dirname "$0")"

fail() {
  echo "edge/build.sh: $*" >&2
  exit 1
}

# wasm-bindgen's own calls, where worker-build has them too: js-sys instead of std's.
WASM_BINDGEN_USE_JS_SYS=1 cargo build --quiet --profile edge --target wasm32-unknown-unknown -p snaphook-edge
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

# Glue and module must come from the same wasm-bindgen: the two share an unstable format.
want=$(awk '/^name = "wasm-bindgen"$/ { getline; gsub(/[^0-9.]/, ""); print }' ../Cargo.lock)
tools=${SNAPHOOK_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/snaphook/tools}
for bindgen in "${WASM_BINDGEN_BIN:-}" "$tools/bin/wasm-bindgen" "$(command -v wasm-bindgen || true)"; do
  [ -z "$bindgen" ] || [ ! -x "$bindgen" ] || break
done
[ -n "$bindgen" ] && [ -x "$bindgen" ] || fail "no wasm-bindgen: the head of this file says how to install it"
have=$("$bindgen" --version)
[ "$have" = "wasm-bindgen $want" ] || fail "$bindgen is $have; Cargo.lock wants $want"

# Built aside and then put in place: a Worker that is being started never sees half of it, and a failed build leaves the last.
new=$(mktemp -d ./build.XXXXXX)
trap 'rm -rf "$new"' EXIT
# Both flags are for making the module anew after a panic: src/worker.js.
"$bindgen" --target module --no-typescript --force-enable-abort-handler --experimental-reset-state-function --out-dir "$new" --out-name index \
  "$target/wasm32-unknown-unknown/edge/snaphook_edge.wasm"

case " ${SNAPHOOK_EDGE_BUILD:-} $* " in
*" --no-opt "*) ;;
*)
  # Stripping took the list of used features with it, so they are named here: rustc's defaults for this target, simd from
  # .cargo/config.toml, and wasm-bindgen's exceptions.
  "${WASM_OPT_BIN:-node_modules/.bin/wasm-opt}" -O --enable-simd --enable-bulk-memory --enable-multivalue --enable-mutable-globals \
    --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext --enable-exception-handling \
    "$new/index_bg.wasm" -o "$new/opt.wasm"
  mv "$new/opt.wasm" "$new/index_bg.wasm"
  ;;
esac

# The platform gives a module for the plain import, and does not know the new one.
sed -i.bak 's/^import source /import /' "$new/index.js"
cp src/worker.js "$new/worker.js"
"${ESBUILD_BIN:-node_modules/.bin/esbuild}" "$new/worker.js" --bundle --format=esm --minify --external:./index_bg.wasm \
  --log-level=warning --outfile="$new/bundle.js"
mv "$new/bundle.js" "$new/index.js"
rm -rf "$new/worker.js" "$new/index.js.bak" "$new/snippets" "$new/package.json"

chmod 755 "$new"
rm -rf build
mv "$new" build
echo "edge/build: $(wc -c <build/index_bg.wasm) bytes of wasm, $(gzip -9 -c build/index_bg.wasm | wc -c) gzipped"
