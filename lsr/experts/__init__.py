"""Stage 2: experts that grow from the knee."""
