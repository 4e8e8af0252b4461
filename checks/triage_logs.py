"""How often `sorft triage --log` finds a symbol that was broken, on logs of real packages.

    python checks/triage_logs.py SORFT OUT N NAME=FOLDER=COMMAND...

In each FOLDER (a clone that may be changed) one operator of a random function is turned round,
COMMAND (a shell command that runs the tests, or the build and the tests) is run, and where it fails,
its log is given to triage; N logs for each package. Logs stay in OUT. A mutation that no test
notices, or that never ends, is tried nowhere. Seeded: the same packages give the same mutations.
"""

import json
import pathlib
import random
import re
import subprocess
import sys

TURNS = [("===", "!=="), ("!==", "==="), ("==", "!="), ("!=", "=="), ("<=", ">"), (">=", "<"), (" < ", " >= "),
         (" > ", " <= "), ("&&", "||"), ("||", "&&"), (" and ", " or "), (" or ", " and "), ("true", "false"),
         ("false", "true"), ("True", "False"), ("False", "True"), (" + 1", " + 2"), (" - 1", " - 2"),
         ("is not None", "is None"), ("if (!", "if (")]
ALONE = {"==": r"(?<![=!<>])==(?!=)", "!=": r"!=(?!=)", "<=": r"<=(?!=)", ">=": r"(?<![=>])>=(?!=)"}


def run(command, folder, seconds=240):
    try:
        return subprocess.run(command, cwd=folder, shell=isinstance(command, str), text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, errors="replace")
    except subprocess.TimeoutExpired:
        return None


def functions(sorft, folder):
    """(path, name, first line, last line) of every function of a source file."""
    told = subprocess.run([sorft, "index", folder, "--symbols", "--format", "json"], capture_output=True, text=True,
                          check=True)
    found = []
    for file in json.loads(told.stdout):
        for symbol in file["symbols"]:
            if symbol["kind"] == "function" and not file["path"].endswith(".h"):
                spans = [place["span"] for place in symbol["places"]]
                found += [(file["path"], symbol["name"], span["first"], span["last"]) for span in spans]
    return found


def mutations(lines, first, last):
    for at in range(first, min(last, len(lines))):
        for old, new in TURNS:
            for match in re.finditer(ALONE.get(old, re.escape(old)), lines[at]):
                if not lines[at].lstrip().startswith(("#", "//", "*", "/*")):
                    yield at, lines[at][:match.start()] + new + lines[at][match.end():]


def place_of(found, path, name):
    for at, symbol in enumerate(found):
        if (symbol["path"], symbol["name"]) == (path, name):
            return at + 1
    return None


def main():
    sorft, out, n_logs, *packages = sys.argv[1:]
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    places, file_places = [], []
    for package in packages:
        name, folder, command = package.split("=", 2)
        subprocess.run(["git", "checkout", "-q", "."], cwd=folder, check=True)
        done = run(command, folder)
        if done is None or done.returncode != 0:
            sys.exit(f"{name}: `{command}` has to pass on the unchanged code\n{done and done.stdout[-2000:]}")
        chosen = functions(sorft, folder)
        draw = random.Random(0)
        draw.shuffle(chosen)
        n_found = 0
        for path, symbol, first, last in chosen:
            if n_found == int(n_logs):
                break
            file = pathlib.Path(folder) / path
            text = file.read_text(encoding="utf-8")
            lines = text.split("\n")
            options = list(mutations(lines, first, last))
            if not options:
                continue
            at, line = draw.choice(options)
            file.write_text("\n".join(lines[:at] + [line] + lines[at + 1:]), encoding="utf-8")
            done = run(command, folder)
            if done is not None and done.returncode != 0:
                log = out / f"{name}-{n_found}.log"
                log.write_text(done.stdout, encoding="utf-8")
                told = subprocess.run([sorft, "triage", folder, "--log", str(log), "--format", "json", "--top", "50"],
                                      capture_output=True, text=True, check=True)
                found = json.loads(told.stdout)["places"]
                places.append(place_of(found["symbols"], path, symbol))
                paths = [f["path"] for f in found["files"]]
                file_places.append(paths.index(path) + 1 if path in paths else None)
                print(f"{log.name}: {path} {symbol}, line {at + 1}: symbol in place {places[-1]}, "
                      f"file in place {file_places[-1]}; {len(done.stdout):,} bytes", flush=True)
                n_found += 1
            file.write_text(text, encoding="utf-8")
    for what, found in [("symbol", places), ("file", file_places)]:
        share = [sum(place is not None and place <= k for place in found) for k in (1, 3, 5)]
        print(f"{what} among the first 1, 3, 5: {share[0]}, {share[1]}, {share[2]} of {len(found)}")


if __name__ == "__main__":
    main()
