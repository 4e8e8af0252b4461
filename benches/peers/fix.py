"""`sorft fix` beside llama.cpp's server: the same prompts, the same number of samples, the same file.

    python benches/peers/fix.py --build DIR DATASET REPOS ID...

llama.cpp's server is built from the sources inside the Python package `llama-cpp-python`, once, in
DIR. For each SWE-bench record named by ID, `sorft fix --effort normal --no-adapter` runs on its
base commit in REPOS; then the server, with the same GGUF file, its prompt cache on and as many slots
as there are samples of a prompt, gets the run's prompts in the run's order, all samples of a prompt
in one request (`n_cmpl`), so that it computes the prompt once for them. Together they have as many
tokens there as here, text that our grammar forced included.

Then sorft runs again with one of its speed-ups left out at a time (`--without`, `--isa`).
The result is Markdown on stdout.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import llama_cpp

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "checks"))
from dev_instances import read_rows, repository

PORT = 18231
PARTS = [
    ("all of it", []),
    ("without kernels for AVX-512 (AVX2)", ["--isa", "avx2"]),
    ("without the store of prefixes", ["--without", "prefixes"]),
    ("without batching", ["--without", "batching"]),
    ("without forced text", ["--without", "forced-text"]),
    ("without guesses", ["--without", "guesses"]),
]


def fix(arguments, record, options, folder):
    """Runs `sorft fix`: its seconds, loading the model included, and the rows of its trajectory."""
    issue = folder / "issue.md"
    issue.write_text(record["problem_statement"])
    run = folder / "run"
    command = [arguments.sorft, "--quiet", "fix", repository(arguments.repos, record["repo"]),
               "--at", record["base_commit"], "--issue", issue, "--effort", "normal",
               "--no-adapter", "--model", arguments.model, "--threads", arguments.threads,
               "--run-dir", run, *options]
    began = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    seconds = time.monotonic() - began
    if done.returncode not in (0, 1):
        sys.exit(f"{command} failed:\n{done.stderr}")
    return seconds, read_rows(run / "trajectory.jsonl")


def calls(rows):
    """Messages and the lengths of the samples of each call, in order."""
    by_request = {}
    for row in rows:
        call = by_request.setdefault(row["request"], {"lengths": []})
        if row.get("prompt"):
            call["messages"] = row["prompt"]["messages"]
        call["lengths"].append(row["usage"]["completion_tokens"])
    return list(by_request.values())


def ask(body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=3600) as answer:
        return json.load(answer)


def serve(programs, model, threads, n_slots, context):
    log = tempfile.TemporaryFile()
    server = subprocess.Popen(
        [programs / "llama-server", "-m", model, "-t", str(threads), "-tb", str(threads),
         "--port", str(PORT), "-np", str(n_slots), "-c", str(context), "--kv-unified",
         "--no-webui"], stdout=log, stderr=log)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1).close()
            return server
        except OSError:
            if server.poll() is not None:
                log.seek(0)
                sys.exit(f"llama-server ended:\n{log.read().decode()[-3000:]}")
            time.sleep(0.2)
    sys.exit("llama-server does not answer")


def peer_seconds(all_calls):
    """Wall time of the calls."""
    began = time.monotonic()
    for call in all_calls:
        n_samples = len(call["lengths"])
        answer = ask({
            "messages": call["messages"], "n_cmpl": n_samples, "ignore_eos": True,
            "max_tokens": round(sum(call["lengths"]) / n_samples),
            "temperature": 0.8, "top_p": 0.95, "cache_prompt": True, "seed": 1,
        })
        if len(answer["choices"]) != n_samples:
            sys.exit(f"asked for {n_samples} completions, got {len(answer['choices'])}")
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("repos", type=pathlib.Path)
    parser.add_argument("ids", nargs="+", metavar="ID")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--sorft", default="target/release/sorft")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-parts", action="store_true", help="leave nothing out")
    arguments = parser.parse_args()
    records = {record["instance_id"]: record for record in read_rows(arguments.dataset)}
    programs = llama_cpp.build(arguments.build.resolve(), ["llama-server"])
    info = json.loads(llama_cpp.run([arguments.sorft, "model", "info", arguments.model,
                                     "--format", "json"]))
    if not info["path"]:
        sys.exit(f"{arguments.model} is not here: `sorft model pull {arguments.model}` gets it")
    print("| instance | calls | samples | tokens | llama.cpp's server, s | sorft, s | times |")
    print("|---|---|---|---|---|---|---|")
    for instance in arguments.ids:
        record = records.get(instance) or sys.exit(f"no record {instance}")
        with tempfile.TemporaryDirectory() as folder:
            seconds, rows = fix(arguments, record, [], pathlib.Path(folder))
        all_calls = calls(rows)
        n_tokens = sum(sum(call["lengths"]) for call in all_calls)
        server = serve(programs, info["path"], arguments.threads, 10, 40_960)
        try:
            peer = peer_seconds(all_calls)
        finally:
            server.terminate()
            server.wait()
        print(f"| {instance} | {len(all_calls)} | {len(rows)} | {n_tokens:,} | {peer:.1f} "
              f"| {seconds:.1f} | {peer / seconds:.2f} |", flush=True)
    if arguments.no_parts:
        return
    print("\n| sorft | " + " | ".join(f"{name}, s" for name in arguments.ids) + " |")
    print("|---|" + "---|" * len(arguments.ids))
    for name, options in PARTS:
        cells = []
        for instance in arguments.ids:
            with tempfile.TemporaryDirectory() as folder:
                seconds, _ = fix(arguments, records[instance], options, pathlib.Path(folder))
            cells.append(f"{seconds:.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
