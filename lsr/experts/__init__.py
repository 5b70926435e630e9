"""Stage 2 of training: a mixture of experts, each a copy of the knee at the start."""
