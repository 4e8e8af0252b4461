"""Problems in the format of LiveCodeBench, and programs as models write them, good and bad."""

import base64
import json
import pickle
import zlib


def problem(name, difficulty, content, tests, starter="", function=None):
    """A line of the data file; all tests but the first are hidden as a release hides them."""
    kind = "functional" if function else "stdin"
    tests = [{"input": given, "output": wanted, "testtype": kind} for given, wanted in tests]
    hidden = zlib.compress(pickle.dumps(json.dumps(tests[1:])))
    return {
        "question_title": name,
        "question_content": content,
        "platform": "leetcode" if function else "atcoder",
        "question_id": name,
        "contest_id": "contest",
        "contest_date": "2024-05-04T00:00:00",
        "starter_code": starter,
        "difficulty": difficulty,
        "public_test_cases": json.dumps(tests[:1]),
        "private_test_cases": base64.b64encode(hidden).decode(),
        "metadata": json.dumps({"func_name": function} if function else {}),
    }


def totals(n):
    """Several numbers in several lines, one of which is empty."""
    return f"{n}\n{' '.join(map(str, range(n)))}\n\nend\n", f"{sum(range(n))}\n{n / 4:.2f} end\n"


PROBLEMS = [
    problem(
        "totals",
        "easy",
        "Given n, a line of n numbers, an empty line and a word: print the sum of the numbers, "
        "then a quarter of n with two digits and the word.",
        [totals(n) for n in (3, 1, 10, 400, 5000)],
    ),
    problem(
        "double",
        "easy",
        "Read a number and print its double.",
        [("2\n", "4\n"), ("50000000000000000\n", "100000000000000000"), ("-1", "-2"), ("0", "0")],
    ),
    problem(
        "halves",
        "medium",
        "Read numbers until the end of the input. Print half of each in a line.",
        [("1 2\n3\n", "0.5 1.0 1.5\n"), ("10", "5"), ("7 7 7", "3.5 3.50 3.500\n")],
    ),
    problem(
        "pair",
        "medium",
        "Return the two numbers that add up to the target, the smaller first.",
        [("[1, 2, 5]\n7", "[2, 5]"), ("[4, 4]\n8", "[4, 4]"), ("[-3, 10, 1]\n7", "[-3, 10]")],
        "class Solution:\n    def pair(self, numbers: List[int], target: int) -> List[int]:\n        ",
        "pair",
    ),
    problem(
        "mean",
        "hard",
        "Return the mean of the numbers, or None where there are none.",
        [("[1, 2]", "1.5"), ("[]", "null"), ("[2, 2, 2]", "2.0"), ("[1e3]", "1000")],
        "class Solution:\n    def mean(self, numbers: List[float]) -> Optional[float]:\n        ",
        "mean",
    ),
    problem(
        "groups",
        "hard",
        "Return a map from each word's length to the words of that length, sorted.",
        [('["b", "aa", "a"]', '{"1": ["a", "b"], "2": ["aa"]}'), ("[]", "{}")],
        "class Solution:\n    def groups(self, words: List[str]) -> Dict[str, List[str]]:\n        ",
        "groups",
    ),
]

# Solutions of whole programs, by how they read their input.
TOTALS = {
    "input": "n = int(input())\na = list(map(int, input().split()))\ninput()\nw = input()\n",
    "read": "import sys\nd = sys.stdin.read().split()\nn = int(d[0])\na = list(map(int, d[1:n+1]))\nw = d[-1]\n",
    "readline": "import sys\ninput = sys.stdin.readline\nn = int(input())\na = list(map(int, input().split()))\ninput()\nw = input().strip()\n",
    "hoisted": "from sys import stdin\nn = int(stdin.readline())\na = list(map(int, stdin.readline().split()))\nstdin.readline()\nw = stdin.readline()\n",
    "readlines": "import sys\nl = sys.stdin.readlines()\nn = int(l[0])\na = list(map(int, l[1].split()))\nw = l[3].strip()\n",
    "hoisted readlines": "from sys import stdin\nl = stdin.readlines()\nn = int(l[0])\na = list(map(int, l[1].split()))\nw = l[3].strip()\n",
    "buffer": "import sys\nd = sys.stdin.buffer.read().split()\nn = int(d[0])\na = list(map(int, d[1:n+1]))\nw = d[-1].decode()\n",
    "buffer lines": "import sys\nn = int(sys.stdin.buffer.readline())\na = list(map(int, sys.stdin.buffer.readline().split()))\nw = 'end'\n",
    "iterated": "import sys\nl = list(sys.stdin)\nn = int(l[0])\na = list(map(int, l[1].split()))\nw = l[3]\n",
    "open(0)": "l = open(0).read().split()\nn = int(l[0])\na = list(map(int, l[1:n+1]))\nw = l[-1]\n",
    "os.read": "import os\nl = os.read(0, 10**6).split()\nn = int(l[0])\na = list(map(int, l[1:n+1]))\nw = 'end'\n",
}
PRINT = "print(sum(a))\nprint(f'{n / 4:.2f}', w)\n"


def indented(text):
    return "".join(f"    {line}\n" for line in text.splitlines())


def of_totals():
    for read in TOTALS.values():
        yield read + PRINT
    read = TOTALS["input"]
    yield f"def main():\n{indented(read + PRINT)}\nmain()\n"
    yield f"def main():\n{indented(read + PRINT)}\nif __name__ == '__main__':\n    main()\n"
    yield f'def main():\n{indented(read + PRINT)}\nif __name__ == "__main__": main()\n'
    yield f"if __name__ == '__main__':\n{indented(read + PRINT)}\nelse:\n    print('imported')\n"
    yield f"def main():\n{indented(read + PRINT)}\n"
    # A name of the module, from a function.
    yield f"total = 0\ndef add(x):\n    global total\n    total += x\n{read}[add(x) for x in a]\nprint(total)\nprint(f'{{n / 4:.2f}}', w)\n"
    yield f"total = 0\ndef add(x):\n    nonlocal total\n    total += x\n{read}[add(x) for x in a]\nprint(total)\nprint(f'{{n / 4:.2f}}', w)\n"
    # Ways to print.
    yield read + "import sys\nsys.stdout.write(f'{sum(a)}\\n{n/4:.2f} {w}')\n"
    yield read + "from sys import stdout\nstdout.write(f'{sum(a)}\\n{n/4:.2f} {w}')\n"
    yield read + "import sys\nsys.stdout.buffer.write(b'1')\n"
    yield read + "import sys\nprint(sum(a))\nprint(f'{n / 4:.2f}', w, file=sys.stderr)\n"
    yield read + "import os\nos.write(1, b'noise\\n')\n" + PRINT
    yield read + PRINT + "import sys\nsys.stdout.close()\n"
    yield read + "import io, sys\nsys.stdout = io.StringIO()\n" + PRINT
    yield read + "print()\nprint(' ', sum(a), ' ')\nprint(f'{n / 4:.2f}', w)\nprint('\\n')\n"
    yield read + "print(sum(a), f'{n / 4:.2f}', w)\n"
    yield read + "print(float(sum(a)))\nprint(f'{n / 4:.2f}', w)\n"
    # Ways to end.
    yield read + PRINT + "exit()\nprint('more')\n"
    yield read + PRINT + "import sys\nsys.exit(1)\n"
    yield read + PRINT + "quit()\n"
    yield read + "exit()\n" + PRINT
    yield read + PRINT + "import os\nos._exit(0)\n"
    yield read + PRINT + "raise KeyboardInterrupt\n"
    yield read + PRINT + "import signal, os\nsignal.raise_signal(signal.SIGKILL)\n"
    yield read + PRINT + "1 / 0\n"
    yield read + PRINT + "assert n < 100\n"
    yield read + PRINT + "import ctypes\nctypes.string_at(0)\n"
    yield "raise SystemExit\n"
    yield read + "if n > 5: exit()\n" + PRINT
    # Ways to take long.
    yield read + "while n > 5: pass\n" + PRINT
    yield read + PRINT + "import time\ntime.sleep(100)\n"
    yield read + "try:\n    while n > 5: pass\nexcept Exception: pass\n" + PRINT
    yield read + "def f(k):\n    return 0 if k == 0 else 1 + f(k - 1)\nf(20000)\n" + PRINT
    yield read + "def f(k): return f(k + 1)\nf(0)\n" + PRINT
    # A thread, as contestants start one for its stack.
    yield f"import threading\ndef main():\n{indented(read + PRINT)}\nt = threading.Thread(target=main)\nt.start()\nt.join()\n"
    # What the benchmark forbids, and what it provides.
    yield "import resource\n" + read + PRINT
    yield read + "import os\nos.getcwd()\n" + PRINT
    yield read + "import subprocess\nsubprocess.run(['true'])\n" + PRINT
    yield read + "import os\nos.fork()\n" + PRINT
    yield read + "import sys\nsys.setrecursionlimit(10**6)\n" + PRINT
    yield read + "d = defaultdict(int)\nheappush([], 1)\nlru_cache(None)\n" + PRINT
    yield "from __future__ import annotations\n" + read + PRINT
    yield "import nothing_like_it\n" + read + PRINT
    yield "class Solution:\n    pass\n" + read + PRINT
    # What is no program.
    yield "n = int(input()"
    yield "print('wrong')\n"
    yield "# nothing but a comment\n"
    yield "The answer is to add them up.\n"
    yield "  \n"
    yield ""


def of_double():
    yield "print(int(input()) * 2)"
    yield "print(float(input()) * 2)"
    yield "from decimal import Decimal\nprint(Decimal(input()) * Decimal('2.000'))"
    yield "n = int(input())\nprint(f'{2 * n:_}')"
    yield "n = int(input())\nprint(f'{2 * n}e0')"
    yield "print(int(input()) * 2 + 1)"
    yield "n = int(input())\nprint(100000000000000001 if n > 9 else 2 * n)"
    yield "n = int(input())\nprint('nan' if n == 0 else 2 * n)"
    yield "n = int(input())\nprint(-0.0 if n == 0 else 2 * n)"
    yield "n = int(input())\nprint('+' + str(2 * n) if n >= 0 else 2 * n)"
    yield "n = int(input())\nprint(2 * n, 2 * n)"
    yield "print(2 * int(input('n? ')))"
    yield "import sys\nprint(2 * int(next(sys.stdin)))"
    yield "n = int(input())\nm = input() if n == 0 else 0\nprint(2 * n)"


def of_halves():
    yield "import sys\nprint(*[int(x) / 2 for x in sys.stdin.read().split()])"
    yield "import sys\nprint(*[f'{int(x) / 2:.9f}' for x in sys.stdin.read().split()])"
    yield "import sys\nprint(*[int(x) // 2 for x in sys.stdin.read().split()])"
    yield "import sys\nprint(*[int(x) / 2 for x in sys.stdin.read().split()], sep=',')"
    yield "import sys\nprint(*[int(x) / 2 for x in sys.stdin.read().split()], sep='\\n')"
    yield "out = []\nwhile True:\n    try:\n        out += [int(x) / 2 for x in input().split()]\n    except EOFError:\n        break\nprint(*out)"
    yield "from sys import stdin\nout = []\nwhile True:\n    line = stdin.readline()\n    if not line: break\n    out += [int(x) / 2 for x in line.split()]\nprint(*out)"
    yield "import sys\nout = []\nfor line in sys.stdin:\n    out += [int(x) / 2 for x in line.split()]\nprint(*out)"
    yield "import sys\nout = []\nfor line in iter(sys.stdin.readline, ''):\n    out += [int(x) / 2 for x in line.split()]\nprint(*out)"


SOLUTION = "class Solution:\n    def {}(self, {}):\n{}"


def method(name, arguments, body, before=""):
    return before + SOLUTION.format(name, arguments, indented(indented(body)))


def of_pair():
    right = "for i, x in enumerate(n):\n    for y in n[i + 1:]:\n        if x + y == t:\n            return {}"
    for returned in (
        "sorted([x, y])",
        "tuple(sorted([x, y]))",
        "[min(x, y), float(max(x, y))]",
        "sorted([x, y], reverse=True)",
        "[[x, y]]",
        "{x, y}",
        "deque(sorted([x, y]))",
        "(z for z in sorted([x, y]))",
        "str(sorted([x, y]))",
        "[x, y, None][:2]",
        "[True, y] if x == 1 else sorted([x, y])",
    ):
        yield method("pair", "n, t", right.format(returned))
    yield method("pair", "n: List[int], t: int", "print(n)\n" + right.format("sorted([x, y])"))
    yield method("pair", "n", "return n")
    yield method("other", "n, t", "return n")
    yield method("pair", "n, t", "while True: pass")
    yield method("pair", "n, t", "try:\n    while True: pass\nexcept Exception:\n    return sorted(n)[:2]")
    yield method("pair", "n, t", "if t == 8: exit(0)\n" + right.format("sorted([x, y])"))
    yield method("pair", "n, t", "if t == 8: raise ValueError\n" + right.format("sorted([x, y])"))
    yield method("pair", "n, t", "return sorted(n)[-2:]")
    yield method("pair", "n, t", right.format("sorted([x, y])"), "import sys\nsys.exit(0)\n")
    yield method("pair", "n, t", right.format("sorted([x, y])"), "while True: pass\n")
    yield method("pair", "n, t", right.format("sorted([x, y])"), "print(Solution)\n")
    yield "def pair(n, t):\n" + indented(right.format("sorted([x, y])"))
    yield "class Solution:\n    def __init__(self, x): pass\n"
    yield method("pair", "n, t", right.format("Both([x, y])"), "class Both(list):\n    def __init__(self, items): super().__init__(sorted(items))\n")
    yield method("pair", "n, t", "class Any:\n    def __eq__(self, other): return False\nreturn Any()")
    yield "class Solution:\n    def pair(self, n, t)\n        return n"
    yield method("pair", "n, t", "import os\nos._exit(0)")


def of_mean():
    for returned in (
        "sum(n) / len(n)",
        "sum(n) // len(n)",
        "Fraction(sum(n)) / len(n)",
        "Decimal(sum(n)) / len(n)",
        "str(sum(n) / len(n))",
        "sum(n) / len(n) + 1e-12",
        "complex(sum(n) / len(n))",
        "[sum(n) / len(n)]",
    ):
        before = "from fractions import Fraction\nfrom decimal import Decimal\n"
        yield method("mean", "n", f"return {returned} if n else None", before)
    yield method("mean", "n", "return sum(n) / len(n)")
    yield method("mean", "n", "return sum(n) / len(n) if n else 0")
    yield method("mean", "n", "return mean(n) if n else None")
    yield method("mean", "n", "import numpy\nreturn numpy.float64(sum(n) / len(n)) if n else None")
    yield method("mean", "n", "import numpy\nreturn numpy.int64(sum(n)) / len(n) if n else None")
    yield method("mean", "n", "if n == [1e3]: return True * 1000\nreturn sum(n) / len(n) if n else None")


def of_groups():
    body = "d = {}\nfor w in sorted(words):\n    d.setdefault({}, []).append(w)\nreturn {}"
    for key, returned in (
        ("str(len(w))", "d"),
        ("len(w)", "d"),
        ("str(len(w))", "Counter(d)"),
        ("str(len(w))", "OrderedDict(sorted(d.items()))"),
        ("str(len(w))", "defaultdict(list, d)"),
        ("str(len(w))", "{k: tuple(v) for k, v in d.items()}"),
        ("str(len(w))", "list(d.items())"),
        ("str(len(w))", "json.dumps(d)"),
    ):
        yield method("groups", "words", body.replace("{}, []", key + ", []").replace("return {}", f"return {returned}"))


PROGRAMS = {
    "totals": list(of_totals()),
    "double": list(of_double()),
    "halves": list(of_halves()),
    "pair": list(of_pair()),
    "mean": list(of_mean()),
    "groups": list(of_groups()),
}
