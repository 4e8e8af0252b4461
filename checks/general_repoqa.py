"""RepoQA: contexts, prompts and scores of ours and of the package `repoqa`."""

import gzip
import json
import os
import random
import re
import subprocess

import repoqa.search_needle_function as reference
from repoqa.compute_score import compute_score
from repoqa.utility import FUNCTION_QUERY
from transformers import PreTrainedTokenizerFast
from tree_sitter_languages import get_language, get_parser

# A repository of each language, as the benchmark has ten.
REPOSITORIES = {
    "python": ("marshmallow-code/marshmallow", ".py", "src/"),
    "java": ("google/gson", ".java", "gson/src/main/"),
    "typescript": ("vitejs/vite", ".ts", "packages/vite/src/node/"),
    "rust": ("dtolnay/semver", ".rs", "src/"),
    "cpp": ("fmtlib/fmt", ".cc", "test/"),
}
N_NEEDLES = 10
# Functions that a small model is asked to find.
N_ASKED = int(os.environ.get("CHECK_TASKS", "20"))


def find(repos, name):
    owner, short = name.split("/")
    for folder in (f"{owner}__{short}", f"{owner}+{short}", name, short):
        for path in (repos / folder, repos / folder / "repo", repos / folder / ".git"):
            if (path / "HEAD").exists():
                return path
    raise SystemExit(f"`{repos}` has no clone of {name}")


def git(path, *arguments):
    return subprocess.run(
        ["git", f"--git-dir={path}", *arguments], check=True, capture_output=True
    ).stdout


def make_repository(repos, language):
    """A repository in the format of the data file, with functions of it to be found."""
    name, ending, folder = REPOSITORIES[language]
    path = find(repos, name)
    names = git(path, "ls-tree", "-r", "-z", "--name-only", "HEAD").decode().split("\0")
    names = [n for n in names if n.startswith(folder) and n.endswith(ending)][:60]
    content = {n: git(path, "show", f"HEAD:{n}").decode(errors="replace") for n in names}
    stems = {n: os.path.splitext(os.path.basename(n))[0] for n in names}
    imports = {
        n: " ".join(re.findall(r"^\s*(?:from|import|use|#include|mod)\b.*$", text, re.M))
        for n, text in content.items()
    }
    dependency = {
        n: [o for o in names if o != n and re.search(rf"\b{re.escape(stems[o])}\b", imports[n])]
        for n in names
    }
    needles, seen = [], set()
    query = get_language(language).query(FUNCTION_QUERY[language])
    for n in names:
        # The benchmark's bytes count characters in its code: files are taken where both agree.
        if not content[n].isascii():
            continue
        text = content[n].encode()
        for node, _ in query.captures(get_parser(language).parse(text).root_node):
            code = text[node.start_byte : node.end_byte].decode()
            head = node.child_by_field_name("name") or node.child_by_field_name("declarator")
            function = re.split(r"\W", head.text.decode())[0]
            if function in seen or not 6 <= code.count("\n") <= 60:
                continue
            seen.add(function)
            calls = sorted(set(re.findall(r"\b(\w{4,})\(", code)) - {function})
            needles.append(
                {
                    "name": function,
                    "path": n,
                    "start_line": node.start_point[0],
                    "end_line": node.end_point[0] + 1,
                    "start_byte": node.start_byte,
                    "end_byte": node.end_byte,
                    "description": "\n1. **Procedure**: it calls " + ", ".join(calls[:6]),
                }
            )
    random.Random(language).shuffle(needles)
    assert len(needles) >= N_NEEDLES // 2, (language, len(needles))
    commit = git(path, "rev-parse", "HEAD").decode().strip()
    return {
        "repo": name,
        "commit_sha": commit,
        "content": content,
        "dependency": dependency,
        "needles": needles[:N_NEEDLES],
    }


def code_of(repository, needle):
    lines = repository["content"][needle["path"]].split("\n")
    return "\n".join(lines[needle["start_line"] : needle["end_line"]])


def variants(language, repository, needle, draw):
    """Answers as models give them: right, nearly right, wrong, and in all kinds of fences."""
    code = code_of(repository, needle)
    lines = code.split("\n")
    others = [code_of(repository, o) for o in repository["needles"] if o is not needle]
    other = draw.choice(others)
    fence = lambda text, mark=language: f"```{mark}\n{text}\n```"
    words = sorted(set(re.findall(r"\b[a-z_]{3,}\b", code)))
    renamed = code
    for word in draw.sample(words, min(3, len(words))):
        renamed = re.sub(rf"\b{word}\b", f"{word}_x", renamed)
    shuffled = lines[:]
    draw.shuffle(shuffled)
    half = "\n".join(lines[: len(lines) // 2])
    dropped = [line for line in lines if draw.random() < 0.85]
    yield fence(code)
    yield code
    yield fence(code, "")
    yield f"Here is the function:\n\n{fence(code)}\n\nIt does what was described."
    yield fence("no function", "text") + "\n" + fence(code)
    yield fence(other) + "\n" + fence(code)
    yield fence(code + "\n\n" + other)
    yield fence("\n".join("    " + line for line in lines))
    yield "  " + fence(code)
    yield "- " + fence(code)
    yield fence(renamed)
    yield fence("\n".join(dropped))
    yield fence("\n".join(shuffled))
    yield fence(half)
    yield half
    yield f"```{language}\n{code}"
    yield f"```{language} {code}```"
    yield fence(code).replace("\n", "\r\n")
    yield fence(re.sub(r"\s+", "\u3000", code))
    yield fence(re.sub(r"[ \t]+", " ", code))
    yield fence(other)
    yield fence(lines[0])
    yield fence("// a comment\n" + code if language != "python" else "# a comment\n" + code)
    yield fence(code.upper())
    yield needle["name"]
    yield "I cannot find it. É \x1c ü"
    yield "``` ```"
    yield ""


def is_broken(answer, language):
    """Whether the code of an answer has an error of syntax, where grammars may find other trees."""
    blocks = re.findall(r"^```\w*\s*\n(.*?)^```", answer.strip(), re.DOTALL | re.MULTILINE)
    trees = [get_parser(language).parse(block.encode()) for block in blocks or [answer]]
    return any(tree.root_node.has_error for tree in trees)


def score(sorft, data, dataset, outputs, flags):
    """What both say of a file of outputs: verdicts by language, and shares by threshold."""
    rows = [json.loads(line) for line in outputs.read_text().splitlines()]
    ours = sorft.run("eval", "repoqa", data, "--answers", outputs, *flags)
    theirs = compute_score("model", dataset, rows, bool(flags))["model"]
    in_theirs = [
        (language, one["name"], one["best_target"], float(one["best_similar_score"]))
        for language, results in theirs["results"].items()
        for one in results
    ]
    # Theirs are by language, in order; so are ours, once they are put together so.
    in_ours = [
        (language, one["name"], one["best_target"], one["similarity"])
        for language in theirs["results"]
        for one in ours["needles"]
        if one["language"] == language
    ]
    rows = [row for language in theirs["results"] for row in rows if row["language"] == language]
    shares = {
        one["language"]: {float(k): share for k, share in one["by_threshold"].items()}
        for one in ours["languages"]
    }
    wanted = {
        language: {k: float(v["pass@1"]) for k, v in by_threshold.items()}
        for language, by_threshold in theirs["scores"].items()
    }
    return rows, in_ours, in_theirs, shares == wanted, ours["languages"][0]["found"]["mean"]


def compare(name, sorft, data, dataset, outputs, lines):
    """Scores a file of outputs by both, with comments and without."""
    for flags, what in (((), ""), (("--ignore-comments",), " without comments")):
        rows, ours, theirs, _, share = score(sorft, data, dataset, outputs, flags)
        differing = [i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b]
        for i in differing:
            print("differs", flags, ours[i], theirs[i], repr(rows[i]["output"][0]))
        broken = {i for i in differing if is_broken(rows[i]["output"][0], rows[i]["language"])}
        # Thresholds are compared without what other grammars read otherwise.
        rest = outputs.with_suffix(".rest.jsonl")
        kept = [json.dumps(row) + "\n" for i, row in enumerate(rows) if i not in broken]
        rest.write_text("".join(kept))
        _, ours, theirs, same_shares, _ = score(sorft, data, dataset, rest, flags)
        lines.append(
            (
                ours == theirs and same_shares,
                f"RepoQA, {name}{what}: best target and BLEU of {len(rows) - len(differing)} of"
                f" {len(rows)} answers, {len(broken)} of the others are no valid code;"
                f" all thresholds of the rest; {100 * share:.1f} % found at 0.8",
            )
        )


def check(sorft, server, repos, fixtures):
    lines = []
    given = os.environ.get("REPOQA_DATA")
    data = sorft.folder / "repoqa.json.gz"
    if given:
        opened = gzip.open if given.endswith(".gz") else open
        with opened(given, "rt") as file:
            dataset = json.load(file)
        data = given
    else:
        dataset = {language: [make_repository(repos, language)] for language in REPOSITORIES}
        with gzip.open(data, "wt") as file:
            json.dump(dataset, file)
    tasks = [
        (language, repository, needle)
        for language, repositories in dataset.items()
        for repository in repositories
        for needle in repository.get("needles", [])
    ]

    # Contexts and prompts, with a tokenizer that both can read.
    tokenizer = fixtures / "qwen2" / "tokenizer.json"
    reference.AutoTokenizer = type(
        "AutoTokenizer",
        (),
        {"from_pretrained": lambda _: PreTrainedTokenizerFast(tokenizer_file=str(tokenizer))},
    )
    for size in (1024, 16384):
        answering = server("```\nnothing\n```")
        rows = sorft.ask(
            answering, f"constant-{size}.jsonl",
            "eval", "repoqa", data, "--tokenizer", tokenizer, "--context-tokens", size,
        )  # fmt: skip
        by_id = {row["instance"]: row for row in rows}
        n_equal, prompts = 0, set()
        for language, repository, needle in tasks:
            at = repository["needles"].index(needle)
            order = reference.topological_sort(repository["dependency"])
            wanted = reference.make_code_context(
                needle,
                [(path, repository["content"][path]) for path in order],
                position_ratio=(at + 0.5) / len(repository["needles"]),
                code_context_size=size,
                language=language,
            )
            task = {
                **wanted,
                "instruction": reference.INSTRUCTION,
                "description": f"\nFunction Description:{needle['description']}\n",
            }
            prompts.add("".join(task[part] for part in reference.TEMPLATE.split("\n")))
            row = by_id[reference.make_task_id(language, repository["repo"], needle["name"])]
            n_equal += {key: row[key] for key in wanted} == wanted
        asked = [request["messages"] for request in answering.asked]
        is_equal = n_equal == len(tasks) and prompts == {one[0]["content"] for one in asked}
        is_equal &= all(len(one) == 1 and one[0]["role"] == "user" for one in asked)
        lines.append(
            (is_equal, f"RepoQA, contexts of {size} tokens and prompts: {n_equal} of {len(tasks)}")
        )

    # Scores of scripted answers, in the format that the reference keeps them in.
    draw, outputs = random.Random(1), sorft.folder / "repoqa-variants.jsonl"
    with open(outputs, "w") as file:
        for language, repository, needle in tasks:
            for answer in variants(language, repository, needle, draw):
                row = {
                    "repo": repository["repo"],
                    "name": needle["name"],
                    "language": language,
                    "position_ratio": 0.5,
                    "needle_token_start": 0,
                    "needle_token_end": 0,
                    "output": [answer],
                }
                file.write(json.dumps(row) + "\n")
    compare("scripted answers", sorft, data, dataset, outputs, lines)

    # Scores of a small model's answers; the reference reads the file that we wrote.
    sorft.ask(
        None, "repoqa-model.jsonl",
        "eval", "repoqa", data, "--model", "smollm2-135m", "--context-tokens", 768,
        "--limit", N_ASKED, "--shuffle", 1,
    )  # fmt: skip
    outputs = sorft.folder / "repoqa-model.jsonl"
    compare("smollm2-135m, contexts of 768 tokens", sorft, data, dataset, outputs, lines)
    return lines
