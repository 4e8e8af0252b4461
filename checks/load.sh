#!/usr/bin/env bash
# Many requests and instances at once, to a server of the test's own that drops, delays, garbles,
# refuses or stalls a fifth of them: that all end, nothing is counted twice, and what it takes.
# Both ends are in one process for the requests; instances are a `sorft eval` of its own.
#
#     bash checks/load.sh [N...]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 200 2000
cargo test --release --test it --no-run
for n in "$@"; do
    for test in requests_at_once_end instances_end; do
        SORFT_LOAD=$n cargo test --release --test it -- --nocapture "load::$test" | grep -E '^[0-9]+ (requests|instances):|test result'
    done
done
