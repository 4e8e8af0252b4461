"""Compares the local engine's logits with other engines', on this repository's sources of one day.

    python checks/logits.py JUDGE MODEL.gguf [llama] [f32]

`llama`: the next tokens of 20 greedy continuations against llama.cpp with the same file (needs
llama-cpp-python). `f32`: the same against transformers with the file's weights as 32-bit floats,
and the perplexity of 20,000 tokens (needs torch, transformers and gguf). Fails where a
continuation first differs though the reference's two best logits are further apart than 0.3, or
where the perplexity is more than 1 % off. With both, llama.cpp's own continuations are compared
with the floats too, and told: how far a peer is that rounds activations alike.
"""

import json
import math
import os
import pathlib
import subprocess
import sys

TEXTS = "b4a48bcc2945d8c350f65ac3c8a80ad6fb2223ad"
N_PROMPTS, N_PROMPT, N_TOKENS = 20, 192, 32
N_SCORED, WINDOW = 20_000, 1_000
MAX_GAP, MAX_PERPLEXITY = 0.3, 0.01


def ask(judge, model, questions):
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([judge, model], input=lines, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{judge} failed: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def git(*arguments):
    root = pathlib.Path(__file__).resolve().parent.parent
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"wanted this repository with its history: {done.stderr.decode()}")
    return done.stdout.decode()


def sources():
    """The same texts whenever it runs: where engines part depends on them."""
    names = git("ls-tree", "-r", "--name-only", TEXTS, "src").splitlines()
    paths = sorted(pathlib.PurePosixPath(name) for name in names)
    return [git("show", f"{TEXTS}:{path}") for path in paths if path.suffix == ".rs"]


def llama_greedy(llama, ids):
    tokens = []
    llama.reset()
    llama.eval(ids)
    while len(tokens) < N_TOKENS:
        tokens.append(int(llama.scores[llama.n_tokens - 1].argmax()))
        llama.eval(tokens[-1:])
    return {"ids": ids, "tokens": tokens}


def compare(name, greedy, logits_of):
    """`logits_of(ids)`: for each id the reference's logits after it."""
    gaps, n_equal = [], 0
    for answer in greedy:
        ids, tokens = answer["ids"], answer["tokens"]
        logits = logits_of(ids + tokens[:-1])
        for step, token in enumerate(tokens):
            row = logits[len(ids) - 1 + step]
            best = max(range(len(row)), key=row.__getitem__)
            if best != token:
                gaps.append((float(row[best] - row[token]), step))
                break
        else:
            n_equal += 1
    gaps.sort()
    told = ", ".join(f"{gap:.3f} (token {step})" for gap, step in gaps) or "none"
    print(f"{name}: {n_equal} of {len(greedy)} continuations of {N_TOKENS} tokens equal; "
          f"gap of the reference's two logits where the others first differ: {told}", flush=True)
    return all(gap <= MAX_GAP for gap, _ in gaps)


def main():
    judge, model, *kinds = sys.argv[1:]
    name = os.path.basename(model)
    texts = sources()
    prompts = [answer["ids"][:N_PROMPT] for answer in
               ask(judge, model, [{"text": text} for text in texts[:: len(texts) // N_PROMPTS]])]
    prompts = [ids for ids in prompts if len(ids) == N_PROMPT][:N_PROMPTS]
    greedy = ask(judge, model, [{"ids": ids, "greedy": N_TOKENS} for ids in prompts])
    good = True
    if "llama" in kinds:
        from llama_cpp import Llama

        llama = Llama(model, n_ctx=512, n_batch=512, logits_all=True, verbose=False)

        def llama_logits(ids):
            llama.reset()
            llama.eval(ids)
            return llama.scores[: len(ids)]

        good &= compare(f"{name}, llama.cpp", greedy, llama_logits)
    if "f32" in kinds:
        import torch
        from transformers import AutoModelForCausalLM

        folder, file = os.path.split(os.path.abspath(model))
        network = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.float32
        ).eval()

        def f32_logits(ids):
            with torch.no_grad():
                return network(torch.tensor([ids])).logits[0].numpy()

        good &= compare(f"{name}, f32", greedy, f32_logits)
        if "llama" in kinds:
            peer = [llama_greedy(llama, answer["ids"]) for answer in greedy]
            compare(f"{name}, llama.cpp's with f32", peer, f32_logits)
        [whole] = ask(judge, model, [{"text": "\n".join(texts)}])
        ids = whole["ids"][:N_SCORED]
        windows = [ids[at : at + WINDOW] for at in range(0, len(ids), WINDOW)]
        own = ask(judge, model, [{"ids": window, "score": True} for window in windows])
        own = -sum(sum(answer["logprobs"]) for answer in own)
        exact, n_scored = 0.0, 0
        for window in windows:
            with torch.no_grad():
                rows = torch.log_softmax(network(torch.tensor([window])).logits[0].double(), -1)
            exact -= sum(float(rows[i, id]) for i, id in enumerate(window[1:]))
            n_scored += len(window) - 1
        own, exact = math.exp(own / n_scored), math.exp(exact / n_scored)
        print(f"{name}: perplexity of {n_scored:,} tokens {own:.4f}, as f32 {exact:.4f} "
              f"({own / exact - 1:+.2%})", flush=True)
        good &= abs(own / exact - 1) <= MAX_PERPLEXITY
    sys.exit(0 if good else f"{name}: further from the reference than allowed")


if __name__ == "__main__":
    main()
