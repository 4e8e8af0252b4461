"""Writes fixtures/models: tiny models with seeded random weights, and their logits.

    python checks/tiny_models.py fixtures/models

Needs torch and transformers. The weights are stored as 16-bit floats and the logits computed in
64 bits from exactly those, so that any difference is the reader's. `rounded` are the logits with
queries, keys, values and weights rounded to bytes as src/model/kernels/attention rounds them.
"""

import json
import pathlib
import sys

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
MODELS = {
    # Rotary frequencies stretched as Llama 3.1 does.
    "llama": (
        LlamaForCausalLM,
        LlamaConfig(
            **SHAPE,
            rope_scaling={
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        ),
    ),
    # Biases, and an output matrix that is the embedding.
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, tie_word_embeddings=True)),
    # Norms of each head, and frequencies stretched by YaRN.
    "qwen3": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **SHAPE,
            rope_scaling={
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        ),
    ),
}


# Single characters; a byte-level vocabulary writes the space and the line end as these two.
CHARACTERS = "\u0120\u010aabcdefghijklmnopqrstuvwxyz0123456789_()[]{}=:.,-+*/'\"#<>|!"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_tokenizer(folder):
    control = ["<|start|>", "<|im_end|>", "<|im_start|>"]
    vocab = {text: id for id, text in enumerate([*control, *CHARACTERS])}
    assert len(vocab) <= SHAPE["vocab_size"], len(vocab)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": id,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for id, text in enumerate(control)
        ],
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "decoder": {**byte_level, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")
    config = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")


# Dimensions of a head that share a scale, and positions between two running maxima.
PART, BLOCK = 32, 64


def as_bytes(values):
    """Rounds the last dimension to whole numbers up to 127 times one scale."""
    scale = values.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
    return (values / scale).round() * scale


def parts_as_bytes(values):
    parts = values.unflatten(-1, (-1, min(PART, values.shape[-1])))
    return as_bytes(parts).flatten(-2)


def rounded_attention(module, query, key, value, mask, scaling, **_):
    """Shapes: query (1, heads, positions, dims), key and value (1, key heads, positions, dims)."""
    exact, key = key, parts_as_bytes(key)
    if module.k_proj.bias is not None:
        key = key + parts_as_bytes(exact - key)
    n_shared, n = module.num_key_value_groups, query.shape[2]
    value_scales = value.abs().amax(-1).div(127).repeat_interleave(n_shared, 1)[:, :, None]
    key, value = (x.repeat_interleave(n_shared, 1) for x in (key, as_bytes(value)))
    scores = parts_as_bytes(query) @ key.transpose(2, 3) * scaling
    scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -1e30)
    largest = torch.full_like(scores[..., :1], -1e30)
    sums, totals = torch.zeros_like(largest), torch.zeros_like(query)
    for first in range(0, n, BLOCK):
        block = slice(first, first + BLOCK)
        before, largest = largest, largest.maximum(scores[..., block].amax(-1, keepdim=True))
        weights, shrink = (scores[..., block] - largest).exp(), (before - largest).exp()
        scales = value_scales[..., block]
        sums = sums * shrink + weights.sum(-1, keepdim=True)
        totals = totals * shrink + as_bytes(weights * scales) / scales @ value[:, :, block]
    return (totals / sums).transpose(1, 2), None


def logits_of(model, ids, attention):
    model.set_attn_implementation(attention)
    rows = [0, 1, 15, 16, 33, 79]
    with torch.no_grad():
        logits = model(ids).logits[0]
    return {row: [round(x, 7) for x in logits[row].tolist()] for row in rows}


def main():
    ALL_ATTENTION_FUNCTIONS.register("rounded", rounded_attention)
    root = pathlib.Path(sys.argv[1])
    for name, (model_class, config) in MODELS.items():
        torch.manual_seed(20)
        model = model_class(config).eval()
        with torch.no_grad():
            for key, weight in model.named_parameters():
                spread = 0.3 if weight.dim() == 1 else 1.5 / weight.shape[-1] ** 0.5
                weight.copy_(torch.randn_like(weight) * spread + ("norm" in key))
        model.half().save_pretrained(root / name)
        generation = root / name / "generation_config.json"
        generation.unlink(missing_ok=True)
        write_tokenizer(root / name)
        model.double()
        # Rotary frequencies went through 16 bits with the weights.
        model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
        torch.manual_seed(21)
        ids = torch.randint(0, 64, (1, 80))
        expected = {
            "ids": ids[0].tolist(),
            "logits": logits_of(model, ids, "eager"),
            "rounded": logits_of(model, ids, "rounded"),
        }
        (root / name / "expected.json").write_text(json.dumps(expected) + "\n")


main()
