#!/usr/bin/env bash
# Whether `--verify docker` reads back what the official harness reports, where there is no Docker:
# the package's own code loads the predictions, grades the tests' outputs that `--verify local`
# kept, and writes its report; only the containers are left out. The verdicts must be the same.
# Usage: checks/swebench_harness.sh DATASET.jsonl REPOS OUT
#   OUT: a folder that `sorft eval verify … --verify local` wrote.
# Obtains the package (swebench 5.0.2) into a virtual environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
sorft=$(realpath "${SORFT:-target/release/sorft}")
dataset=$(realpath "$1")
repos=$(realpath "$2")
out=$(realpath "$3")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "swebench==5.0.2"
cat > "$folder/harness.py" <<'PYTHON'
import argparse
import json
import pathlib
import sys

from swebench.harness.constants import (
    END_TEST_OUTPUT,
    LOG_REPORT,
    RUN_EVALUATION_LOG_DIR,
    START_TEST_OUTPUT,
)
from swebench.harness.grading import get_eval_report
from swebench.harness.reporting import make_run_report
from swebench.harness.run_evaluation import get_dataset_from_preds
from swebench.harness.utils import (
    get_predictions_from_file,
    load_swebench_dataset,
    make_test_spec,
)

kept = pathlib.Path(sys.argv[1])
parser = argparse.ArgumentParser()
for name in ("dataset_name", "predictions_path", "run_id", "report_dir"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--instance_ids", nargs="+")
parser.add_argument("--max_workers", type=int)
parser.add_argument("--timeout", type=int)
args = parser.parse_args(sys.argv[2:])
predictions = get_predictions_from_file(args.predictions_path, args.dataset_name, "test")
predictions = {prediction["instance_id"]: prediction for prediction in predictions}
records = get_dataset_from_preds(
    args.dataset_name, "test", args.instance_ids, predictions, args.run_id, False
)
for record in records:
    name = record["instance_id"]
    logs = [kept / "logs" / f"{name}.{kind}.log" for kind in ("prediction", "gold")]
    log = next((log for log in logs if log.exists()), None)
    if log is None:
        continue
    tests = log.read_text(errors="replace").split("##### the tests begin", 1)[-1]
    model = predictions[name]["model_name_or_path"].replace("/", "__")
    folder = RUN_EVALUATION_LOG_DIR / args.run_id / model / name
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "test_output.txt"
    output.write_text(f"{START_TEST_OUTPUT}\n{tests}\n{END_TEST_OUTPUT}\n")
    report = get_eval_report(make_test_spec(record), predictions[name], str(output), True)
    (folder / LOG_REPORT).write_text(json.dumps(report))
full = load_swebench_dataset(args.dataset_name, "test", args.instance_ids)
make_run_report(predictions, full, args.run_id, None, args.report_dir)
PYTHON
cat > "$folder/python" <<END
#!/bin/sh
# Says that Docker answers, and plays the module.
if [ "\$1" = -c ]; then exit 0; fi
shift 2
exec "$folder/venv/bin/python" "$folder/harness.py" "$out" "\$@"
END
chmod +x "$folder/python"
ids=$(python3 -c "
import json, sys
print(','.join(json.loads(line)['instance'] for line in open(sys.argv[1])))" "$out/verdicts.jsonl")
"$sorft" -q eval verify "$dataset" --repos "$repos" --only "$ids" --out "$folder/out" \
    --predictions "$out/predictions.jsonl" --verify docker --harness-python "$folder/python" || [ $? = 1 ]
python3 - "$out" "$folder/out" <<'PYTHON'
import json
import sys

def read(folder):
    rows = [json.loads(line) for line in open(f"{folder}/verdicts.jsonl", encoding="utf-8")]
    return {row["instance"]: row["outcome"] for row in rows}

# Nothing is said of what cannot be verified here; the harness has no such word.
local = {name: outcome for name, outcome in read(sys.argv[1]).items() if outcome != "unverifiable"}
harness = read(sys.argv[2])
differing = {name: (outcome, harness.get(name)) for name, outcome in local.items() if harness.get(name) != outcome}
print(f"the verdicts on {len(local) - len(differing)} of {len(local)} instances are the same")
for name, (ours, theirs) in differing.items():
    print(f"{name}: {ours}, {theirs}")
sys.exit(bool(differing))
PYTHON
