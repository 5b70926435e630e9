"""Image quality through pyiqa, with a card per metric."""
