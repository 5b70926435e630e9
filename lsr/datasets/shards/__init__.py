"""WebDataset tar shards: reading them, their index, and writing them."""
