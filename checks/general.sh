#!/usr/bin/env bash
# RepoQA and LiveCodeBench: prompts, extraction and scores of ours against those of the reference
# code on the same data and outputs (checks/general.py).
#
#     checks/general.sh VENV SOURCES REPOS [FOLDER]
#
# VENV and SOURCES (LiveCodeBench at the commit below) are made, with what is needed, where they do
# not exist. REPOS has clones of real repositories, bare or not, as `sorft eval --repos` takes them:
# marshmallow-code/marshmallow, google/gson, vitejs/vite, dtolnay/semver and fmtlib/fmt. FOLDER
# keeps data files and outputs (a temporary one by default).
#
# The official data files are releases of evalplus/repoqa_release and
# livecodebench/code_generation_lite; where REPOQA_DATA or LIVECODEBENCH_DATA names one, it is read
# in place of the one that is made here. CHECK_TASKS (20) is how many tasks of each a small model is
# asked, CHECK_SECONDS (6) how long a program may take for a test: more on a busy machine.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 sources=$2 repos=$(realpath "$3")
folder=${4:-$(mktemp -d)}
if [ ! -d "$venv" ]; then
    python3 -m venv "$venv"
    # tree_sitter_languages is built for tree_sitter before 0.22.
    "$venv/bin/pip" install --quiet --no-deps "repoqa==0.1.2"
    "$venv/bin/pip" install --quiet "nltk==3.9.1" numpy "tree_sitter_languages==1.10.2" \
        "tree_sitter<0.22" "transformers<6" tempdir appdirs wget rich tqdm
fi
if [ ! -d "$sources/LiveCodeBench" ]; then
    git init -q "$sources/LiveCodeBench"
    git -C "$sources/LiveCodeBench" fetch -q --depth 1 \
        https://github.com/LiveCodeBench/LiveCodeBench 28fef95ea8c9f7a547c8329f2cd3d32b92c1fa24
    git -C "$sources/LiveCodeBench" checkout -q FETCH_HEAD
fi
cargo build --release --bin sorft
# Programs run with the Python that the reference runs them with.
PATH="$(realpath "$venv")/bin:$PATH" python checks/general.py \
    "$PWD/target/release/sorft" "$(realpath "$sources/LiveCodeBench")" "$repos" "$folder"
