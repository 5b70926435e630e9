"""Exports of `lsr degrade export`: how to make one, and what its folder contains."""

import json

from lsr.cli import main
from lsr.degradations.export_folder import PARAMETERS_FILE


def export(source, out, *options):
    """Export the LR images of `source` into `out`; the exit code."""
    return main(["degrade", "export", str(source), "--out", str(out), *map(str, options)])


def lines(out):
    """The parameters of every LR image of an export."""
    return [json.loads(line) for line in (out / PARAMETERS_FILE).read_text().splitlines()]


def content(out):
    """The bytes of every file of an export, by its name."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }
