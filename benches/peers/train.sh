#!/usr/bin/env bash
# Throughput and memory of tuning by LoRA beside torch and PEFT (benches/peers/train.py).
#
#     benches/peers/train.sh VENV [OPTION...]
#
# VENV is created, with what is needed, where it does not exist. An hour or two on two idle
# cores; PEFT needs more than 8 GB for the larger model in 32 bits.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$1
shift
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install torch transformers peft
fi
cargo build --release
for model in smollm2-135m qwen2.5-coder-0.5b; do
    target/release/sorft model pull "$model"
done
python3 benches/peers/train.py --python "$venv/bin/python" --sorft target/release/sorft "$@" \
    smollm2-135m qwen2.5-coder-0.5b
