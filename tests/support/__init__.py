"""What several tests share: small models, files in published formats, and the runs of several processes."""
