#!/usr/bin/env bash
# Whether the official SWE-bench package reads our predictions, with its own loading code.
# Usage: checks/swebench_predictions.sh DATASET.jsonl PREDICTIONS.jsonl
# Obtains the package (swebench 5.0.2) into a virtual environment of its own.
set -euo pipefail
dataset=$(realpath "$1")
predictions=$(realpath "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "swebench==5.0.2"
"$folder/venv/bin/python" - "$dataset" "$predictions" <<'PYTHON'
import json
import sys

from swebench.harness.constants import KEY_INSTANCE_ID, KEY_MODEL, KEY_PREDICTION
from swebench.harness.utils import get_predictions_from_file

dataset, path = sys.argv[1:]
ids = {json.loads(line)["instance_id"] for line in open(dataset, encoding="utf-8") if line.strip()}
predictions = get_predictions_from_file(path, dataset, "dev")
assert predictions, "no prediction was read"
for prediction in predictions:
    assert set(prediction) >= {KEY_INSTANCE_ID, KEY_MODEL, KEY_PREDICTION}, prediction.keys()
    assert prediction[KEY_INSTANCE_ID] in ids, prediction[KEY_INSTANCE_ID]
    assert isinstance(prediction[KEY_PREDICTION], str), prediction[KEY_INSTANCE_ID]
assert len({prediction[KEY_INSTANCE_ID] for prediction in predictions}) == len(predictions)
filled = sum(bool(prediction[KEY_PREDICTION].strip()) for prediction in predictions)
print(f"swebench reads {len(predictions)} predictions, {filled} with a patch")
PYTHON
