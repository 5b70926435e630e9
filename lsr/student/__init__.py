"""Stage 3: the one-step student, its start and the discriminators that it learns from."""
