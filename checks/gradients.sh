#!/usr/bin/env bash
# The trainer's loss and gradients against transformers and PEFT (checks/gradients.py).
#
#     checks/gradients.sh VENV
#
# VENV is created, with what is needed, where it does not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install torch transformers peft safetensors numpy
fi
cargo build --release --example gradients
"$venv/bin/python" checks/gradients.py target/release/examples/gradients fixtures/models
