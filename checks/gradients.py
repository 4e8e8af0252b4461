"""Compares gradients of the trainer with those of transformers and PEFT.

    python checks/gradients.py target/release/examples/gradients fixtures/models

For each tiny model: the loss and the gradient of every weight, then the same for a LoRA adapter
on all seven projections whose two halves are random. The trainer packs three sequences into one
step; transformers runs them one by one, in 64 bits. The error of a tensor is that of its largest
number, relative to the tensor's largest number.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

LIMIT = 1e-3
SITES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def sequences():
    """Token ids and the first learnt one; the first sequence is longer than a block of rows."""
    generator = torch.Generator().manual_seed(7)
    lengths = [(150, 40), (33, 1), (70, 69)]
    return [
        (torch.randint(0, 64, (length,), generator=generator).tolist(), first)
        for length, first in lengths
    ]


def their_loss(model, data):
    n_learnt = sum(len(ids) - first for ids, first in data)
    loss = 0
    for ids, first in data:
        logits = model(input_ids=torch.tensor([ids])).logits[0]
        learnt = torch.tensor(ids[first:])
        part = torch.nn.functional.cross_entropy(
            logits[first - 1 : -1], learnt, reduction="sum"
        )
        loss = loss + part / n_learnt
    loss.backward()
    return loss.item()


def our_loss(program, model, adapter, data, out):
    lines = "".join(json.dumps({"ids": ids, "first": first}) + "\n" for ids, first in data)
    command = [program, str(model), str(adapter), str(out)]
    done = subprocess.run(command, input=lines, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return float(done.stdout)


def compare(what, theirs, our_file, losses):
    ours = load_file(our_file)
    if set(ours) != set(theirs):
        sys.exit(f"{what}: tensors of one side alone: {sorted(set(ours) ^ set(theirs))}")
    worst, worst_name = 0.0, ""
    for name, gradient in theirs.items():
        largest = gradient.abs().max().item()
        if largest == 0 or ours[name].abs().max().item() == 0:
            sys.exit(f"{what}: {name} has no gradient")
        error = (ours[name].double() - gradient.flatten().double()).abs().max().item() / largest
        if worst <= error:
            worst, worst_name = error, name
    loss_error = abs(losses[0] - losses[1]) / losses[1]
    print(f"{what}: {len(theirs)} tensors, loss {losses[0]:.6f} (error {loss_error:.1e}), "
          f"largest error of a gradient {worst:.1e} ({worst_name})")
    return worst < LIMIT and loss_error < LIMIT


def main():
    program, models = sys.argv[1], pathlib.Path(sys.argv[2])
    data, good = sequences(), True
    for family in ["llama", "qwen2", "qwen3"]:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            load = lambda: AutoModelForCausalLM.from_pretrained(
                models / family, dtype=torch.float64, attn_implementation="eager"
            )
            model = load()
            theirs = their_loss(model, data)
            gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            ours = our_loss(program, models / family, "-", data, folder / "full.safetensors")
            good &= compare(f"{family}, all weights", gradients, folder / "full.safetensors",
                            (ours, theirs))

            config = LoraConfig(r=4, lora_alpha=8, target_modules=SITES, task_type="CAUSAL_LM")
            model = get_peft_model(load(), config)
            torch.manual_seed(11)
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.data = (torch.randn_like(parameter) * 0.2).float().double()
            model.save_pretrained(folder / "adapter")
            file = folder / "adapter" / "adapter_model.safetensors"
            save_file({name: tensor.float() for name, tensor in load_file(file).items()}, file)
            theirs = their_loss(model, data)
            gradients = {
                name.replace(".default", ""): parameter.grad
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
            assert all("lora_" in name for name in gradients), "PEFT freezes the rest"
            ours = our_loss(program, models / family, folder / "adapter", data,
                            folder / "lora.safetensors")
            good &= compare(f"{family}, adapter", gradients, folder / "lora.safetensors",
                            (ours, theirs))
    sys.exit(0 if good else f"an error is above {LIMIT}")


main()
