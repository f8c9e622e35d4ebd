"""The page of a report as Qt's rich text shows it best. No Qt.

Rich text knows neither the style sheet of the page nor SVG: charts and pictures are left to the
browser, and tables get the looks that their attributes can give.
"""

from __future__ import annotations

import html
from html.parser import HTMLParser

_GONE = ("style", "script", "svg", "head", "nav", "figcaption", "summary")
_SMALL = ("explain", "note", "digest", "muted", "byline", "eyebrow")
_TABLE, _WIDE = ' border="0" cellspacing="0" cellpadding="5"', ' width="100%"'
_PASSED = frozenset({
    "a", "b", "br", "caption", "code", "div", "em", "h1", "h2", "h3", "h4", "li", "ol", "p", "pre",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
})  # fmt: skip
_KEPT = ("colspan", "rowspan", "href", "id")


def rich_text(page: str) -> str:
    """The body of a page for a text browser.

    Parameters
    ----------
    page
        What `render_html` gave.
    """
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return "".join(parser.made)


class _Parser(HTMLParser):
    """Copies what rich text knows, and drops the rest with what is in it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.made: list[str] = []
        self._gone = ""  # the element that is being left out
        self._depth = 0  # of those of its name

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._gone:
            self._depth += tag == self._gone
            return
        if tag in _GONE:
            self._gone, self._depth = tag, 1
            return
        if tag not in _PASSED:
            return
        named = dict(attrs)
        classes = (named.get("class") or "").split()
        kept = "".join(
            f' {name}="{html.escape(value)}"'
            for name in _KEPT
            if (value := named.get(name)) and (name != "href" or value.startswith("#"))
        )
        if tag == "table":
            width = "" if "facts" in classes else _WIDE
            self.made.append(f"<table{_TABLE}{width}>")
        elif tag in ("td", "th"):
            right = "right" if "number" in classes else "left"
            self.made.append(f'<{tag} align="{right}"{kept}>')
        elif set(classes) & set(_SMALL):
            self.made.append(f'<{tag} class="small">')
        else:
            id_ = named.get("id")
            anchor = f'<a name="{html.escape(id_)}"></a>' if id_ else ""
            self.made.append(f"<{tag}{kept}>{anchor}")

    def handle_endtag(self, tag: str) -> None:
        if self._gone:
            self._depth -= tag == self._gone
            self._gone = self._gone if self._depth else ""
            return
        if tag in _PASSED:
            self.made.append(f"</{tag}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._gone and tag == "br":
            self.made.append("<br/>")

    def handle_data(self, data: str) -> None:
        if not self._gone:
            self.made.append(html.escape(data, quote=False))
