"""Rewards for verl, from a running `sorft reward serve EPISODES`.

    custom_reward_function.path=reward.py custom_reward_function.name=compute_score

or, for the reward manager `batch`, one request for a batch:

    reward_model.reward_manager=batch custom_reward_function.name=compute_score_batched
"""

# ask


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return compute_score_batched([data_source], [solution_str], [ground_truth])[0]


def compute_score_batched(data_sources, solution_strs, ground_truths, extra_infos=None, **_):
    rows = [{"id": id, "completion": text} for id, text in zip(ground_truths, solution_strs)]
    return ask("/score", {"rows": rows})["rewards"]
