#!/usr/bin/env bash
# Licences, bans and sources of all dependencies on all platforms, by cargo-deny, which is built
# first where it is not there (some minutes; too long for every run of the tests).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
cargo deny --all-features check licenses bans sources
cargo deny --manifest-path fuzz/Cargo.toml --config deny.toml check licenses bans sources
