"""What a page holds, read by a parser: tags that are not closed are an error."""

from html.parser import HTMLParser

_EMPTY = {"meta", "img", "input", "br"}


class WebPage(HTMLParser):
    """Reads a page.

    Attributes:
        elements: Name, attributes and text of every element, in the order of their ends.
        text: All text that is shown.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self._open: list[list] = []
        self.feed(source)
        self.close()
        assert not self._open, [name for name, _, _ in self._open]

    def handle_starttag(self, tag, attrs) -> None:
        if tag in _EMPTY:
            self.elements.append((tag, dict(attrs), ""))
        else:
            self._open.append([tag, dict(attrs), ""])

    def handle_endtag(self, tag) -> None:
        if tag in ("path", "circle", "rect") and self._open[-1][0] != tag:
            return  # <path/> is its own end
        name, attributes, words = self._open.pop()
        assert name == tag, f"<{name}> is ended by </{tag}>"
        self.elements.append((name, attributes, words))

    def handle_startendtag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs), ""))

    def handle_data(self, data) -> None:
        for each in self._open:
            each[2] += data
        if not any(name in ("script", "style") for name, _, _ in self._open):
            self.text += data

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        """Return attributes and text of all elements of a kind."""
        return [(attributes, words) for name, attributes, words in self.elements if name == tag]

    def rows(self, caption: str) -> list[list[str]]:
        """Return the cells of the table with a caption that begins so."""
        start = next(
            i
            for i, (name, _, words) in enumerate(self.elements)
            if name == "caption" and words.startswith(caption)
        )
        rows: list[list[str]] = [[]]
        for name, _, words in self.elements[start:]:
            if name in ("th", "td"):
                rows[-1].append(words)
            elif name == "tr":
                rows.append([])
            elif name == "table":
                return rows[:-1]
        raise AssertionError(caption)
