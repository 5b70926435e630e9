"""Training: the LightningModule, its optimiser, its losses, and `lsr fit`."""
