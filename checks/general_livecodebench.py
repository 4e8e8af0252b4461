"""LiveCodeBench: prompts, extraction and grades of ours and of its repository's code."""

import json
import os
import random
import sys
import types

import general_programs

# The reference loads its data by the package `datasets`; here it comes from a file.
sys.modules["datasets"] = types.SimpleNamespace(load_dataset=None)
# Constants for another kind of model.
sys.modules["anthropic"] = types.SimpleNamespace(HUMAN_PROMPT=None, AI_PROMPT=None)

# Seconds of one test; both are given the same, and where other programs keep the machine busy, more
# are needed for the same results.
SECONDS = int(os.environ.get("CHECK_SECONDS", "6"))
# Problems that a small model is asked to solve.
N_ASKED = int(os.environ.get("CHECK_TASKS", "20"))


def raw_answers(draw):
    """Answers with programs in them, in all kinds of fences."""
    codes = [code for codes in general_programs.PROGRAMS.values() for code in codes]
    for code in codes:
        other = draw.choice(codes)
        yield draw.choice(
            [
                f"```python\n{code}\n```",
                f"Think.\n\n```python\n{code}\n```\n\nDone.",
                f"```python\n{other}\n```\nBetter:\n```python\n{code}\n```",
                f"```\n{code}\n```\n```",
                f"  ```py\n{code}\n  ``` end",
                f"```python\n{code}",
                f"````python\n{code}\n````",
                f"```python {code} ```",
                f"```python\r\n{code}\r\n```",
                code,
                "",
            ]
        )


def check(sorft, server):
    from lcb_runner.benchmarks.code_generation import CodeGenerationProblem
    from lcb_runner.evaluation import codegen_metrics
    from lcb_runner.lm_styles import LMStyle
    from lcb_runner.prompts import format_prompt_generation
    from lcb_runner.utils.extraction_utils import extract_code

    lines = []
    data = os.environ.get("LIVECODEBENCH_DATA")
    if not data:
        data = sorft.folder / "livecodebench.jsonl"
        data.write_text("".join(json.dumps(one) + "\n" for one in general_programs.PROBLEMS))
    with open(data) as file:
        problems = [CodeGenerationProblem(**json.loads(line)) for line in file]
    problems.sort(key=lambda problem: problem.question_id)

    # Prompts, and the answers of a small model taken apart.
    answering = server("```python\nprint(1)\n```")
    arguments = ("eval", "livecodebench", data, "--test-timeout", SECONDS)
    sorft.ask(answering, "constant.jsonl", *arguments)
    wanted = {json.dumps(format_prompt_generation(one, LMStyle.OpenAIChat)) for one in problems}
    asked = {json.dumps(request["messages"]) for request in answering.asked}
    lines.append((asked == wanted, f"LiveCodeBench, prompts: {len(asked & wanted)} of {len(wanted)}"))

    # Grades of programs.
    programs = general_programs.PROGRAMS
    if os.environ.get("LIVECODEBENCH_DATA"):
        programs = {one.question_id: programs["totals"] for one in problems}
    codes = [programs[one.question_id] for one in problems]
    answers = sorft.folder / "programs.json"
    answers.write_text(
        json.dumps(
            [{"question_id": p.question_id, "code_list": c} for p, c in zip(problems, codes)]
        )
    )
    compare("scripted programs", sorft, arguments, answers, (problems, codes), codegen_metrics, lines)

    # Extraction, from scripted answers and from a small model's.
    draw = random.Random(1)
    outputs = list(raw_answers(draw))
    raw = sorft.folder / "raw.json"
    raw.write_text(json.dumps([{"question_id": problems[0].question_id, "output_list": outputs}]))
    only = ("--only", problems[0].question_id)
    rows = sorft.ask(None, "raw.jsonl", *arguments, "--answers", raw, *only)
    wanted = [extract_code(output, LMStyle.OpenAIChat) for output in outputs]
    n_equal = sum(a == b for a, b in zip(rows[0]["code_list"], wanted))
    lines.append(
        (rows[0]["code_list"] == wanted, f"LiveCodeBench, programs in answers: {n_equal} of {len(wanted)}")
    )

    rows = sorft.ask(
        None, "model.jsonl", *arguments, "--model", "smollm2-135m",
        "--samples", 4, "--temperature", 0.2, "--top-p", 0.95, "--max-tokens", 300,
        "--limit", N_ASKED,
    )  # fmt: skip
    by_id = {row["question_id"]: row for row in rows}
    answered = [one for one in problems if one.question_id in by_id]
    outputs = [by_id[one.question_id]["output_list"] for one in answered]
    codes = [[extract_code(text, LMStyle.OpenAIChat) for text in texts] for texts in outputs]
    is_equal = codes == [by_id[one.question_id]["code_list"] for one in answered]
    lines.append((is_equal, f"LiveCodeBench, programs of smollm2-135m: {sum(map(len, codes))}"))
    model = sorft.folder / "model.jsonl"
    compare("smollm2-135m", sorft, arguments, model, (answered, codes), codegen_metrics, lines)
    return lines


def compare(name, sorft, arguments, answers, asked, codegen_metrics, lines):
    """Grades a file of answers by both."""
    from lcb_runner.evaluation.pass_k_utils import compute_metrics_from_results

    problems, codes = asked
    out = sorft.folder / "graded.jsonl"
    out.unlink(missing_ok=True)
    figures = sorft.run(*arguments, "--answers", answers, "--out", out)
    by_id = {row["question_id"]: row for row in map(json.loads, out.read_text().splitlines())}
    samples = [problem.get_evaluation_sample() for problem in problems]
    # One problem at a time, since its own check is that all have as many programs as the first.
    results = {
        idx: codegen_metrics([sample], [codes[idx]], num_process_evaluate=2, timeout=SECONDS)[1][0]
        for idx, sample in enumerate(samples)
    }
    metrics = compute_metrics_from_results(results, k_list=[1, 5, 10, 20, 40, 50, 75, 100])
    n, n_equal, n_same = 0, 0, 0
    for idx, problem in enumerate(problems):
        row = by_id[problem.question_id]
        for code, theirs, ours, is_right in zip(
            codes[idx], results[idx], row["grades"], row["graded_list"]
        ):
            theirs = [int(one) for one in theirs]
            n += 1
            n_equal += is_right == all(one > 0 for one in theirs)
            n_same += ours["results"] == theirs
            if ours["results"] != theirs:
                print("differs", problem.question_id, ours, theirs, repr(code), sep="\n    ")
    overall = {f"pass@{one['k']}": one["share"]["mean"] for one in figures["difficulties"][0]["pass"]}
    theirs = {k: float(v) for k, v in metrics.items() if k.startswith("pass@")}
    is_equal = n_equal == n and n_same == n and overall.keys() == theirs.keys()
    is_equal &= all(abs(overall[k] - theirs[k]) < 1e-9 for k in overall)
    figure = ", ".join(f"{k} {100 * v:.1f} %" for k, v in list(overall.items())[:3])
    lines.append(
        (
            is_equal,
            f"LiveCodeBench, {name}: {n_equal} of {n} programs right or wrong as there,"
            f" {n_same} with the same result of each test; {figure}",
        )
    )
