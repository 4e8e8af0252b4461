#!/usr/bin/env bash
# Rewards and data as other trainers' own code obtains and reads them (checks/rewards.py).
#
#     checks/rewards.sh VENV SOURCES EPISODES CHATS ADAPTER MODEL
#
# EPISODES and CHATS are files of `sorft train data` and `sorft train sample`; ADAPTER and MODEL
# merge into the model whose tokenizer the trainers use. VENV and SOURCES (OpenRLHF and verl at the
# commits below) are made, with what is needed, where they do not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 sources=$2
shift 2
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install "transformers<5" "datasets<4.5" "trl<1" "accelerate<1.13" torch peft \
        aiohttp omegaconf tensordict ray codetiming torchdata pyarrow pandas pylatexenc pillow sympy
fi
checkout() {
    if [ ! -d "$sources/$1" ]; then
        git init -q "$sources/$1"
        git -C "$sources/$1" fetch -q --depth 1 "https://github.com/$2" "$3"
        git -C "$sources/$1" checkout -q FETCH_HEAD
    fi
}
checkout OpenRLHF OpenRLHF/OpenRLHF 3c3be6234e0cb353e76bb8019947db9dfe99fca7
checkout verl volcengine/verl b178a3cd56f58b2d502255daba591e92833930a7
cargo build --release --bin sorft
PYTHONPATH="$sources/OpenRLHF:$sources/verl" "$venv/bin/python" checks/rewards.py \
    target/release/sorft "$@"
