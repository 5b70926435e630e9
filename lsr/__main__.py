"""`python -m lsr` is `lsr`."""

import sys

from lsr.cli import main

sys.exit(main())
