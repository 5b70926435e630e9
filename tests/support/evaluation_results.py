"""What an evaluation has written, read back."""

import csv
import json


def table(out):
    with (out / "per_image.csv").open() as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def summary(out):
    return json.loads((out / "summary.json").read_text())
