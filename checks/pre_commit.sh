#!/usr/bin/env bash
# The hooks in the real pre-commit framework, from the real wheel.
#
#     checks/pre_commit.sh FOLDER
#
# FOLDER (made anew) gets a virtual environment with maturin and pre-commit, the wheel, and a
# scratch repository. A commit that touches the right place passes, one that does not is told of
# and, with `--strict`, refused; a commit without an issue passes in silence; a broken
# configuration is explained.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "maturin>=1.9,<2" pre-commit
(cd "$here" && "$folder/venv/bin/maturin" build --release --out "$folder/wheels")
wheel=$(ls "$folder"/wheels/*.whl)
echo "wheel: $(basename "$wheel"), $(du -h "$wheel" | cut -f1)"

repo=$folder/repo
cp -r "$here/fixtures/demo/repo" "$repo"
cd "$repo"
export PATH="$folder/venv/bin:$PATH" HOME="$folder/home" PRE_COMMIT_HOME="$folder/pre-commit"
mkdir -p "$HOME"
git init --quiet
git config user.name a
git config user.email a@example.com
echo "issue_file: ISSUE.md" > sorft.yaml
echo ISSUE.md > .gitignore
cat > .pre-commit-config.yaml <<YAML
repos:
  - repo: local
    hooks:
      - id: sorft-triage
        name: the staged change goes where its issue points
        entry: sorft triage --staged
        language: python
        additional_dependencies: ["$wheel"]
        pass_filenames: false
        always_run: true
        verbose: true
YAML
git add -A
git commit --quiet -m base
began=$(date +%s.%N)
pre-commit install --install-hooks > /dev/null
echo "installing the hook: $(echo "$(date +%s.%N) - $began" | bc) s"
fail() { echo "FAILED: $1"; exit 1; }

# Stages a change and tries a commit: `commit NAME FILE` leaves the outcome in $code and $said.
commit() {
    code=0
    echo "# $1" >> "$2"
    git add "$2"
    began=$(date +%s.%N)
    said=$(git commit -m "$1" 2>&1) || code=$?
    echo "$1: exit code $code after $(echo "$(date +%s.%N) - $began" | bc) s"
}

commit "no issue is known" timesheet/report.py
[ $code = 0 ] || fail "a commit without an issue has to pass: $said"
if grep -q agreement <<< "$said"; then fail "it has to pass in silence: $said"; fi

cp "$here/fixtures/demo/issue.md" ISSUE.md
commit "the right place" timesheet/durations.py
[ $code = 0 ] || fail "a commit of the right place has to pass: $said"
grep -q "goes where the issue points" <<< "$said" || fail "it has to be told: $said"

printf 'def unrelated():\n    return 1\n' > timesheet/colours.py
git add -A && git commit --quiet -m "another file" --no-verify
commit "a wrong place" timesheet/colours.py
[ $code = 0 ] || fail "without --strict nothing is refused: $said"
grep -q "goes elsewhere" <<< "$said" || fail "it has to be told: $said"

sed -i 's/--staged/--staged --strict/' .pre-commit-config.yaml
git add -A && git commit --quiet -m strict --no-verify
commit "a wrong place, strict" timesheet/colours.py
[ $code != 0 ] || fail "with --strict it has to be refused: $said"
git reset --quiet --hard
commit "the right place, strict" timesheet/durations.py
[ $code = 0 ] || fail "a commit of the right place has to pass: $said"

echo "issue_fil: ISSUE.md" > sorft.yaml
git add sorft.yaml
commit "a broken configuration" timesheet/durations.py
[ $code != 0 ] || fail "a broken configuration has to be refused: $said"
grep -q "issue_fil" <<< "$said" || fail "it has to be explained: $said"
git reset --quiet --hard

# The issue of the commit message, printed by the user's own command.
mkdir -p "$HOME/.config/sorft"
printf 'cat %s\n' "$here/fixtures/demo/issue.md" > "$folder/issue.sh"
echo "issue_command: sh $folder/issue.sh {number}" > "$HOME/.config/sorft/sorft.yaml"
: > sorft.yaml
rm ISSUE.md
sed -i 's/sorft triage --staged --strict/sorft triage --staged --strict --commit-msg/; s/pass_filenames: false/stages: [commit-msg]/' .pre-commit-config.yaml
git add -A && git commit --quiet -m message --no-verify
pre-commit install --hook-type commit-msg > /dev/null
commit "Mend it (#12)" timesheet/colours.py
[ $code != 0 ] || fail "the issue of the message has to count: $said"
git reset --quiet --hard
commit "Mend durations (#12)" timesheet/durations.py
[ $code = 0 ] || fail "a commit of the right place has to pass: $said"
echo "all as wanted"
