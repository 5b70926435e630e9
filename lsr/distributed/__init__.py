"""Train on several ranks: work of one rank for all, sharded weights, and sharded tensors."""
