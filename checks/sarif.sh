#!/usr/bin/env bash
# Validates what `sorft triage --format sarif` prints against the schema of SARIF 2.1.0 by Python's
# jsonschema, and by the rules of Microsoft's SARIF multitool; and what `--format github` prints
# against the form of workflow commands. Schema and multitool come from npm packages.
#
#     bash checks/sarif.sh SORFT FOLDER
set -euo pipefail
sorft=$(realpath "${1:?wanted the sorft program}")
folder=${2:?wanted a folder to work in}
demo=$(realpath "$(dirname "$0")/../fixtures/demo")
mkdir -p "$folder"
cd "$folder"
rm -rf -- *.sarif *.txt repo
[ -d venv ] || python3 -m venv venv
venv/bin/pip -q install "jsonschema==4.*"
npm install --silent --no-save --prefix npm @microsoft/jest-sarif@1.0.0-beta.0 @microsoft/sarif-multitool-linux@5.7.0
schema=$(find npm/node_modules/@microsoft/jest-sarif -name 'sarif-2.1.0*.json' | head -1)
[ -n "$schema" ] || { echo "the package holds no schema of SARIF 2.1.0" >&2; exit 1; }

# The demo, and a file whose name and contents are as awkward as a repository may have them.
cp -r "$demo/repo" repo
cd repo
name='a, b:c%41 é#?.py'
printf 'def awkward_total(x):\n    return x\n' >"timesheet/$name"
git init -q && git add -A && git -c user.name=x -c user.email=x@x commit -qm x
"$sorft" triage --issue "$demo/issue.md" --format sarif >../issue.sarif
"$sorft" triage --issue "$demo/issue.md" --format github >../issue.txt
log='E  AssertionError: 100%, awkward_total(1):\r\n::error file=x::y\n'"timesheet/$name"':2: AssertionError\n'
printf "${log//%/%%}" | "$sorft" triage --log - --format sarif >../log.sarif
printf "${log//%/%%}" | "$sorft" triage --log - --format github >../log.txt
printf 'def other():\n    return 2\n' >>timesheet/entries.py
git add -A
"$sorft" triage --staged --issue "$demo/issue.md" --format sarif >../staged.sarif || [ $? -eq 1 ]
"$sorft" triage --staged --issue "$demo/issue.md" --format github >../staged.txt || [ $? -eq 1 ]
cd ..

venv/bin/python - "$schema" <<'PYTHON'
import glob, json, re, sys
import jsonschema

schema = json.load(open(sys.argv[1], encoding="utf-8"))
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
check = kind(schema, format_checker=jsonschema.FormatChecker())
broken = {"version": "2.1.0", "runs": [{"results": [{"message": {"text": 1}}]}]}
assert list(check.iter_errors(broken)), "the validator finds nothing wrong with a broken file"
failed = False
for path in sorted(glob.glob("*.sarif")):
    log = json.load(open(path, encoding="utf-8"))
    errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in check.iter_errors(log)]
    failed |= bool(errors)
    print(f"{path}: {len(log['runs'][0]['results'])} results, {len(errors)} errors", *errors[:10], sep="\n  ")
command = re.compile(r"::(notice|warning|error) file=([^,:\r\n]+),line=[1-9][0-9]*,title=([^,:\r\n]+)::([^\r\n]+)")
for path in sorted(glob.glob("*.txt")):
    lines = open(path, encoding="utf-8", newline="").read().split("\n")
    wrong = [line for line in lines[:-1] if not command.fullmatch(line)
             or re.search(r"%(?!25|0D|0A|3A|2C)", line)]
    failed |= bool(wrong) or lines[-1] != "" or len(lines) < 2
    n = {kind: sum(line.startswith(f"::{kind} ") for line in lines) for kind in ("notice", "warning", "error")}
    print(f"{path}: {n}, {len(wrong)} malformed", *wrong[:10], sep="\n  ")
    # GitHub shows ten of each kind for a step, and drops the rest in silence.
    if max(n.values()) > 10:
        failed = True
        print("  more of a kind than GitHub shows for one step")
sys.exit(failed)
PYTHON
multitool=npm/node_modules/@microsoft/sarif-multitool-linux/Sarif.Multitool
chmod +x "$multitool"
DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 "$multitool" validate issue.sarif log.sarif staged.sarif --output report --log ForceOverwrite --level 'Error;Warning'
