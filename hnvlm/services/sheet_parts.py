"""What the case sheet is put together with: its one list of sources, and a canvas that numbers the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hnvlm.plan.kb import Document
from hnvlm.plan.render import SOURCES_HEADING, reference

_TAGGED = re.compile(r"\[(S\d+)\] ")


class Sources:
    """The one list of sources of a sheet: that of the plan text, and after it what only the constraints cite.

    Attributes:
        lines: The plan text without its list.
    """

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.lines: list[str] = []
        self._listed: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        for entry in payload.get("sources", ()):
            document = Document(**{k: entry[k] for k in ("title", "year", "doi", "url", "grade")})
            self._listed[entry["tag"]] = reference(document)
            self._tags[document.title] = entry["tag"]
        below = False
        for line in str(payload["text"]).splitlines():
            heading = line.strip() == SOURCES_HEADING
            below = below or heading
            tagged = _TAGGED.match(line) if below else None
            if tagged:  # as a clinician may have corrected it
                self._listed[tagged[1]] = line[tagged.end() :]
            elif not heading:
                self.lines.append(line)

    def tag(self, title: str, words: str) -> str:
        """Return ``[S3]`` for a document of this title; a new one is listed as ``words``."""
        if title not in self._tags:
            number = max((int(tag[1:]) for tag in self._listed), default=0) + 1
            self._tags[title] = f"S{number}"
            self._listed[f"S{number}"] = words
        return f"[{self._tags[title]}]"

    def listed(self) -> list[str]:
        """Return the lines of the list in the order of their numbers."""
        return [f"[{tag}] {self._listed[tag]}" for tag in sorted(self._listed, key=lambda tag: int(tag[1:]))]


def counted_canvas(font: str) -> Any:
    """Return the canvas that writes on each page which of how many it is: known only when all are there."""
    from reportlab.pdfgen.canvas import Canvas

    class Counted(Canvas):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.pages: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self.pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self.pages, start=1):
                self.__dict__.update(page)
                self.setFillColorRGB(0.3, 0.3, 0.3)
                self.setFont(font, 7)
                self.drawRightString(self._pagesize[0] - 42, 22, f"page {number} of {len(self.pages)}")
                super().showPage()
            super().save()

    return Counted
