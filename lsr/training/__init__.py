"""Training: the LightningModule with its optimiser and losses, `lsr fit` and `lsr ablate`."""
