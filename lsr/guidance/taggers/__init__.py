"""Networks that look at a photograph and return tags for what is in it.

This module imports nothing, so that the command line can list the taggers quickly. How to add a
tagger is described in `lsr.guidance.taggers.registry`.
"""

TAGGERS = ("ram++", "ram", "clip")
"""Names of the taggers: RAM++ and RAM know 4585 tags; CLIP and SigLIP choose from a given list."""

PUBLISHED = {
    "ram": ("ram_swin_large_14m.pth", "huggingface.co/spaces/xinyu1205/recognize-anything"),
    "ram++": (
        "ram_plus_swin_large_14m.pth",
        "huggingface.co/xinyu1205/recognize-anything-plus-model",
    ),
}
"""Published file of RAM and RAM++, and the page from which to fetch it."""
