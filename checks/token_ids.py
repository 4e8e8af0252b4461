"""Writes the token ids that tests/real/tokenizer.rs expects, by transformers.

    python checks/token_ids.py MODEL.gguf... > tests/real/token_ids.json

Needs transformers, tokenizers, gguf and torch (a CPU build will do). Transformers reads the GGUF
vocabulary; the splitting into words is set to what the official tokenizer.json of each family
has, because transformers' own conversion from GGUF leaves SmolLM's single digits out.
"""

import json
import os
import sys

from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import AutoTokenizer

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
OFFICIAL = {
    "smollm": (
        None,
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        ),
    ),
    "qwen2": (
        normalizers.NFC(),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
    ),
}

TEXTS = {
    "python": 'def mean(values):\n    """The mean."""\n    total = sum(values)\n'
    "    return total / len(values)  # fails on []\n\n\nclass A(B):\n\tpass\n",
    "rust": "impl<T: Ord> Heap<T> {\n    pub fn peek(&self) -> Option<&T> {\n"
    "        self.items.first()\n    }\n}\n",
    "digits": "1234567890 3.14159 0xFF 1_000_000 v2.10.3 line 42, 007\n٣٤٥ ½ ²",
    "tabs": "\tx\t\ty\n\t\t\tz = 1;\r\n\t# end\t",
    "spaces": "a  b   c    d\n\n\n\n    e \n \n  f",
    "decomposed": "re\u0301sume\u0301 nai\u0308ve A\u030angstro\u0308m",
    "composed": "r\u00e9sum\u00e9 na\u00efve \u00c5ngstr\u00f6m",
    "scripts": "日本語のテキスト, русский, العربية, हिन्दी, 🙂👩‍💻",
    "contractions": "I'm you're HE'LL don't it's 'tis",
    "diff": "<<<<<<< SEARCH\n    return a\n=======\n    return a or b\n>>>>>>> REPLACE\n",
    "traceback": 'Traceback (most recent call last):\n  File "/x/y.py", line 3, in f\n'
    "    raise ValueError(f\"{x!r}\")\nValueError: 'a'\n",
    "url": "https://example.org/a/b?c=d&e=%20#frag",
    "empty": "",
}

CHATS = {
    "user": [{"role": "user", "content": "Hello\n"}],
    "system": [
        {"role": "system", "content": "You fix bugs."},
        {"role": "user", "content": "\n\n  Line one\n\tLine 2\n\n"},
    ],
    "turns": [
        {"role": "system", "content": ""},
        {"role": "user", "content": "{{ messages }} 1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "résumé 42"},
    ],
}


def main():
    models = {}
    for path in sys.argv[1:]:
        folder, name = os.path.split(os.path.abspath(path))
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        family = "smollm" if "smol" in name.lower() else "qwen2"
        backend = tokenizer.backend_tokenizer
        backend.normalizer, backend.pre_tokenizer = OFFICIAL[family]
        models[family] = {
            "texts": {
                key: {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}
                for key, text in TEXTS.items()
            },
            "chats": {
                key: {
                    "messages": messages,
                    "ids": tokenizer.encode(
                        tokenizer.apply_chat_template(
                            messages, tokenize=False, add_generation_prompt=True
                        ),
                        add_special_tokens=False,
                    ),
                }
                for key, messages in CHATS.items()
            },
        }
    for family, model in models.items():
        print(family, len(model["texts"]), "texts", file=sys.stderr)
    json.dump(models, sys.stdout, ensure_ascii=True, separators=(",", ":"))
    print()


main()
