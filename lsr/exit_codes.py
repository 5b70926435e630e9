"""Exit codes of all verbs of the command line."""

DONE = 0
"""Everything is done."""
SOME_FAILED = 1
"""Some inputs failed; each was reported, and all others are done."""
BAD_USAGE = 2
"""Wrong usage or unusable input; an error message of one line was printed."""
DIVERGED = 3
"""Training diverged; `divergence.json` in the run folder has the details.

`lsr.training.cli` returns this code after a `DivergenceError` of `lsr.training.divergence`.
"""
INTERRUPTED = 130
"""Interrupted by Ctrl-C; shells use the same code (128 + the number of the signal SIGINT)."""
