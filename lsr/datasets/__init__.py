"""Data sets on disk: tags, paired folders, cached latents and shards."""
