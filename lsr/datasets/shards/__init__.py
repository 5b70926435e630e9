"""WebDataset tar shards: reading them, indexing them and writing them."""
