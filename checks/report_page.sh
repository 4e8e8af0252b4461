#!/usr/bin/env bash
# The report in a real browser: no text of an issue runs, and it looks right.
# Usage: checks/report_page.sh SORFT RUN FOLDER
# RUN is an evaluation's folder; screenshots go to FOLDER. Wants `chromium`.
set -euo pipefail
sorft=$(realpath "$1")
run=$(realpath "$2")
mkdir -p "$3"
folder=$(realpath "$3")
browser=(chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder/profile")
trap 'rm -rf "$folder/profile" "$folder/hostile"' EXIT

# The same run with issues and completions that try to run as scripts.
rm -rf "$folder/hostile"
cp -r "$run" "$folder/hostile"
python3 - "$folder/hostile" <<'PYTHON'
import json
import pathlib
import sys

hostile = ("</pre></script><script>document.title='OWNED'</script>"
           "<img src=x onerror=\"document.title='OWNED'\"><svg onload=\"document.title='OWNED'\">")
run = pathlib.Path(sys.argv[1])
for name, field in [("records.jsonl", "issue"), ("trajectory.jsonl", "completion")]:
    path = run / name
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row[field] = hostile + row[field]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
PYTHON
"$sorft" report "$folder/hostile" --output "$folder/hostile.html"
"${browser[@]}" --virtual-time-budget=3000 --dump-dom "file://$folder/hostile.html" > "$folder/hostile.dom" 2> /dev/null
grep -q '<title>sorft eval' "$folder/hostile.dom" || { echo "the page did not load, or something ran"; exit 1; }
if grep -q '<title>OWNED' "$folder/hostile.dom"; then echo "a script of an issue ran"; exit 1; fi
# The page's own script did run: it writes how many instances are shown.
grep -Eq 'role="status"[^>]*>[0-9]+ of [0-9]+ instances' "$folder/hostile.dom" || { echo "the page's own script did not run"; exit 1; }

"$sorft" report "$run" --output "$folder/report.html"
# The first instance alone and open, since the browser draws no page that it has scrolled.
python3 - "$folder/report.html" "$folder/instance.html" <<'PYTHON'
import re
import sys

page = open(sys.argv[1], encoding="utf-8").read()
page = re.sub(r"<main>.*?(?=<section aria-labelledby=.instances.)", "<main>", page, flags=re.S)
page = page.replace('<details class="instance"', '<details open class="instance"', 1)
open(sys.argv[2], "w", encoding="utf-8").write(page)
PYTHON
shot() { "${browser[@]}" --virtual-time-budget=3000 "${@:4}" --window-size="$2" --screenshot="$folder/$1.png" "file://$folder/$3" 2> /dev/null; }
shot overview 1200,1600 report.html
shot instance 1200,1400 instance.html
shot narrow 500,1400 report.html
shot dark 1200,1400 instance.html --blink-settings=preferredColorScheme=0
for name in overview instance narrow dark; do test -s "$folder/$name.png"; done
echo "nothing ran; screenshots in $folder"
