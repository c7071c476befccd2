"""One HTML page around a picture: nothing from elsewhere, no script, and a policy in it that forbids both."""

from collections.abc import Sequence
from html import escape

_STYLE = """
body { font: 16px/1.45 sans-serif; color: #111; background: #fff; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem }
figure { margin: 1rem 0; overflow-x: auto }
svg { height: auto; min-width: 48rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { border: 1px solid #999; padding: .2rem .6rem; text-align: right }
th { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
p.note { border-left: 4px solid #111; padding-left: .8rem }
@media print { svg { min-width: 0 } }
"""


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(
    title: str,
    lead: Sequence[str],
    figure: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    how_to_read: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> str:
    """The page as one HTML document; all but the figure is plain text and is escaped.

    lead: paragraphs at the top; figure: one <svg> element; columns and rows: a table of the same figures; how_to_read: name
    of a panel and what it shows; notes: what the picture leaves out.
    """
    head = "".join(f"<th>{escape(c)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>\n" for row in rows)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "".join(f"<p>{escape(text)}</p>\n" for text in lead)
        + "".join(f'<p class="note">{escape(text)}</p>\n' for text in notes)
        + f"<figure>{figure}</figure>\n"
        + f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"
        + "<h2>How to read the picture</h2>\n<dl>"
        + "".join(f"<dt><b>{escape(name)}</b></dt><dd>{escape(text)}</dd>\n" for name, text in how_to_read)
        + "</dl>\n</body></html>\n"
    )
