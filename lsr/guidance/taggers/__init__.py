"""Networks that look at a photograph and name what is in it."""
