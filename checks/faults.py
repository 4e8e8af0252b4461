"""How many one-line faults of the demo's package `sorft fix` mends, with its tests as judges.

    python checks/faults.py SORFT OUT [flags of `sorft fix`]

Ten faults that its tests notice, one at a time, each with an issue as a user would write it; the
demo's own is the first. Every run has to end with exit code 0 or 1. Prints a Markdown table.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / "fixtures/demo"

# File, right text, wrong text, issue.
FAULTS = [
    ("durations.py", "round(seconds / 60)", "round(seconds / 3600)",
     "Totals are far too small\n\nAfter a day of 1h30m entries the table says 0:02. "
     "format_duration(5400) gives 0:02 instead of 1:30."),
    ("durations.py", '"h": 3600', '"h": 60',
     "Hours count as minutes\n\nAn entry of `2h` adds two minutes to my total: "
     'parse_duration("2h") returns 120.'),
    ("durations.py", "if seconds < 0:", "if seconds > 0:",
     "ValueError: a duration cannot be negative\n\nPrinting any report ends with `ValueError: a duration "
     "cannot be negative`, although all my durations are positive.\n\n"
     '  File "timesheet/durations.py", line 26, in format_duration'),
    ("report.py", "totals.get(entry.project, 0) + entry.seconds", "entry.seconds",
     "Only the last entry of a project counts\n\n"
     "I have two entries for billing, 1h and 2h, and the report shows 2:00 for billing, not 3:00."),
    ("report.py", "dict(sorted(totals.items()))", "totals",
     "Days come out of order\n\ntotal_by_day should list the oldest day first, but it keeps the order of my log."),
    ("report.py", '("total", sum(totals.values()))', '("total", len(totals))',
     "The total line is wrong\n\n"
     "The last line of the table, total, shows 0:00 although the projects above it have hours."),
    ("entries.py", 'not line.startswith("#")', 'line.startswith("#")',
     "Comments are read as entries\n\n"
     "A line such as `# holiday` in the log gives an error, and real entries are skipped by read_entries."),
    ("entries.py", "line.split(None, 3)", "line.split(None, 2)",
     'Notes end up in the project name\n\nparse_entry("2024-03-04 1h billing fix totals") '
     'gives the project "billing fix totals" and no note.'),
    ("durations.py", "text.strip().lower()", "text.strip()",
     'Capital letters are not understood\n\nparse_duration("15M") raises ValueError: not a duration, '
     "it used to work with capitals."),
]
DEMO_FAULT = ("seconds = int(amount)", "seconds += int(amount)")


def lay_out(folder, fault):
    """The demo's package with one fault; the issue's text."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DEMO / "repo", folder)
    if fault is None:
        return (DEMO / "issue.md").read_text(encoding="utf-8")
    name, right, wrong, issue = fault
    durations = folder / "timesheet/durations.py"
    text = durations.read_text(encoding="utf-8")
    assert DEMO_FAULT[0] in text
    durations.write_text(text.replace(*DEMO_FAULT), encoding="utf-8")
    path = folder / "timesheet" / name
    text = path.read_text(encoding="utf-8")
    assert right in text, f"{name}: {right}"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    return issue + "\n"


def main():
    sorft, out, *flags = sys.argv[1:]
    out = pathlib.Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    print("| fault | verdict | samples | s |\n|---|---|---:|---:|")
    n_verified, total = 0, 0.0
    for number, fault in enumerate([None, *FAULTS]):
        folder = out / f"{number}"
        issue = out / f"{number}.md"
        issue.write_text(lay_out(folder, fault), encoding="utf-8")
        began = time.monotonic()
        done = subprocess.run([sorft, "fix", folder, "--issue", issue, "--test", "python3 -m unittest",
                               "--format", "json", *flags], capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode not in (0, 1):
            sys.exit(f"fault {number}: exit code {done.returncode}\n{done.stderr}")
        report = json.loads(done.stdout)
        n_verified += done.returncode == 0 and report["verdict"].startswith("verified")
        total += seconds
        title = issue.read_text(encoding="utf-8").splitlines()[0]
        print(f"| {title} | {report['verdict'].split(';')[0]} | {report['n_samples']} | {seconds:.0f} |", flush=True)
    print(f"\nverified: {n_verified} of {len(FAULTS) + 1}, {total:.0f} s")


if __name__ == "__main__":
    main()
