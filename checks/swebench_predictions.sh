#!/usr/bin/env bash
# Whether the official SWE-bench package reads our predictions, with its own loading and
# validation, and whether its own grading of the tests' outputs agrees with our verdicts.
# Usage: checks/swebench_predictions.sh DATASET.jsonl OUT
#   OUT: a folder that `sorft eval` or `sorft eval verify` wrote; its logs are graded where there
#   are verdicts.
# Obtains the package (swebench 5.0.2) into a virtual environment of its own.
set -euo pipefail
dataset=$(realpath "$1")
out=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "swebench==5.0.2"
cd "$folder"
"$folder/venv/bin/python" - "$dataset" "$out" <<'PYTHON'
import json
import pathlib
import sys

from swebench.harness.constants import END_TEST_OUTPUT, START_TEST_OUTPUT
from swebench.harness.grading import get_eval_report
from swebench.harness.run_evaluation import get_dataset_from_preds
from swebench.harness.utils import get_predictions_from_file, make_test_spec

dataset, out = sys.argv[1], pathlib.Path(sys.argv[2])
predictions = get_predictions_from_file(str(out / "predictions.jsonl"), dataset, "dev")
assert predictions, "no prediction was read"
for prediction in predictions:
    assert isinstance(prediction["model_patch"], str), prediction["instance_id"]
    assert prediction["model_name_or_path"], prediction["instance_id"]
by_id = {prediction["instance_id"]: prediction for prediction in predictions}
assert len(by_id) == len(predictions), "an instance is predicted twice"
# Fails where a prediction is for no instance of the dataset.
records = get_dataset_from_preds(dataset, "dev", None, by_id, "check", False)
filled = sum(bool(prediction["model_patch"]) for prediction in predictions)
assert len(records) == filled, (len(records), filled)
print(f"swebench reads {len(predictions)} predictions, {filled} with a patch")

verdicts = out / "verdicts.jsonl"
if not verdicts.exists():
    sys.exit()
records = {record["instance_id"]: record for record in records}
agreed, differing = 0, []
for line in verdicts.read_text().splitlines():
    verdict = json.loads(line)
    name = verdict["instance"]
    logs = [out / "logs" / f"{name}.{kind}.log" for kind in ("prediction", "gold")]
    log = next((log for log in logs if log.exists()), None)
    if name not in records or log is None:
        continue
    # As its own script frames the tests' output.
    tests = log.read_text(errors="replace").split("##### the tests begin", 1)[-1]
    framed = pathlib.Path("test_output.txt")
    framed.write_text(f"{START_TEST_OUTPUT}\n{tests}\n{END_TEST_OUTPUT}\n")
    spec = make_test_spec(records[name])
    report = get_eval_report(spec, by_id[name], str(framed), True)[name]
    if report["resolved"] == (verdict["outcome"] == "resolved"):
        agreed += 1
    else:
        differing.append(f"{name}: ours {verdict['outcome']}, theirs {report['resolved']}")
print(f"its grading agrees with {agreed} of {agreed + len(differing)} verdicts")
for line in differing:
    print(line)
sys.exit(bool(differing))
PYTHON
