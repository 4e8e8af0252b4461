"""sorft and llama.cpp side by side on this machine, from one run.

    python benches/peers/llama_cpp.py --build DIR [--sorft PROGRAM] [--repeat N] MODEL...

llama.cpp is built from the sources inside the Python package `llama-cpp-python`, once, in DIR.
A MODEL is a name that `sorft model info` knows. Both programs take turns, each figure is the best
of its repeats, and ratios are to llama.cpp's fastest figure of the column: with the same file, or
with the file requantized to Q4_0, for which llama.cpp has its fastest products.

The result is Markdown on stdout.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile

PACKAGE = "llama-cpp-python==0.3.36"
COLUMNS = ["prefill 512", "prefill 2,048", "decode", "8 shared", "16 shared"]


def run(command, **options):
    """Runs a command and gives its stdout; fails loudly with all it said."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(folder, wanted=("llama-bench", "llama-batched-bench", "llama-quantize")):
    """Builds programs of llama.cpp in `folder`, where that has not been done."""
    programs = folder / "build" / "bin"
    if all((programs / name).exists() for name in wanted):
        return programs
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    if not list(folder.glob("llama_cpp_python-*/vendor")):
        run([*pip, "download", "--no-deps", "--no-binary", "llama-cpp-python", "-d", folder, PACKAGE],
            env={**os.environ, "CMAKE_GENERATOR": "Unix Makefiles"})
        (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
        with tarfile.open(archive) as sources:
            sources.extractall(folder, filter="data")
    run([*pip, "install", "--target", folder / "cmake", "cmake"])
    cmake = [sys.executable, "-m", "cmake"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "cmake")}
    (source,) = folder.glob("llama_cpp_python-*/vendor/llama.cpp")
    options = ["LLAMA_BUILD_TOOLS=ON", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_EXAMPLES=OFF",
               "LLAMA_CURL=OFF", "LLAMA_OPENSSL=OFF", "GGML_NATIVE=ON",
               "CMAKE_BUILD_TYPE=Release"]
    run([*cmake, "-S", source, "-B", folder / "build", "-G", "Unix Makefiles",
         *(f"-D{option}" for option in options)], env=environment)
    run(["make", "-C", folder / "build", f"-j{os.cpu_count()}", *wanted])
    return programs


def llama_figures(programs, model, threads):
    """Tokens per second of each column."""
    bench = json.loads(run([programs / "llama-bench", "-m", model, "-t", threads, "-p", "512,2048",
                            "-n", "64", "-r", "1", "-o", "json"]))
    by_size = {(row["n_prompt"], row["n_gen"]): row["avg_ts"] for row in bench}
    batched = run([programs / "llama-batched-bench", "-m", model, "-t", threads, "-tb", threads,
                   "-c", "4096", "-b", "2048", "-ub", "512", "-npp", "512", "-ntg", "64",
                   "-npl", "8,16", "-pps", "-kvu"])
    shared = {}
    for line in batched.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) == 10 and re.fullmatch(r"\d+", cells[0]):
            shared[int(cells[2])] = float(cells[7])
    return [by_size[512, 0], by_size[2048, 0], by_size[0, 64], shared[8], shared[16]]


def sorft_figures(program, model, threads, isa):
    command = [program, "--quiet", "model", "bench", model, "--threads", threads, "--repeat", "1",
               "--format", "json"]
    report = json.loads(run(command + (["--isa", isa] if isa else [])))
    prefill = {row["size"]: row["tokens_per_second"] for row in report["prefill"]}
    decode = {row["size"]: row["tokens_per_second"] for row in report["decode"]}
    figures = [prefill[512], prefill[2048], decode[1], decode[8], decode[16]]
    return figures, report


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--sorft", default="target/release/sorft")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", default=os.cpu_count())
    parser.add_argument("--isa", help="the instructions that sorft is held to")
    arguments = parser.parse_args()
    programs = build(arguments.build.resolve())
    print(f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in arguments.models:
        info = json.loads(run([arguments.sorft, "model", "info", name, "--format", "json"]))
        path = info["path"] or sys.exit(f"{name} is not here: `sorft model pull {name}` gets it")
        simple = arguments.build / f"{pathlib.Path(path).stem}.q4_0.gguf"
        if not simple.exists():
            run([programs / "llama-quantize", "--allow-requantize", path, simple, "Q4_0"])
        best = {}
        for _ in range(arguments.repeat):
            own, report = sorft_figures(arguments.sorft, name, arguments.threads, arguments.isa)
            for kind, figures in [
                ("llama.cpp, the same file", llama_figures(programs, path, arguments.threads)),
                ("llama.cpp, Q4_0", llama_figures(programs, simple, arguments.threads)),
                ("sorft", own),
            ]:
                best[kind] = [max(pair) for pair in zip(figures, best.get(kind, figures))]
        for kind, figures in best.items():
            cells = " | ".join(f"{figure:,.0f}" for figure in figures)
            print(f"| {name}: {kind} | {cells} |")
        fastest = [max(column) for column in
                   zip(*(figures for kind, figures in best.items() if kind != "sorft"))]
        ratios = [own / peer for own, peer in zip(best["sorft"], fastest)]
        print(f"| {name}: ratio | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
        print(f"| {name}: loaded in {report['load_seconds']:.2f} s, file "
              f"{report['file_bytes'] / 2**20:,.0f} MiB, peak memory "
              f"{report['peak_memory_bytes'] / 2**20:,.0f} MiB |" + " |" * len(COLUMNS), flush=True)


if __name__ == "__main__":
    main()
