"""Runs `sorft fix` at the base commits of five SWE-bench dev instances and judges what it hands over.

    python checks/dev_instances.py SORFT DATASET.jsonl REPOS OUT [flags of `sorft fix`]

REPOS holds the repositories as `sorft eval --repos` finds them: `owner+name/repo` or `owner__name`.
Every run has to end with exit code 0 or 1, and each distinct candidate has to pass
`git apply --check` at the base commit. Prints a Markdown table; `rejected` counts completions by
reason, the hits are the model's own first answers, without retrieval.
"""

import collections
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

FIVE = ["sqlfluff__sqlfluff-1625", "marshmallow-code__marshmallow-1359", "pvlib__pvlib-python-1093",
        "pydicom__pydicom-1416", "pylint-dev__astroid-1364"]


def read_instances(dataset):
    lines = pathlib.Path(dataset).read_text(encoding="utf-8").splitlines()
    rows = {row["instance_id"]: row for row in map(json.loads, lines)}
    return [rows[name] for name in FIVE]


def find_repository(repos, name):
    owner, short = name.split("/")
    for folder in (f"{owner}__{short}", f"{owner}+{short}/repo", f"{owner}+{short}", name, short):
        if (pathlib.Path(repos) / folder).is_dir():
            return str(pathlib.Path(repos) / folder)
    return None


def repository(repos, name):
    found = find_repository(repos, name)
    return found or sys.exit(f"{name} is not in {repos}")


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fix(sorft, instance, repos, out, flags):
    """One run; its folder, exit code, seconds and stderr."""
    name = instance["instance_id"]
    issue = out / f"{name}.md"
    issue.write_text(instance["problem_statement"], encoding="utf-8")
    run = out / f"{name}.run"
    command = [sorft, "fix", repository(repos, instance["repo"]), "--at", instance["base_commit"],
               "--issue", str(issue), "--run-dir", str(run), "--output", str(out / f"{name}.patch"), *flags]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return run, done.returncode, time.monotonic() - began, done.stderr


def count_applied(repo, base, candidates):
    """How many candidates pass `git apply --check`, and what was said of the others."""
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, GIT_INDEX_FILE=f"{folder}/index")
        git = ["git", "-C", repo]
        subprocess.run([*git, "read-tree", base], env=environment, check=True)
        refused = []
        for candidate in candidates:
            done = subprocess.run([*git, "apply", "--cached", "--check", "-"], env=environment,
                                  input=candidate["patch"].encode(), capture_output=True, check=False)
            if done.returncode != 0:
                refused.append(done.stderr.decode(errors="replace"))
        return len(candidates) - len(refused), refused


def first_answer(rows, stage):
    answers = (row["outcome"].get("answer") for row in rows if row["stage"] == stage)
    return next(answers, None) or {}


def main():
    sorft, dataset, repos, out, *flags = sys.argv[1:]
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    good = True
    print("| instance | seconds | outcome | samples | rejected | distinct candidates | apply | gold file answered |")
    print("|---|---|---|---|---|---|---|---|")
    for instance in read_instances(dataset):
        name = instance["instance_id"]
        run, code, seconds, told = fix(sorft, instance, repos, out, flags)
        if code not in (0, 1):
            sys.exit(f"{name}: exit code {code}\n{told}")
        rows = read_rows(run / "trajectory.jsonl")
        rejected = collections.Counter(
            row["outcome"]["rejected"]["reason"] for row in rows if "rejected" in row["outcome"])
        candidates = read_rows(run / "candidates.jsonl")
        n_applied, refused = count_applied(
            repository(repos, instance["repo"]), instance["base_commit"], candidates)
        gold = set(re.findall(r"^diff --git a/(\S+)", instance["patch"], re.M))
        answered = json.dumps(first_answer(rows, "file"))
        hit = any(json.dumps(path) in answered for path in gold)
        words = [line for line in told.splitlines() if line and not line.startswith("run: ")]
        verdict = words[-1] if words else ""
        print(f"| {name} | {seconds:.0f} | exit {code}: {verdict} | {sum(row['stage'] == 'edit' for row in rows)} "
              f"| {dict(rejected)} | {len(candidates)} | {n_applied} | {'yes' if hit else 'no'} |", flush=True)
        for message in refused:
            print(f"{name}: {message}")
            good = False
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\npeak memory of a run: {peak:.0f} MiB")
    sys.exit(0 if good else "a candidate does not apply")


if __name__ == "__main__":
    main()
