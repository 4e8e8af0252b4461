"""Tuning by LoRA: sorft and torch with PEFT side by side on this machine, from one run.

    python benches/peers/train.py [--python PROGRAM] [--sorft PROGRAM] [--repeat N] MODEL...

`--python` is one that has torch, transformers and peft; this script itself needs none of them.
A MODEL is a name of SHAPES, below, whose file is here (`sorft model pull MODEL`).

What is trained: rank 16, alpha 32, no dropout, on all seven projections, with AdamW and gradients
cut to a norm of 1; one sequence in an update. The chats are made here, of words drawn with a seed.
torch has random weights in the shapes of the model, as its authors publish it, and random tokens:
as many as sorft says that its chats have, of which as many are learnt. Two kinds of chats:
`answer`, a long prompt and about 70 learnt tokens, for which torch is asked for the logits of
these alone (`logits_to_keep`, its best; by default it computes all of them, as with `all`), and
`all`, nearly every token learnt.

The programs take turns. A run is one update that is not counted and then `--steps`; a figure is
the mean of a run's steps, and the best of the `--repeat` runs. Memory is the highest resident size
of the whole process, as `/usr/bin/time -v` tells it: weights, libraries and loading count. How much
of it the libraries of torch are stands above the table.
`bf16` has the base in 16 bits and the adapter in 32, as PEFT does it; `bf16, adapter too` has all
in 16. Ratios are the figure of sorft with the same precision over that of the row: above 1, sorft
is faster; below 1, it needs less memory. Rows with gradient checkpointing are compared with
sorft's `--recompute`.

The result is Markdown on stdout.
"""

import argparse
import functools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

SITES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA, RATE = 16, 32, 2e-4
# The learnt tokens of an `answer`, and about what a chat template adds to a chat.
N_ANSWER, N_TEMPLATE = 70, 19
# Each is one token of the models' vocabularies, behind a space.
WORDS = """file line name value list test error code type class path data time number string
return model state index order field event group level table query count point place""".split()
COMMON = {"tie_word_embeddings": True, "use_cache": False}
SHAPES = {
    "smollm2-135m": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49152, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}, **COMMON,
    },
    "qwen2.5-coder-0.5b": {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "vocab_size": 151936, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, **COMMON,
    },
}
DTYPES = ["f32", "bf16", "bf16, adapter too"]
LOSSES = ["answer", "all"]


def run(command, threads):
    """Runs a command on as many cores; gives its stdout, and its peak memory in bytes.

    The stdout is None where the system ended it, as it does for want of memory.
    """
    def hold():
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])

    command = [str(part) for part in command]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors, preexec_fn=hold,
                                 env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        said = out.read().decode()
        if child.returncode == -signal.SIGKILL:
            return None, 0
        if child.returncode != 0:
            sys.exit(f"{' '.join(command)} failed ({child.returncode}):\n{said}\n"
                     f"{errors.read().decode(errors='replace')}")
    unit = 1 if sys.platform == "darwin" else 1024
    return said, usage.ru_maxrss * unit


def write_chats(path, loss, n_tokens, n_chats):
    """Chats as `sorft train sample` keeps them."""
    draw = random.Random(7)
    text = lambda n: " ".join(draw.choices(WORDS, k=max(n, 1)))
    n_answer = min(N_ANSWER, n_tokens // 2)
    n_answer = n_answer if loss == "answer" else n_tokens - N_TEMPLATE
    with open(path, "w", encoding="utf-8") as file:
        for idx in range(n_chats):
            messages = [
                {"role": "system", "content": "You read code."},
                {"role": "user", "content": text(n_tokens - N_TEMPLATE - n_answer)},
                {"role": "assistant", "content": text(n_answer)},
            ]
            row = {"version": 1, "instance_id": f"generated__words-{idx}", "stage": "file",
                   "sample": 0, "repo": "generated/words", "split": "train", "teacher": "template",
                   "score": {"hits": 1, "answered": 1, "expected": 1}, "reward": 1.0,
                   "messages": messages}
            file.write(json.dumps(row) + "\n")


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def sorft_figures(arguments, name, loss, precision, recompute):
    """Tokens per second, peak memory, tokens of a sequence, and how many of these are learnt."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        n_updates = arguments.steps + 1
        write_chats(folder / "chats.jsonl", loss, arguments.tokens, n_updates)
        command = [arguments.sorft, "--quiet", "train", "sft", folder / "chats.jsonl",
                   "--model", name, "--out", folder / "tuned", "--max-steps", n_updates,
                   "--batch", 1, "--held-out", 0, "--rank", RANK, "--alpha", ALPHA,
                   "--rate", RATE, "--save-every", 10 * n_updates, "--precision", precision,
                   "--format", "json"]
        said, memory = run(command + (["--recompute"] if recompute else []), arguments.threads)
        if said is None:
            return None
        timings = read_lines(folder / "tuned" / "timings.jsonl")
        metrics = read_lines(folder / "tuned" / "metrics.jsonl")
    counted = timings[1:]
    learnt = [row["learnt_tokens"] for row in metrics if row.get("loss") is not None]
    if len(counted) != arguments.steps or len({row["tokens"] for row in timings}) != 1:
        sys.exit(f"other updates than were asked for: {timings}")
    speed = sum(row["tokens"] for row in counted) / sum(row["seconds"] for row in counted)
    return speed, memory, timings[0]["tokens"], learnt[0]


def torch_figures(arguments, name, dtype, recompute, n_tokens, n_learnt):
    """Tokens per second and peak memory."""
    asked = {"model": name, "dtype": dtype, "recompute": recompute, "tokens": n_tokens,
             "learnt": n_learnt, "steps": arguments.steps, "threads": arguments.threads}
    command = [arguments.python, pathlib.Path(__file__).resolve(), "--in-torch", json.dumps(asked)]
    said, memory = run(command, arguments.threads)
    if said is None:
        return None
    seconds = json.loads(said.splitlines()[-1])["seconds"]
    return n_tokens * len(seconds) / sum(seconds), memory


def in_torch(asked):
    """Trains in this process, and prints the seconds of each update but the first."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.set_num_threads(asked["threads"])
    torch.manual_seed(7)
    config = AutoConfig.for_model(**SHAPES[asked["model"]])
    dtype = torch.float32 if asked["dtype"] == "f32" else torch.bfloat16
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=SITES,
                      task_type="CAUSAL_LM")
    model = get_peft_model(model, lora, autocast_adapter_dtype=asked["dtype"] == "bf16")
    if asked["recompute"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    n_sites = sum("lora_A" in name for name, _ in model.named_parameters())
    assert n_sites == len(SITES) * config.num_hidden_layers, n_sites
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    seconds = []
    for _ in range(asked["steps"] + 1):
        ids = torch.randint(0, config.vocab_size, (1, asked["tokens"]))
        begin = time.perf_counter()
        # The token before the first learnt one gives the first logits that count.
        kept = asked["learnt"] + 1
        logits = model(input_ids=ids, logits_to_keep=kept).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[0, 1 - kept:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
        assert torch.isfinite(loss), loss
    print(json.dumps({"seconds": seconds[1:]}))


def best_of(figures, more):
    """The higher speed, and the memory of that run."""
    if figures is None or more is None:
        return figures or more
    return max(figures, more)


def precision_beside(dtype):
    """What sorft's projections are kept in beside a run of torch."""
    return "f32" if dtype == "f32" else "bf16"


def label(way):
    precision, recompute = way
    return f"{precision}{', `--recompute`' if recompute else ''}"


def compare(arguments, name, loss):
    """Prints the rows of a model and a kind of chats."""
    cases = [(dtype, recompute) for dtype in arguments.dtype for recompute in [False, True]]
    own, peers, size = {}, {}, None
    for repeat in range(arguments.repeat):
        for dtype, recompute in cases:
            note = lambda what: print(f"{name}, {loss}, run {repeat + 1}: {what}",
                                      file=sys.stderr, flush=True)
            # Each way of sorft once a round, just before its first peer.
            way = precision_beside(dtype), recompute
            if len(own.setdefault(way, [])) <= repeat:
                note(f"sorft {label(way)}")
                figures = sorft_figures(arguments, name, loss, *way)
                if figures is not None:
                    *figures, n_tokens, n_learnt = figures
                    size = n_tokens, n_learnt
                own[way].append(figures and tuple(figures))
                if size is None:
                    sys.exit(f"sorft has not enough memory for {name}")
            note(f"PEFT {dtype}{', checkpointing' if recompute else ''}")
            figures = torch_figures(arguments, name, dtype, recompute, *size)
            peers[dtype, recompute] = best_of(peers.get((dtype, recompute)), figures)
    cells = lambda figures: (f"{figures[0]:,.0f} | {figures[1] / 1e9:.2f}" if figures
                             else "no memory | ")
    what = f"{name} | {size[1]:,} of {size[0]:,}"
    own = {way: functools.reduce(best_of, runs) for way, runs in own.items()}
    for way, figures in own.items():
        print(f"| {what} | sorft {label(way)} | {cells(figures)} | | |")
    for (dtype, recompute), figures in peers.items():
        mine = own[precision_beside(dtype), recompute]
        of_peer = f"PEFT {dtype}{', gradient checkpointing' if recompute else ''}"
        ratios = " | "
        if figures and mine:
            ratios = " | ".join(f"{ours / theirs:.2f}" for ours, theirs in zip(mine, figures))
        print(f"| {what} | {of_peer} | {cells(figures)} | {ratios} |", flush=True)


def main():
    if sys.argv[1:2] == ["--in-torch"]:
        in_torch(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", choices=SHAPES)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--sorft", default="target/release/sorft")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=1024, help="of a chat, about")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default: each")
    parser.add_argument("--loss", action="append", choices=LOSSES, help="default: each")
    arguments = parser.parse_args()
    if arguments.tokens < 2 * N_TEMPLATE or min(arguments.repeat, arguments.steps) < 1:
        parser.error(f"at least {2 * N_TEMPLATE} tokens, and one step and repeat")
    arguments.dtype = arguments.dtype or DTYPES
    versions = ("import torch, transformers, peft; print('torch', torch.__version__ +"
                " ', transformers', transformers.__version__ + ', PEFT', peft.__version__)")
    said, memory = run([arguments.python, "-c", versions], arguments.threads)
    own, _ = run([arguments.sorft, "--version"], arguments.threads)
    print(f"{own.strip()}; {said.strip()} ({memory / 1e9:.2f} GB once imported); "
          f"{arguments.threads} threads, mean of {arguments.steps} steps, best of "
          f"{arguments.repeat} runs\n")
    print("| model | learnt tokens | program | tokens/s | GB | sorft's speed | sorft's memory |")
    print("|---|---|---|---:|---:|---:|---:|", flush=True)
    for name in arguments.models:
        said, _ = run([arguments.sorft, "model", "info", name, "--format", "json"],
                      arguments.threads)
        info = json.loads(said)
        if info["path"] is None:
            sys.exit(f"{name} is not here: `sorft model pull {name}` gets it")
        assert info["file"]["layers"] == SHAPES[name]["num_hidden_layers"], info
        for loss in arguments.loss or LOSSES:
            compare(arguments, name, loss)


if __name__ == "__main__":
    main()
