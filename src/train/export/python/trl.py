"""Rewards for TRL, from a running `sorft reward serve EPISODES`.

    from reward import reward
    GRPOTrainer(..., reward_funcs=reward, train_dataset=load_dataset("json", ...))
"""

# ask


def reward(completions, episode, **_):
    """One request for a batch; completions are chats or texts."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    rows = [{"id": id, "completion": text} for id, text in zip(episode, texts)]
    return ask("/score", {"rows": rows})["rewards"]
