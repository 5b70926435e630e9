"""Image quality metrics computed by pyiqa, with a description (card) of each metric."""
