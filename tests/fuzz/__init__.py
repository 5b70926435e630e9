"""Mutated files for everything that reads files: `make fuzz` runs `python -m fuzz`."""
