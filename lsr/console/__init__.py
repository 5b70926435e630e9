"""What the program writes to the terminal: standard output, and the progress of long work."""
