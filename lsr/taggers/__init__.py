"""What looks at a photograph and tells which objects are in it."""
