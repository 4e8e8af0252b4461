"""Runs `sorft fix --reproduce --test` on the demo and on three SWE-bench dev instances.

    python checks/reproduce.py SORFT DATASET.jsonl REPOS OUT PYTHON39 PYTHON36 [--no-model]

Each twice: with the default model, and with a strong answer from a server of this script: the gold
change behind one that changes nothing of the fault, and a right test among wrong ones. With the
strong answer, exactly the right test has to be kept, the gold change has to be chosen because it
makes that test pass, and the patch must not hold the test; with the model every run has to end
with exit code 0 or 1. The environments are those of recipes/swe-bench-dev.yaml, made in OUT.
"""

import json
import pathlib
import re
import subprocess
import sys
import time

from answering import Server
from dev_instances import repository

ROOT = pathlib.Path(__file__).resolve().parent.parent

MARSHMALLOW = "pytest==8.3.5 pytz==2024.2 simplejson==3.19.3 python-dateutil==2.9.0.post0 packaging==24.2"
ASTROID = ("pytest==7.4.4 lazy-object-proxy==1.10.0 wrapt==1.14.1 typing-extensions==4.12.2 "
           "setuptools==68.2.2 wheel==0.41.2")
PYDICOM = "pytest==7.0.1 numpy==1.19.5"


class Case:
    """What is fixed, where, and what a strong model says: old lines, useless and gold ones, tests."""

    def __init__(self, path, lines, old, useless, gold, right, wrong, packages=None, python=0, search="."):
        self.path, self.lines, self.old, self.useless, self.gold = path, lines, old, useless, gold
        self.right, self.wrong = right, wrong
        self.packages, self.python, self.search = packages, python, search

    def edit(self, new):
        return f"```\n### {self.path}\n<<<<<<< SEARCH\n{self.old}\n=======\n{new}\n>>>>>>> REPLACE\n```\n"


DEMO = Case(
    "timesheet/durations.py", "17",
    "        seconds = int(amount) * SECONDS_PER_UNIT[unit]",
    "        seconds = seconds or int(amount) * SECONDS_PER_UNIT[unit]",
    "        seconds += int(amount) * SECONDS_PER_UNIT[unit]",
    "import unittest\nfrom timesheet import parse_duration\n\n\nclass T(unittest.TestCase):\n"
    "    def test_issue(self):\n        self.assertEqual(parse_duration('1h30m'), 5400)\n",
    ["import unittest\nfrom timesheet import parse_duration\n\n\nclass T(unittest.TestCase):\n"
     "    def test_issue(self):\n        self.assertEqual(duration('1h30m'), 5400)\n",
     "import unittest\nfrom timesheet import parse_duration\n\n\nclass T(unittest.TestCase):\n"
     "    def test_issue(self):\n        self.assertEqual(parse_duration('2h'), 7200)\n"])

CASES = {
    "marshmallow-code__marshmallow-1359": Case(
        "src/marshmallow/fields.py", "1114-1119",
        "            or getattr(schema.opts, self.SCHEMA_OPTS_VAR_NAME)",
        "            or getattr(schema.opts, self.SCHEMA_OPTS_VAR_NAME, None)",
        "            or getattr(self.root.opts, self.SCHEMA_OPTS_VAR_NAME)",
        "from marshmallow import Schema, fields\n\n\ndef test_issue():\n    class MySchema(Schema):\n"
        "        times = fields.List(fields.DateTime())\n\n    assert 'times' in MySchema().fields\n",
        ["from marshmallow import Schema, fields\n\n\ndef test_issue():\n"
         "    assert Schema.from_nothing(fields.DateTime())\n",
         "from marshmallow import Schema, fields\n\n\ndef test_issue(database):\n"
         "    assert fields.DateTime(), Schema\n"],
        MARSHMALLOW, 0, "src:."),
    "pylint-dev__astroid-1866": Case(
        "astroid/brain/brain_builtin_inference.py", "955-961",
        "    except (IndexError, KeyError):",
        "    except (IndexError, KeyError, AttributeError):",
        "    except (IndexError, KeyError, TypeError, ValueError):",
        "import astroid\nfrom astroid.builder import extract_node\nfrom astroid.util import Uninferable\n\n\n"
        "def test_issue():\n    node = extract_node('\"x {:c}\".format(None)')\n"
        "    assert next(node.infer()) is Uninferable\n",
        ["from astroid.builder import extract_node\n\n\ndef test_issue():\n"
         "    node = extract_node('\"x {}\".format(1)')\n    assert next(node.infer()).value == 'x 1'\n",
         "import astroid.nowhere\nfrom astroid.builder import extract_node\n\n\n"
         "def test_issue():\n    assert extract_node('1')\n"],
        ASTROID),
    "pydicom__pydicom-1694": Case(
        "pydicom/dataset.py", "2493-2499",
        "            data_element = self[key]\n            try:",
        "            data_element = self.__getitem__(key)\n            try:",
        "            try:\n                data_element = self[key]",
        "from pydicom.dataelem import RawDataElement\nfrom pydicom.dataset import Dataset\n"
        "from pydicom.tag import Tag\n\n\ndef test_issue():\n    ds = Dataset()\n"
        "    ds[0x00082128] = RawDataElement(Tag(0x00082128), 'IS', 4, b'5.25', 0, True, True)\n"
        "    assert '00082128' not in ds.to_json_dict(suppress_invalid_tags=True)\n",
        ["from pydicom.dataset import Dataset\n\n\ndef test_issue():\n"
         "    assert Dataset().to_json_dict(suppress_invalid_tags=True) == {}\n",
         "from pydicom.dataset import Dataset\n\n\ndef test_issue():\n    ds = Dataset()\n"
         "    ds.NumberOfFrames = 'two'\n    assert ds.to_json_dicts(suppress_invalid_tags=True)\n"],
        PYDICOM, 1),
}


def serve(case):
    """A server that gives the case's answers in turn."""
    tests = [case.wrong[0], case.right, case.wrong[1]]
    edits = [case.edit(case.useless), case.edit(case.gold)]
    count = {"tests": 0, "edits": 0}

    def answers(body):
        asks_test = "Write a new test file" in body["messages"][-1]["content"]
        kind, texts = ("tests", tests) if asks_test else ("edits", edits)
        for _ in range(body.get("n") or 1):
            text = texts[count[kind] % len(texts)]
            count[kind] += 1
            yield f"```python\n{text}```\n" if asks_test else text

    return Server(answers, "strong")


def environment(out, python, packages):
    """A virtual environment with these packages."""
    folder = out / ("venv-" + re.sub(r"\W+", "-", packages)[:40])
    if not (folder / "ready").exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "-q", *packages.split()], check=True)
        (folder / "ready").touch()
    return folder / "bin/python"


def fix(sorft, name, source, test, flags):
    began = time.monotonic()
    command = [sorft, "fix", *source, "--test", test, "--reproduce", "--format", "json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{name}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout), done.stderr, time.monotonic() - began


def tell(name, report, said, seconds):
    print(f"\n## {name}: {report['verdict']} ({seconds:.0f} s)\n")
    for line in said.splitlines():
        if re.match(r"tests   |reproduce |candidate|reproduction", line):
            print("    " + line[:240])


def check_strong(name, case, report):
    found = report["reproduction"]
    kept = [test["text"] for test in found["tests"] if test["kept"]]
    patch = report["patch"] or ""
    gold = [line for line in case.gold.splitlines() if line not in case.old.splitlines()]
    problems = [
        (kept != [case.right], f"kept {kept}"),
        (not report["reproduced"], "the chosen candidate does not pass the reproduction"),
        (any("+" + line not in patch for line in gold), f"not the gold change: {patch}"),
        ("test_reproduction" in patch, "the test is in the patch"),
    ]
    for is_wrong, problem in problems:
        if is_wrong:
            found["tests"] = [dict(test, text="…") for test in found["tests"]]
            sys.exit(f"{name}: {problem}\n{json.dumps(found, indent=1)[:6000]}")


def main():
    with_model = "--no-model" not in sys.argv
    sorft, dataset, repos, out, *pythons = [word for word in sys.argv[1:] if word != "--no-model"]
    out = pathlib.Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows = map(json.loads, pathlib.Path(dataset).read_text(encoding="utf-8").splitlines())
    rows = {row["instance_id"]: row for row in rows}
    work = [("demo", DEMO, [str(ROOT / "fixtures/demo/repo"), "--issue", str(ROOT / "fixtures/demo/issue.md")],
             "python3 -m unittest")]
    for name, case in CASES.items():
        row = rows[name]
        issue = out / f"{name}.md"
        issue.write_text(row["problem_statement"], encoding="utf-8")
        python = environment(out, pythons[case.python], case.packages)
        source = [repository(repos, row["repo"]), "--at", row["base_commit"], "--issue", str(issue)]
        work.append((name, case, source, f"env PYTHONPATH={case.search} {python} -m pytest -q -p no:cacheprovider"))
    for name, case, source, test in work:
        server = serve(case)
        flags = ["--endpoint", server.url, "--effort", "quick", "--in", f"{case.path}:{case.lines}"]
        result = fix(sorft, name, source, test, flags)
        server.close()
        tell(f"{name}, strong answer", *result)
        check_strong(name, case, result[0])
    for name, _, source, test in work if with_model else []:
        tell(f"{name}, default model", *fix(sorft, name, source, test, ["--max-time", "900"]))


if __name__ == "__main__":
    main()
