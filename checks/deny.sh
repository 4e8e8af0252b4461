#!/usr/bin/env bash
# Licences, bans and sources of all dependencies on all platforms, by cargo-deny, which is built
# first where it is not there (some minutes; too long for every run of the tests).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
# All features but `mkl`: Intel's library comes under a licence of Intel's own, for whoever chooses it.
cargo deny --features cuda,cudnn,flash-attn,metal,accelerate check licenses bans sources
