"""Exit codes of every verb."""

DONE = 0
SOME_FAILED = 1
"""Some inputs failed; each was named, the rest is done."""
BAD_USAGE = 2
"""Bad usage or unusable input; one line said which."""
DIVERGED = 3
"""Training diverged; `divergence.json` lies in the run folder."""
INTERRUPTED = 130
"""Ctrl-C, as shells count it."""
