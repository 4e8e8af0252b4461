"""Whether any file that an evaluation's gold patch starts from is in a snapshot that is trained on.

    python checks/leak.py INSTANCES.jsonl REPOS DATASET.jsonl DATASET_REPOS

By git alone, with nothing of sorft: the blobs of every mined instance's base commit, against the
base blobs of every file that a gold or test patch of the dataset changes.
"""

import json
import pathlib
import re
import subprocess
import sys

from dev_instances import find_repository, repository

EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def rows(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines() if line]


def git(repo, *words):
    done = subprocess.run(["git", "-C", repo, *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def evaluation_blobs(dataset, repos):
    """Base blobs of changed files, with the instances that start from them; instances that are not there."""
    blobs, absent = {}, 0
    for row in dataset:
        repo = find_repository(repos, row["repo"])
        if repo is None or git(repo, "cat-file", "-e", row["base_commit"]) is None:
            absent += 1
            continue
        patch = row["patch"] + "\n" + row.get("test_patch", "")
        for path in set(re.findall(r"^--- a/(.+?)\t?$", patch, re.MULTILINE)):
            blob = git(repo, "rev-parse", f"{row['base_commit']}:{path}")
            if blob is None:
                sys.exit(f"{row['instance_id']}: no `{path}` in its base commit")
            blobs.setdefault(blob.strip(), set()).add(row["instance_id"])
    blobs.pop(EMPTY, None)
    return blobs, absent


def main():
    mined, repos, dataset, dataset_repos = sys.argv[1:]
    wanted, absent = evaluation_blobs(rows(dataset), dataset_repos)
    seen, n_blobs, found = {}, 0, []
    for row in rows(mined):
        repo = repository(repos, row["repo"])
        key = (row["repo"], row["base_commit"])
        if key not in seen:
            tree = git(repo, "ls-tree", "-r", row["base_commit"])
            if tree is None:
                sys.exit(f"{row['instance_id']}: no commit {row['base_commit']} in {repo}")
            blobs = {line.split()[2] for line in tree.splitlines()}
            n_blobs += len(blobs)
            seen[key] = sorted(wanted.keys() & blobs)
        found += [(row["instance_id"], blob, sorted(wanted[blob])) for blob in seen[key]]
    print(f"{len(wanted)} base files of gold and test patches ({absent} instances of the dataset are not there);")
    print(f"{len(seen)} training snapshots with {n_blobs} files: {len(found)} in common")
    for instance, blob, of in found:
        print(f"  {instance}: {blob} of {', '.join(of)}")
    sys.exit(1 if found or not seen or not wanted else 0)


if __name__ == "__main__":
    main()
