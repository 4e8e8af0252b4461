#!/usr/bin/env bash
# Five SWE-bench dev instances through llama.cpp's OpenAI-compatible server, and a server that is
# killed in the middle of a run.
#
#     checks/real_server.sh VENV SORFT DATASET.jsonl REPOS OUT [MODEL]
#
# VENV is created, with what is needed, where it does not exist. MODEL is a name that
# `sorft model pull` knows [default: qwen2.5-coder-0.5b].
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$1 sorft=$2 dataset=$3 repos=$4 out=$5 model=${6:-qwen2.5-coder-0.5b}
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    CMAKE_GENERATOR="Unix Makefiles" "$venv/bin/pip" install "llama-cpp-python[server]==0.3.36"
fi
weights=$("$sorft" --quiet model pull "$model")
"$venv/bin/python" "$here/real_server.py" "$sorft" "$dataset" "$repos" "$out" "$weights"
