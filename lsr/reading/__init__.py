"""Reading files of any origin: their text, and a word about what is left out."""
