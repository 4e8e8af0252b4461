"""Holds an adapter that was trained here, and its merged models, against other programs.

    python checks/adapter.py target/release ADAPTER MODEL MODEL.gguf

The reference is PEFT on transformers, in 32-bit floats, with the base as transformers itself
reads the GGUF file. Against it: the trainer's losses; the merged folder's logits in transformers,
exact (f32) and as it is written by default (bf16); the merged GGUF files in llama.cpp, by logits
and by what greedy decoding chooses. The texts are the repository's own sources.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

N_TEXTS, N_TOKENS = 8, 192
CHAT = [
    {"role": "system", "content": "You find files."},
    {"role": "user", "content": "Where is `x`?\n\n```\n  a.py\tü 1234\n```"},
]


def run(command, given=""):
    done = subprocess.run(
        [str(part) for part in command], input=given, text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def compare(what, ours, theirs, max_error, max_divergence):
    """Logits of all texts: the largest error, the divergence, and the best tokens."""
    worst, divergence, n_equal, n, far = 0.0, 0.0, 0, 0, 0.0
    for a, b in zip(ours, theirs):
        a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
        worst = max(worst, (a - b).abs().max().item())
        la, lb = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
        divergence += (lb.exp() * (lb - la)).sum().item()
        best = a.argmax(-1)
        gaps = b.max(-1).values - b.gather(-1, best[:, None])[:, 0]
        n_equal += int((gaps == 0).sum())
        far = max(far, gaps.max().item())
        n += len(a)
    divergence /= n
    print(f"{what}: logits at most {worst:.2g} off, divergence {divergence:.2g} nats a token, "
          f"the same best token at {n_equal} of {n} positions (elsewhere the reference's gap is at "
          f"most {far:.2g})", flush=True)
    return worst <= max_error and divergence <= max_divergence


def main():
    programs, adapter, name, gguf = pathlib.Path(sys.argv[1]), *sys.argv[2:]
    sorft = programs / "sorft"
    root = pathlib.Path(__file__).resolve().parent.parent
    sources = [path.read_text(encoding="utf-8") for path in sorted(root.glob("src/**/*.rs"))]
    # `<|im_start|>` in a text is text to us, as nobody's file may speak as the system, and a token of
    # its own to transformers.
    sources = [text for text in sources if 4000 < len(text) and "<|" not in text]
    texts = sources[:: len(sources) // N_TEXTS][:N_TEXTS]
    asked = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    answers = run([programs / "examples/judge", gguf], asked).splitlines()
    whole = [json.loads(answer)["ids"] for answer in answers]
    ids = [ids[:N_TOKENS] for ids in whole]
    good = True

    folder, file = os.path.split(os.path.abspath(gguf))
    base = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    reference = PeftModel.from_pretrained(base, adapter)
    asked = pathlib.Path(adapter, "sorft.json")
    parts = json.loads(asked.read_text()).get("parts", []) if asked.exists() else []
    for part in parts:
        reference.load_adapter(pathlib.Path(adapter, part), part)
    # What several adapters add is added up.
    reference.base_model.set_adapter(["default", *parts])
    reference.eval()

    def logits_of(network):
        with torch.no_grad():
            return [network(input_ids=torch.tensor([ids])).logits[0].float() for ids in ids]

    theirs = logits_of(reference)
    with reference.disable_adapter():
        bare = logits_of(reference)
    changes = [(a - b).abs().max().item() for a, b in zip(theirs, bare)]
    print(f"the adapter changes logits by up to {max(changes):.3g}", flush=True)
    good &= 1 < max(changes)

    with tempfile.TemporaryDirectory() as out:
        out = pathlib.Path(out)
        worst = 0.0
        for ids_of_text, rows in zip(ids, theirs):
            line = json.dumps({"ids": ids_of_text, "first": 1}) + "\n"
            command = [programs / "examples/gradients", gguf, adapter, out / "gradients"]
            ours = float(run(command, line))
            wanted = torch.nn.functional.cross_entropy(rows[:-1], torch.tensor(ids_of_text[1:]))
            worst = max(worst, abs(ours / wanted.item() - 1))
        print(f"the trainer's losses of {len(ids)} texts: at most {worst:.1e} off PEFT's")
        good &= worst < 1e-4

        def merge(name_of_out, *more):
            run([sorft, "-q", "train", "merge", adapter, "--model", name,
                 "--out", out / name_of_out, *more])
            return out / name_of_out

        exact = merge("f32", "--precision", "f32")
        network = AutoModelForCausalLM.from_pretrained(exact, dtype=torch.float32).eval()
        good &= compare("merged folder, f32", logits_of(network), theirs, 1e-2, 1e-7)
        usual = merge("usual")
        network = AutoModelForCausalLM.from_pretrained(usual)
        if network.dtype != torch.bfloat16:
            sys.exit(f"the merged folder loads as {network.dtype}")
        # The weights have 16 bits; the arithmetic around them is exact.
        good &= compare("merged folder, bf16", logits_of(network.float().eval()), theirs, 2, 1e-2)

        tokenizer = AutoTokenizer.from_pretrained(usual)
        wrong = sum(tokenizer(text)["input_ids"] != ids for text, ids in zip(texts, whole))
        wrong += sum(tokenizer.decode(ids) != text for text, ids in zip(texts, whole))
        original = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        chat = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
        theirs_chat = original.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
        wrong += chat != theirs_chat
        special = {token: tokenizer.convert_tokens_to_ids(token) for token in ["<|im_start|>", "<|im_end|>"]}
        wrong += any(id not in tokenizer(chat)["input_ids"] for id in special.values())
        print(f"merged folder's tokenizer: {len(texts)} texts there and back, and a chat: "
              f"{wrong} differ from ours")
        good &= wrong == 0

        from llama_cpp import Llama

        for precision, max_divergence in [("f16", 5e-3), ("q8_0", 1e-2)]:
            merged = merge(f"{precision}.gguf", "--precision", precision)
            llama = Llama(str(merged), n_ctx=512, n_batch=512, logits_all=True, verbose=False)
            logits = []
            for ids_of_text in ids:
                llama.reset()
                llama.eval(ids_of_text)
                logits.append(numpy.array(llama.scores[: len(ids_of_text)]))
            what = f"merged GGUF, {precision}, in llama.cpp"
            good &= compare(what, logits, theirs, math.inf, max_divergence)
            del llama
    sys.exit(0 if good else "further from PEFT than allowed")


if __name__ == "__main__":
    main()
