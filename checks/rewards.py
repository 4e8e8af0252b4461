"""Holds what other trainers obtain from `sorft reward serve` to what `sorft reward score` prints.

    python checks/rewards.py SORFT EPISODES CHATS ADAPTER MODEL

Every trainer's own code reads the export and asks for the rewards: OpenRLHF's PromptDataset and
SingleTurnAgentExecutor (by URL and by the exported function), verl's RLHFDataset and its reward
managers `naive` and `batch`, TRL's SFTTrainer and GRPOTrainer. Only the engine that would generate
is replaced: by one that gives the completions of this script.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

N_PER_STAGE = 20


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(*command):
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def id_of(row):
    return f"{row['instance_id']}/{row['stage']}"


def completions_of(rows):
    """Of each episode: the truth, another episode's, both, an invented path, none, one cut off."""
    found = []
    for row, other in zip(rows, rows[1:] + rows[:1]):
        own, theirs = row["answer"], other["answer"]
        joined = own.removesuffix("```") + theirs.removeprefix("```\n")
        for text in [own, theirs, joined, "```\nno/such.py\n```", "I do not know."]:
            found.append({"id": id_of(row), "completion": text, "ended": True})
        found.append({"id": id_of(row), "completion": own, "ended": False})
    return found


@contextlib.contextmanager
def serving(sorft, episodes):
    server = subprocess.Popen(
        [sorft, "reward", "serve", str(episodes), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def same(what, found, wanted, tolerance=0.0):
    wrong = sum(abs(a - b) > tolerance for a, b in zip(found, wanted, strict=True))
    print(f"{what}: {len(wanted)} rewards, {wrong} differ, "
          f"{sum(0 < reward for reward in wanted)} above 0", flush=True)
    return wrong == 0


def of_openrlhf(folder, url, tokenizer, asked, wanted):
    from datasets import load_dataset
    from openrlhf.datasets.prompts_dataset import PromptDataset
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    data = load_dataset("json", data_files=str(folder / "train.jsonl"), split="train")
    options = SimpleNamespace(input_key="input", label_key="label", apply_chat_template=True)
    strategy = SimpleNamespace(args=SimpleNamespace(data=options), is_rank_0=lambda: False)
    dataset = PromptDataset(data, tokenizer, strategy)
    prompts = {label: prompt for _, prompt, label, _ in (dataset[i] for i in range(len(dataset)))}

    class Engine:
        def __init__(self, row):
            self.ids = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
            self.ended = row["ended"]

        async def generate(self, prompt_ids, params, multi_modal_data=None):
            ids = self.ids + [tokenizer.eos_token_id] * self.ended
            finish = "stop" if self.ended else "length"
            output = SimpleNamespace(token_ids=ids, finish_reason=finish, logprobs=None)
            return SimpleNamespace(outputs=[output])

    async def rewards(target):
        executor = SingleTurnAgentExecutor(target)
        params = SimpleNamespace(max_tokens=4096, logprobs=None)
        found = []
        for row in asked:
            output = await executor.execute(
                prompts[row["id"]], row["id"], params, 100_000, tokenizer, Engine(row)
            )
            if output["extra_logs"]["ended"] != [float(row["ended"])]:
                sys.exit(f"{row['id']}: how it ended is not seen: {output['extra_logs']}")
            found.append(output["reward"][0])
        return found

    good = same("OpenRLHF, by URL", asyncio.run(rewards(f"{url}/get_reward")), wanted)
    found = asyncio.run(rewards(str(folder / "reward.py")))
    return good & same("OpenRLHF, by function", found, wanted)


def of_verl(folder, tokenizer, asked, wanted):
    import numpy
    from omegaconf import OmegaConf
    from tensordict import TensorDict
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset

    config = OmegaConf.create({"max_prompt_length": 100_000, "filter_overlong_prompts_workers": 1,
                               "cache_dir": str(folder / "cache")})
    dataset = RLHFDataset(str(folder / "train.parquet"), tokenizer, config)
    rows = [dataset[idx] for idx in range(len(dataset))]
    by_id = {row["reward_model"]["ground_truth"]: row for row in rows}
    prompts, responses = [], []
    for row in asked:
        raw = by_id[row["id"]]["raw_prompt"]
        prompts.append(tokenizer.apply_chat_template(raw, add_generation_prompt=True)[-8:])
        ids = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        responses.append(ids + [tokenizer.eos_token_id] * row["ended"])
    width = max(map(len, responses))
    mask = [[1] * 8 + [1] * len(ids) + [0] * (width - len(ids)) for ids in responses]
    padded = [ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids in responses]
    batch = TensorDict(
        {"prompts": torch.tensor(prompts), "responses": torch.tensor(padded),
         "attention_mask": torch.tensor(mask)},
        batch_size=len(asked),
    )
    column = lambda key: numpy.array([dict(by_id[r["id"]])[key] for r in asked] + [None], object)[:-1]
    others = {
        "data_source": column("data_source"),
        "reward_model": column("reward_model"),
        "extra_info": numpy.array([dict(by_id[r["id"]]["extra_info"]) for r in asked] + [None],
                                  object)[:-1],
    }
    good = True
    for manager, function in [("naive", "compute_score"), ("batch", "compute_score_batched")]:
        config = OmegaConf.create({
            "custom_reward_function": {"path": str(folder / "reward.py"), "name": function},
            "reward_manager": {"source": "register", "name": manager},
            "data": {"reward_fn_key": "data_source"},
            "reward_model": {},
        })
        reward_fn = load_reward_manager(config, tokenizer, num_examine=0)
        found = reward_fn(DataProto(batch=batch.clone(), non_tensor_batch=dict(others)))
        good &= same(f"verl, reward manager {manager}", found.sum(-1).tolist(), wanted, 1e-6)
    return good


def of_trl(chats, episodes, tokenizer, asked, wanted):
    from datasets import load_dataset
    from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

    def tiny():
        return LlamaForCausalLM(LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=1, max_position_embeddings=64,
        ))

    data = load_dataset("json", data_files=str(chats / "train.jsonl"), split="train")
    options = {"output_dir": str(chats / "out"), "report_to": "none", "use_cpu": True, "bf16": False}
    trainer = SFTTrainer(tiny(), SFTConfig(max_length=None, **options), train_dataset=data,
                         processing_class=tokenizer)
    wrong = 0
    for example, chat in zip(trainer.train_dataset, data, strict=True):
        learnt = [id for id, is_learnt in zip(example["input_ids"], example["completion_mask"])
                  if is_learnt]
        text = tokenizer.decode(learnt)
        answer = chat["completion"][0]["content"].strip() + tokenizer.eos_token
        wrong += text.strip().replace("\n" + tokenizer.eos_token, tokenizer.eos_token) != answer
    print(f"TRL: SFTTrainer learns the completion alone in {len(data) - wrong} of {len(data)} chats")

    sys.path.insert(0, str(episodes))
    import reward

    data = load_dataset("json", data_files=str(episodes / "train.jsonl"), split="train")
    by_id = {row["episode"]: row for row in data}
    config = GRPOConfig(per_device_train_batch_size=2, num_generations=2, **options)
    trainer = GRPOTrainer(tiny(), reward_funcs=reward.reward, args=config, train_dataset=data,
                          processing_class=tokenizer)
    inputs = [by_id[row["id"]] for row in asked]
    answers = [[{"role": "assistant", "content": row["completion"]}] for row in asked]
    ids = [tokenizer(row["completion"])["input_ids"] for row in asked]
    found = trainer._calculate_rewards(inputs, [row["prompt"] for row in inputs], answers, ids)
    good = same("TRL, GRPOTrainer", found[:, 0].tolist(), wanted, 1e-6)
    return good and wrong == 0


def main():
    sorft, episodes, chats, adapter, model = sys.argv[1:]
    of_stage, good = {}, True
    for row in read(episodes):
        if row.get("answer") and row.get("split") != "holdout":
            of_stage.setdefault(row["stage"], []).append(row)
    rows = [row for stage in of_stage.values() for row in stage[:N_PER_STAGE]]
    asked = [question for stage in of_stage.values()
             for question in completions_of(stage[:N_PER_STAGE])]
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        write(home / "episodes.jsonl", rows)
        write(home / "chats.jsonl", read(chats)[:200])

        def score(name, questions):
            write(home / name, questions)
            command = [sorft, "reward", "score", home / "episodes.jsonl", home / name]
            return [row["reward"] for row in json.loads(run(*command, "--format", "json"))["rows"]]

        wanted = score("asked.jsonl", asked)
        # verl and TRL hand over texts without control tokens: how a completion ended is not seen.
        as_ended = score("ended.jsonl", [row | {"ended": True} for row in asked])
        for trainer in ["trl", "verl", "openrlhf"]:
            run(sorft, "train", "export", home / "episodes.jsonl", "--format", trainer,
                "--out", home / trainer)
        run(sorft, "train", "export", home / "chats.jsonl", "--format", "trl", "--out",
            home / "chats")
        run(sorft, "train", "merge", adapter, "--model", model, "--out", home / "merged")
        tokenizer = AutoTokenizer.from_pretrained(home / "merged")
        with serving(sorft, home / "episodes.jsonl") as url:
            # The exported functions read the address when they are loaded.
            os.environ["REWARD_SERVER_URL"] = url
            good &= of_openrlhf(home / "openrlhf", url, tokenizer, asked, wanted)
            good &= of_verl(home / "verl", tokenizer, asked, as_ended)
            good &= of_trl(home / "chats", home / "trl", tokenizer, asked, as_ended)
    sys.exit(0 if good else "rewards differ")


main()
