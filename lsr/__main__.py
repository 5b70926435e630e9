"""Run the command line: `python -m lsr` is the same as `lsr`."""

import sys

from lsr.cli import main

sys.exit(main())
