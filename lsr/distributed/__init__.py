"""Several ranks: what one does for all, weights spread over them, and tensors that may be spread."""
