"""Runs one program on the inputs of its tests, as LiveCodeBench does, and says what came out.

The expected outputs are not here: whatever a program does to this file, it can only say what it
would have printed.
"""

import ast
import importlib
import io
import json
import numbers
import os
import signal
import sys
import types

# What every program finds imported. The order matters: later names hide earlier ones.
STARS = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools "
    "operator io sys json builtins typing"
).split()
MODULES = STARS[:-2]
PRELUDE = "".join(
    [f"from {name} import *\n" for name in STARS]
    + [f"import {name}\n" for name in MODULES]
    + ["sys.setrecursionlimit(50000)\n"]
)


# Packages that the benchmark has imported already, and that cannot be once `forbid` has been there.
IMPORTED = ("numpy", "multiprocessing")


class TimeoutException(Exception):
    pass


def on_alarm(_signal, _frame):
    # A program that catches the exception has printed this, and is wrong.
    print("the time is up")
    raise TimeoutException


def forbid():
    """Takes away what the benchmark takes away; the sandbox is what protects."""
    import builtins
    import shutil
    import subprocess

    builtins.quit = builtins.help = None
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in (
        "kill system putenv remove removedirs rmdir fchdir setuid fork forkpty killpg rename "
        "renames truncate replace unlink fchmod fchown chmod chown chroot lchflags lchmod lchown "
        "getcwd chdir"
    ).split():
        setattr(os, name, None)
    shutil.rmtree = shutil.move = shutil.chown = None
    subprocess.Popen = None
    for name in "ipdb joblib resource psutil tkinter".split():
        sys.modules[name] = None


def without_guard(source):
    """The source with the body of a last `if __name__ == "__main__"` in its place."""
    try:
        body = ast.parse(source).body
        last = body[-1]
        if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
            return ast.unparse(body[:-1]) + "\n" + ast.unparse(last.body)
    except BaseException:
        pass
    return source


def as_function(source):
    """The source as a function, so that it can run again; its imports stay outside."""
    try:
        body = ast.parse(source).body
        is_import = lambda statement: isinstance(statement, (ast.Import, ast.ImportFrom))
        function = ast.parse("def wrapped_function(): pass").body[0]
        function.body = [statement for statement in body if not is_import(statement)]
        imports = [statement for statement in body if is_import(statement)]
        return f"{PRELUDE}\n{ast.unparse(imports)}\n{ast.unparse(function)}"
    except Exception:
        return source


def load(source, seconds):
    """What holds a program's functions: an object of its class, or its module."""
    module = types.ModuleType("tmp_sol", "")
    signal.alarm(seconds)
    try:
        exec(source, module.__dict__)
        return module.Solution() if "class Solution" in source else module
    finally:
        signal.alarm(0)


class InputBytes:
    """`sys.stdin.buffer`, whose every line is the first."""

    def __init__(self, text):
        self.bytes = text.encode("utf-8")

    def read(self, *_):
        return self.bytes

    def readline(self, *_):
        return self.bytes.split(b"\n")[0] + b"\n"


class Input:
    """`sys.stdin`: reads everything however often, and is no iterator."""

    def __init__(self, text):
        self.text = text
        self.lines = io.StringIO(text)
        self.buffer = InputBytes(text)

    def read(self, *_):
        return self.text

    def readline(self, *arguments):
        return self.lines.readline(*arguments)

    def readlines(self, *_):
        return self.text.split("\n")

    def __getattr__(self, name):
        return getattr(self.lines, name)


def call(function, text):
    """Runs a whole program with an input; it may end itself."""
    stdin = sys.stdin
    # What `from sys import stdin` gave a program before there was an input.
    lines = iter(text.split("\n"))
    stdin.read = lambda *_: text
    stdin.readline = lambda *_: next(lines)
    stdin.readlines = lambda *_: text.split("\n")
    sys.stdin = Input(text)
    try:
        function()
    except SystemExit:
        pass
    finally:
        sys.stdin = stdin
        for name in ("read", "readline", "readlines"):
            stdin.__dict__.pop(name, None)


def run_program(source, inputs, seconds):
    function = load(as_function(without_guard(source)), seconds).wrapped_function
    for text in inputs:
        output, stdout = io.StringIO(), sys.stdout
        output.close = lambda _: 1
        sys.stdout = output
        signal.alarm(seconds)
        try:
            call(function, text)
            signal.alarm(0)
        except Exception as error:
            signal.alarm(0)
            return error
        finally:
            signal.alarm(0)
            sys.stdout = stdout
        lines = output.getvalue().strip().split("\n")
        say(output="\n".join(line.strip() for line in lines))


def run_function(source, name, inputs, seconds):
    function = getattr(load(f"{PRELUDE}\n\n{source}", seconds), name)
    inputs = [[json.loads(line) for line in text.split("\n")] for text in inputs]
    for arguments in inputs:
        signal.alarm(seconds)
        try:
            value = function(*arguments)
            signal.alarm(0)
        except Exception as error:
            signal.alarm(0)
            return error
        finally:
            signal.alarm(0)
        # What a program returns may have methods of its own, which may fail.
        try:
            value = plain(value, 0)
        except Exception as error:
            return error
        say(value=value)


def plain(value, depth):
    """A value as JSON that keeps apart what Python's `==` does."""
    if 100 < depth:
        return {"opaque": "deeply nested"}
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, list):
        return [plain(item, depth + 1) for item in list(value)]
    if isinstance(value, tuple):
        return {"tuple": [plain(item, depth + 1) for item in tuple(value)]}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {"dict": {key: plain(item, depth + 1) for key, item in value.items()}}
        return {"opaque": "dict with other keys than texts"}
    if hasattr(value, "__index__"):
        return int(value.__index__())
    if isinstance(value, numbers.Number) and value == value.real:
        # `float` of a `Decimal` or `Fraction` may be near to it only.
        for kind in (float, int):
            number = kind(value.real)
            if number == value:
                return number
    if type(value).__name__ in ("bool", "bool_"):
        return int(bool(value))
    return {"opaque": type(value).__name__}


def say(**what):
    line = json.dumps(what).encode("ascii") + b"\n"
    while line:
        line = line[os.write(OUT, line) :]


def main():
    with open("job.json", encoding="utf-8") as file:
        job = json.load(file)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(50000)
    signal.signal(signal.SIGALRM, on_alarm)
    source, inputs, seconds = job["code"], job["inputs"], job["seconds"]
    for name in IMPORTED:
        if name in source:
            try:
                importlib.import_module(name)
            except ImportError:
                pass
    forbid()
    try:
        if job["function"] is None:
            error = run_program(source, inputs, seconds)
        else:
            error = run_function(source, job["function"], inputs, seconds)
    except Exception as failure:
        say(broken=repr(failure)[:300])
    else:
        if error is None:
            say(done=True)
        else:
            why = repr(error)
            say(stopped="time" if "timeoutexception" in why.lower() else "error", why=why[:300])
    os._exit(0)


OUT = os.dup(1)
main()
