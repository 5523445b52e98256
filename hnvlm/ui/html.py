"""Small pieces of HTML for what Streamlit has no quiet widget for. Every text is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import streamlit as st

from hnvlm.services.plain import one_line

BANNER = "AI draft · research use only · not a medical device"

# "IMPRESSION: No mass": the heading of a paragraph that goes on in the same line.
_LEAD = re.compile(r"([^\W\d_][^:a-z]{3,40}):(?=\s)")
_MARKUP = re.compile(r"[\\`*\[\]$<~]|:(?=[\w/])|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
# What a reader of markup makes a link of without any markup: it looks for it after escapes are resolved, so that only a
# character in between helps. This one is invisible and allows no line break.
_ADDRESS = re.compile(r"(?<=:/)(?=/)|(?<=www)(?=\.)|(?<=[-.\w+])(?=@\w)", re.IGNORECASE)
_JOINER = "\N{WORD JOINER}"


def as_written(text: str) -> str:
    """Escape a text for a widget that reads Markdown (``st.error``, labels, titles), so that it is shown as written.

    Messages quote names of files, which come from outside: they may not become links, colours or pictures.
    """
    return _MARKUP.sub(r"\\\g<0>", _ADDRESS.sub(_JOINER, text))


def as_named(name: str) -> str:
    """Escape a name that was typed, for a badge or a title, so that it is one line and shown as it was given."""
    return as_written(one_line(name))


def note(text: str) -> None:
    """Show a text in small grey letters as written, where a caption would read it as markup."""
    st.html(f'<p class="hn-note">{escape(text)}</p>')


def banner() -> None:
    """Show the slim strip that stays on every page."""
    st.html(f'<div class="hn-banner" role="note">{escape(BANNER)}</div>')


def text_block(text: str, *, label: str = "") -> None:
    """Show a report or plan text as written, with its capital headings set apart."""
    lines = []
    for line in text.splitlines():
        heading = line.strip() and line.strip(": ").isupper() and len(line.split()) <= 9
        lines.append(f"<h4>{escape(line.strip(': '))}</h4>" if heading else f"<p>{_lead(line)}</p>" if line else "")
    st.html(f'<div class="hn-text" role="document" aria-label="{escape(label)}">{"".join(lines)}</div>')


def _lead(line: str) -> str:
    """Escape a line; where it begins with a heading in capitals, that heading is bold."""
    found = _LEAD.match(line)
    if found is None or not found[1].isupper():
        return escape(line)
    return f"<strong>{escape(found[1])}:</strong>{escape(line[found.end() :])}"


def diff_block(parts: Sequence[tuple[str, str]]) -> None:
    """Show a difference (``documents.word_diff``): added words underlined, removed ones struck through."""
    tags = {"equal": ("", ""), "insert": ("<ins>", "</ins>"), "delete": ("<del>", "</del>")}
    body = "".join(escape(words).join(tags[op]) for op, words in parts)
    st.html(f'<div class="hn-text hn-diff">{body}</div>')


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = (), tones: Sequence[str] = (),
    keep: Sequence[int] = (), whole: Sequence[int] = (), below: Sequence[str] = (),
) -> None:  # fmt: skip
    """Show a table that wraps; one that is too wide all the same scrolls sideways, and nothing of it is cut off.

    Columns in ``numeric`` are set right, columns in ``keep`` are never broken into two lines, those in ``whole`` never
    within a word; ``tones`` gives a row a colour beside its words: ``good``, ``bad`` or ""; ``below`` a line of its own
    under it, over all columns, or "".
    """
    kinds = {n: kind for kind, columns in (("whole", whole), ("keep", keep), ("num", numeric)) for n in columns}

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{f' class={kinds[n]}' if n in kinds else ''}>{escape(str(cell))}</{tag}>"
            for n, cell in enumerate(row)
        )

    body = "".join(
        _row(cells(row, "td"), tones[n] if n < len(tones) else "", below[n] if n < len(below) else "", len(headers))
        for n, row in enumerate(rows)
    )
    head = f"<thead><tr>{cells(headers, 'th')}</tr></thead>"
    st.html(f'<div style="overflow-x: auto"><table class="hn-table">{head}<tbody>{body}</tbody></table></div>')


def _row(cells: str, tone: str, below: str, width: int) -> str:
    tone = tone if tone in ("good", "bad") else ""
    if not below:
        return f"<tr{f' class={tone}' if tone else ''}>{cells}</tr>"
    first, second = (f'class="{" ".join(filter(None, (tone, kind)))}"' for kind in ("noted", "below"))
    return f"<tr {first}>{cells}</tr><tr {second}><td colspan={width}>{escape(below)}</td></tr>"


def bars(values: Sequence[tuple[str, float]]) -> None:
    """Show labelled probabilities as bars with their number."""
    rows = "".join(
        f'<div class="row"><span>{escape(label)}</span><i><b style="width:{100 * value:.0f}%"></b></i>'
        f"<em>{100 * value:.0f} %</em></div>"
        for label, value in values
    )
    st.html(f'<div class="hn-bars">{rows}</div>')


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Show name and value pairs in two aligned columns."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    st.html(f'<dl class="hn-facts">{rows}</dl>')


def tiles(pairs: Sequence[tuple[str, str]]) -> None:
    """Show a few short values large, side by side."""
    cells = "".join(f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>" for name, value in pairs)
    st.html(f'<div class="hn-tiles">{cells}</div>')


def items(lines: Sequence[str]) -> None:
    """Show a plain list; nothing where it is empty."""
    if not lines:
        return
    st.html('<ul class="hn-items">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")
