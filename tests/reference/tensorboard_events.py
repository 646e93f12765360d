"""Compares a run's events, as TensorBoard reads them, with its log.csv: python tests/reference/tensorboard_events.py RUN

RUN is the folder of a 'train sft' or 'train finetune' run, cut off and taken up again or not. Needs the package tensorboard.
"""

import csv
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NAMES = {"loss": "loss", "learning_rate": "rate", "gradient_norm": "gradient", "held_out_loss": "held_out"}


def near(a, b):
    return a == b or abs(a - b) <= 1e-6 * max(abs(a), abs(b)) or (a != a and b != b)


def main(run):
    rows = list(csv.DictReader((run / "log.csv").open()))
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    wrong = 0
    for tag, column in NAMES.items():
        expected = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
        found = [(event.step, event.value) for event in events.Scalars(tag)] if expected else []
        same = len(found) == len(expected) and all(a == c and near(b, d) for (a, b), (c, d) in zip(found, expected))
        print(f"{tag}: {len(found)} events, {len(expected)} rows, {'equal' if same else 'NOT EQUAL'}")
        wrong += not same
    return wrong


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))
