"""The tables of clinical facts: loaded once, with an index of entries by id and the documents behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from hnvlm.errors import KnowledgeBaseError

DATA_DIR = Path(__file__).resolve().parent / "data"
TABLES = ("staging", "regimens", "radiotherapy", "constraints", "safety", "actions", "templates", "urgent")


@dataclass(frozen=True)
class Document:
    """A document behind a statement.

    Attributes:
        title: Authors, title and place of publication in short.
        grade: A paper, guideline or registry; B reputable secondary page; "" when the document is the program's own
            (findings, form, consistency rules).
    """

    title: str
    year: int | str | None = None
    doi: str = ""
    url: str = ""
    grade: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {"title": self.title, "year": self.year, "doi": self.doi, "url": self.url, "grade": self.grade}


CT_FINDINGS = Document("Findings drafted from this CT (AI draft, research use only)")
CLINICAL_FORM = Document("Clinical form as filled in for this case")
DOSE_METRICS = Document("Dose-volume metrics of this case (prediction or imported dose)")
OWN_TEMPLATE = Document("The clinic's own constraint template (no published source given)")
APP_LOGIC = Document("Consistency rule of this program (no clinical source)")


def documents(entry: dict[str, Any]) -> tuple[Document, ...]:
    """Return the documents of an entry that were read when it was written and are of grade A or B."""
    return tuple(
        Document(s["document"], s.get("year"), s.get("doi", ""), s.get("url", ""), s["grade"])
        for s in entry.get("source", [])
        if s["seen"] and s.get("grade") in ("A", "B")
    )


@dataclass(frozen=True)
class KnowledgeBase:
    """All tables by name and every entry by id. Treat as read-only: one instance is shared by the process."""

    tables: dict[str, Any]
    entries: dict[str, dict[str, Any]]

    def __getitem__(self, table: str) -> Any:
        return self.tables[table]

    def entry(self, entry_id: str) -> dict[str, Any]:
        """Return the entry with this id; KnowledgeBaseError names an id no table holds."""
        try:
            return self.entries[entry_id]
        except KeyError:
            raise KnowledgeBaseError(
                f"No clinical fact has the id {entry_id!r}; check the files in {DATA_DIR}"
            ) from None

    def site_row(self, site: str | None) -> dict[str, Any] | None:
        """Return the row of staging.yaml's site_map for a site key, or None."""
        return next((row for row in self["staging"]["site_map"] if row["site"] == site), None)


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key not in ("source", "_sources", "examples", "when"):
                yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def read_table(name: str) -> Any:
    """Read one YAML table of the data folder. KnowledgeBaseError names the file that is missing or damaged."""
    path = DATA_DIR / f"{name}.yaml"
    # libyaml parses the 300 kB in 0.1 s where pure Python needs 2 s; it is not in every build.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with path.open(encoding="utf-8") as handle:
            return yaml.load(handle, Loader=loader)
    except OSError as error:
        raise KnowledgeBaseError(
            f"Cannot read the clinical table {path}: {error.strerror}. Reinstall hnvlm."
        ) from error
    except yaml.YAMLError as error:
        raise KnowledgeBaseError(f"The clinical table {path} is damaged: {error}. Reinstall hnvlm.") from error


@lru_cache(maxsize=1)
def load_kb() -> KnowledgeBase:
    """Load all tables once per process (about 0.2 s)."""
    tables = {name: read_table(name) for name in TABLES}
    entries: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        for entry in _walk(table):
            entry_id = entry.get("id")
            if isinstance(entry_id, str):
                if entry_id in entries:
                    raise KnowledgeBaseError(f"The id {entry_id!r} is used twice (second time in {name}.yaml)")
                entries[entry_id] = entry
    return KnowledgeBase(tables, entries)
