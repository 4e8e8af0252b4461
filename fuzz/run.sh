#!/usr/bin/env bash
# Runs the fuzz targets, all or those named, each for so many seconds, and prints a row for each.
#
#     bash fuzz/run.sh SECONDS [TARGET...]
#
# Needs cargo-fuzz (`cargo install cargo-fuzz`) and a C++ compiler, no nightly toolchain. What is
# found in fuzz/artifacts ends the script with 1; kept in fuzz/seeds/TARGET, it is a test.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:?wanted the seconds for each target}
shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z]*\)"$/\1/p' Cargo.toml)
export RUSTC_BOOTSTRAP=1 # the flags for coverage are unstable; the compiler is not
target_dir=${CARGO_TARGET_DIR:-target}
triple=$(rustc -vV | sed -n 's/^host: //p')
# The versions that the project is built with.
cp ../Cargo.lock Cargo.lock
cargo fuzz build --sanitizer none
failed=0
mkdir -p logs
echo "| target | executions | a second | edges | features | corpus | peak MiB |"
echo "|---|---|---|---|---|---|---|"
for target in "$@"; do
    mkdir -p "corpus/$target" "artifacts/$target"
    log=logs/$target.log
    # Ten seconds for one input are a hang, two gigabytes a memory blow-up.
    "$target_dir/$triple/release/$target" "corpus/$target" "seeds/$target" \
        -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" -max_len=8192 \
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1 || failed=1
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    last=$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" | tail -1)
    read -r _ edges _ features _ corpus <<<"${last:-? 0 ? 0 ? 0}"
    echo "| $target | $(stat number_of_executed_units) | $(stat average_exec_per_sec) | $edges | $features | $corpus | $(stat peak_rss_mb) |"
done
if [ "$failed" != 0 ]; then
    echo "what broke a target is in fuzz/artifacts, and why in fuzz/logs" >&2
    exit 1
fi
