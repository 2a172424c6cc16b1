#!/bin/sh
# libFuzzer, led by coverage, on all that strangers send: FUZZ_SECONDS (10) for each target.
#
#   sh fuzz/run.sh                         every target
#   sh fuzz/run.sh request                 this one
#   sh fuzz/run.sh request artifacts/…     the same input again
#
# The stable compiler is enough: all that a nightly would add is the address sanitizer, and there is no unsafe code to watch.
# What was found worth keeping stays in corpus/; an input that breaks a property is written to artifacts/.
set -eu
cd "$(dirname "$0")"

seconds=${FUZZ_SECONDS:-10}
targets="request route json query_signature envelope target_url"
if [ $# -gt 0 ]; then targets=$1; shift; fi

# The flags that cargo-fuzz gives, but for the sanitizer. With --target they reach no build script.
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
# shellcheck disable=SC2086  # its line break is a blank
RUSTFLAGS=$(echo $coverage --cfg fuzzing) cargo build --quiet --release --locked --target "$host"

for target in $targets; do
  mkdir -p "corpus/$target" "artifacts/$target"
  if [ $# -gt 0 ]; then
    exec "target/$host/release/$target" "$@"
  fi
  log=target/$target.log
  if ! "target/$host/release/$target" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="artifacts/$target/" \
    "corpus/$target" "seeds/$target" 2>"$log"; then
    tail -40 "$log" >&2
    echo "fuzz: $target: an input breaks a property; \`sh fuzz/run.sh $target artifacts/$target/…\` tries it again" >&2
    exit 1
  fi
  # Without the counters it would run all the same, and blindly.
  from=$(sed -n 's/.*INITED cov: \([0-9]*\).*/\1/p' "$log")
  to=$(sed -n 's/.*DONE *cov: \([0-9]*\).*/\1/p' "$log")
  tries=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
  if [ "${to:-0}" -lt 100 ]; then
    echo "fuzz: $target: built without coverage" >&2
    exit 1
  fi
  echo "fuzz: $target: $tries tries in $seconds s, coverage from $from to $to edges"
done
