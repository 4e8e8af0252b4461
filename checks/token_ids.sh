#!/usr/bin/env bash
# Token ids of all three models against those of transformers, computed anew.
#
#     checks/token_ids.sh VENV
#
# VENV is created, with what is needed, where it does not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install torch transformers accelerate gguf sentencepiece
fi
cargo build --release --bin sorft
pull() { target/release/sorft --quiet model pull "$1"; }
small=$(pull smollm2-135m)
middle=$(pull qwen2.5-coder-0.5b)
large=$(pull qwen2.5-coder-1.5b)
for qwen in "$middle" "$large"; do
    "$venv/bin/python" checks/token_ids.py "$qwen" "$small" | cmp - tests/real/token_ids.json
done
SORFT_CHECK_QWEN_MODELS="$middle:$large" \
    cargo test --release --test real ids_of -- --include-ignored
