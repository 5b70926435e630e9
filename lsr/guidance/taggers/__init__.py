"""Networks that look at a photograph and return tags for what is in it.

This module imports nothing, so that the command line can list the taggers quickly. How to add a
tagger is described in `lsr.guidance.taggers.registry`.
"""

TAGGERS = ("ram++", "ram", "clip")
"""Names of the taggers: RAM++ and RAM know 4585 tags; CLIP and SigLIP choose from a given list."""
