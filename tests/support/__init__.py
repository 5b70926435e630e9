"""What several tests share: small models, files in published formats, runs of several processes."""
