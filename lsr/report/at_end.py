"""The report that a run or an evaluation writes about itself when it ends."""

import sys
from pathlib import Path

from lsr.errors import first_clause
from lsr.report.document import REPORT, write_report


def report_at_end(folder: Path, verb: str) -> None:
    """Write `report.html` into a folder, and print its path to stderr.

    A report that cannot be written is told in one line: what has been done stays done.

    Args:
        folder: Folder of the run or the evaluation.
        verb: The verb of the command line that calls this function.
    """
    target = folder / REPORT
    try:
        write_report([folder], target)
    except Exception as error:  # whatever it is, the work is done and must not fail now
        why = f"{type(error).__name__}: {first_clause(error)}"
        sys.stderr.write(f"lsr {verb}: no report ({why}); lsr report {folder} tries again\n")
    else:
        sys.stderr.write(f"report: {target}\n")
