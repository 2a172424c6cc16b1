#!/bin/sh
# `make test-upgrade`: builds the program of an older commit, and has it work beside this one's on one database.
set -eu
cd "$(dirname "$0")/.."

# A commit whose program goes on with the database of this one: none of the migrations since then takes anything away.
older=79540fe7b66e

folder=target/upgrade/$older
if [ ! -x "$folder/snaphook" ]; then
    rm -rf "$folder"
    mkdir -p "$folder/source"
    git archive "$older" | tar -x -C "$folder/source"
    echo "test-upgrade: building $older, which takes some minutes the first time"
    (cd "$folder/source" && CARGO_TARGET_DIR=../build cargo build --quiet --locked -p snaphook --bin snaphook)
    mv "$folder/build/debug/snaphook" "$folder/snaphook"
    rm -rf "$folder/build" "$folder/source"
fi
cargo build --quiet --workspace --bins
SNAPHOOK_TEST_OLDER=$PWD/$folder/snaphook cargo test --workspace --test it -- --ignored --nocapture upgrade::
