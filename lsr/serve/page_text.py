"""The texts of the page as HTML: styles, progress, and one line per photograph."""

import html
from collections.abc import Sequence

from lsr.serve.batch import Line, Progress
from lsr.serve.limits import Limits

STYLES = """
.gradio-container { max-width: 1400px !important; }
#lines ul { list-style: none; margin: 0; padding: 0; }
#lines li { overflow-wrap: anywhere; padding: .15em 0; }
#lines .refused { color: #b3261e; }
.dark #lines .refused { color: #ff9e95; }
#progress progress { width: 100%; height: .8em; accent-color: var(--color-accent); }
#files .download, #files a { pointer-events: none; color: inherit; }
#frame { overflow: auto; max-height: 1000px; }
#frame.actual #slider { width: max-content !important; }
#frame.actual #slider img { width: auto; max-width: none; max-height: none !important; }
#slider [role=slider]:focus-visible { outline: 3px solid var(--color-accent); }
#progress p { margin: 0; overflow-wrap: anywhere; }
"""


def lines_as_html(lines: Sequence[Line]) -> str:
    """Return the list of all lines."""
    items = (
        f'<li class="{"refused" if line.refused else "done"}">{html.escape(line.text)}</li>'
        for line in lines
    )
    return f'<ul role="log">{"".join(items)}</ul>'


def progress_as_html(progress: Progress) -> str:
    """Return the progress of a photograph, in words and as a bar."""
    text = progress.name
    if progress.of > 1:
        text += f" ({progress.number} of {progress.of})"
    if progress.ahead:
        text += f": waits for {progress.ahead} more, of other users"
    else:
        text += f": {progress.share:.0%}"
        if progress.left_s is not None:
            text += f", about {_duration(progress.left_s)} left"
    bar = f'<progress max="1" value="{progress.share:.3f}" aria-label="progress"></progress>'
    return f"<p>{html.escape(text)}</p>{bar}"


def limits_in_words(limits: Limits) -> str:
    """Return what the page takes, in two sentences."""
    return (
        f"Up to {limits.files} photographs of {limits.megapixels:g} megapixels and "
        f"{limits.megabytes:g} MB each. They are deleted when you close the page."
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
