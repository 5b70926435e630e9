"""Mutate files and read them, in a process that is watched: `python -m fuzz --minutes 10`."""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from fuzz.watched import Fault, fuzz


def main() -> int:
    """Run the fuzzer, print what it found, and return 1 if it found anything."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="longest time (default 10)")
    parser.add_argument("--count", type=int, default=10**9, help="largest number of files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (default 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", help="one kind of files, such as image")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/fuzz"), help="folder for files that found a fault"
    )
    options = parser.parse_args()
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    faults: list[Fault] = []
    numbers = range(options.first, options.first + options.count)
    for kind, fault in fuzz(options.seed, numbers, options.out, options.only):
        kinds[kind] += 1
        if fault is not None:
            faults.append(fault)
            sys.stdout.write(f"file {fault.number} ({kind}, {fault.kept}): {fault.what}\n")
        if time.monotonic() - began > 60 * options.minutes:
            break
    made = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(
        f"{sum(kinds.values())} files in {minutes:.1f} minutes ({made}): {len(faults)} faults\n"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
