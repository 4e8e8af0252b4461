"""Rewards for OpenRLHF, from a running `sorft reward serve EPISODES`.

    --reward.remote_url reward.py --data.label_key label --data.apply_chat_template

The server itself answers, too: --reward.remote_url http://127.0.0.1:8731/get_reward
"""

# ask


def reward_func(queries, prompts, labels, **_):
    question = {"query": list(queries), "prompts": list(prompts), "labels": list(labels)}
    return ask("/get_reward", question)
