"""Data on disk: tags, pairs of folders, cached latents and shards."""
