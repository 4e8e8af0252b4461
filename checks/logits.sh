#!/usr/bin/env bash
# Logits against llama.cpp and against the same weights as 32-bit floats (checks/logits.py).
#
#     checks/logits.sh VENV MODEL...      (names that `sorft model pull` knows)
#
# VENV is created, with what is needed, where it does not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
shift
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    CMAKE_GENERATOR="Unix Makefiles" "$venv/bin/pip" install \
        torch transformers accelerate gguf sentencepiece "llama-cpp-python==0.3.36"
fi
cargo build --release --example judge --bin sorft
for model in "$@"; do
    path=$(target/release/sorft --quiet model pull "$model")
    "$venv/bin/python" checks/logits.py target/release/examples/judge "$path" llama f32
done
