#!/usr/bin/env bash
# An adapter and what it merges into, against PEFT, transformers and llama.cpp (checks/adapter.py).
#
#     checks/adapter.sh VENV ADAPTER MODEL      (MODEL: a name that `sorft model pull` knows)
#
# VENV is created, with what is needed, where it does not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 adapter=$2 model=$3
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    CMAKE_GENERATOR="Unix Makefiles" "$venv/bin/pip" install \
        torch transformers accelerate peft gguf sentencepiece "llama-cpp-python==0.3.36"
fi
cargo build --release --bin sorft --example gradients --example judge
path=$(target/release/sorft --quiet model pull "$model")
"$venv/bin/python" checks/adapter.py target/release "$adapter" "$model" "$path"
