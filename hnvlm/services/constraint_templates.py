"""Constraint templates of this installation: the built-in ones, and those that its users edited, in one JSON file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from hnvlm.errors import HnvlmError, UsageError
from hnvlm.imaging.whole import whole_file
from hnvlm.plan import check_name, check_rows, template_rows, templates
from hnvlm.plan.kb import load_kb
from hnvlm.services.context import App
from hnvlm.store import utc_now

DEFAULT = "default"
TITLES = {"default": "Working set", "quantec": "QUANTEC", "nrg_hn004": "NRG-HN004", "gortec": "GORTEC",
          "openkbp": "OpenKBP criteria"}  # fmt: skip


def names(app: App) -> list[str]:
    """Return the names of all templates: built-in, then own."""
    return [*templates(), *sorted(_read(app)["templates"])]


def title(name: str) -> str:
    """Return the name to show."""
    return TITLES.get(name, name)


def rows(app: App, name: str) -> list[dict[str, Any]]:
    """Return the rows of a template for an editor: organ, metric, op, limit, unit, priority, endpoint, source, id."""
    own = _read(app)["templates"].get(name)
    if own is None:
        return template_rows(load_kb(), name)
    out = []
    for row in own["rows"]:
        read = [s["document"] for s in row["source"] if s["seen"]]
        out.append({k: row.get(k, "") for k in ("id", "organ", "metric", "op", "limit", "unit", "priority", "endpoint")}
                   | {"source": row["edited"] or "; ".join(read)})  # fmt: skip
    return out


def own_rows(app: App, name: str) -> list[dict[str, Any]] | None:
    """Return the checked rows of an own template as a plan takes them; None for a built-in one.

    Raises:
        UsageError: No template has this name.
    """
    own = _read(app)["templates"].get(name)
    if own is not None:
        return own["rows"]
    if name not in templates():
        raise UsageError(f"No constraint template '{name}'; choose {', '.join(names(app))}.")
    return None


def stamp(app: App, name: str) -> str:
    """Return a word that changes whenever an own template is saved; "" for a name that none has."""
    return _stamp(_read(app)["templates"].get(name))


def save(
    app: App, name: str, edited: Iterable[Mapping[str, Any]], *, who: str, based_on: str | None = None,
    structures: Collection[str] = (),
) -> str:  # fmt: skip
    """Store an own template; return its name. The built-in ones stay as their sources say.

    Args:
        based_on: ``stamp`` of this name when the editing began. If somebody saved or removed the template meanwhile,
            the save is refused rather than undoing their work; None: whatever stands there is replaced.
        structures: Names of the case at hand: a row may name one as the clinic calls it.

    Raises:
        UsageError: The name or a row cannot be used; the message says which.
        HnvlmError: Code ``conflict``: somebody else's template would be lost.
    """
    name = check_name(name)
    checked = check_rows(load_kb(), edited, who=who, names=structures)
    with _lock(app):
        data = _read(app)
        _require_unchanged(name, data["templates"].get(name), based_on)
        data["templates"][name] = {
            "rows": checked,
            "who": who,
            "saved": utc_now(),
        }
        _write(app, data)
    changed = sum(bool(row["edited"]) for row in checked)
    app.store.log(who, "constraint template saved", details={"name": name, "rows": len(checked), "changed": changed})
    return name


def _stamp(own: Mapping[str, Any] | None) -> str:
    return "" if own is None else hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def _require_unchanged(name: str, own: Mapping[str, Any] | None, based_on: str | None) -> None:
    if based_on is None or _stamp(own) == based_on:
        return
    what = "was removed" if own is None else f"was saved by {own['who'] or 'somebody'}"
    meanwhile = " while you were editing" if based_on else " before"
    raise HnvlmError(
        f"The template '{name}' {what}{meanwhile}, so yours was not stored in its place. Save it under another name, "
        "or close this window and edit the template as it is now.",
        code="conflict",
    )


def remove(app: App, name: str, *, who: str) -> None:
    """Remove an own template; cases that used it go back to the working set.

    Raises:
        UsageError: It is built in, or there is none of this name.
    """
    with _lock(app):
        data = _read(app)
        if name not in data["templates"]:
            raise UsageError(f"'{name}' is no template of your own, so it cannot be removed.")
        removed = data["templates"].pop(name)
        data["chosen"] = {case: used for case, used in data["chosen"].items() if used != name}
        _write(app, data)
    app.store.log(who, "constraint template removed", details={"name": name, "rows": removed["rows"]})


def choose(app: App, case_id: str, name: str) -> None:
    """Remember which template a case is judged by."""
    own_rows(app, name)
    with _lock(app):
        data = _read(app)
        data["chosen"][case_id] = name
        _write(app, data)


def chosen(app: App, case_id: str) -> str:
    """Return the template a case is judged by, the working set unless somebody chose another."""
    return _read(app)["chosen"].get(case_id, DEFAULT)


def fingerprint(app: App, case_id: str) -> str:
    """Return a short word that changes with the rows a case is judged by: another template, or the same one edited."""
    name = chosen(app, case_id)
    own = own_rows(app, name)
    used = template_rows(load_kb(), name) if own is None else own
    return hashlib.sha256(json.dumps([name, used], sort_keys=True).encode()).hexdigest()[:8]


def _path(app: App) -> Path:
    return app.settings.data_dir / "constraint_templates.json"


def _lock(app: App) -> FileLock:
    return FileLock(str(_path(app)) + ".lock")


def _read(app: App) -> dict[str, Any]:
    path = _path(app)
    if not path.is_file():
        return {"templates": {}, "chosen": {}}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data["templates"], dict) or not isinstance(data["chosen"], dict):
            raise ValueError("templates and chosen must be objects")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HnvlmError(
            f"{path} cannot be read ({error}). Restore it from a backup, or remove it to go back to the built-in "
            "constraint templates.",
            code="constraint_templates",
        ) from error
    return data


def _write(app: App, data: Mapping[str, Any]) -> None:
    """Replace the file as a whole: a killed process leaves the old or the new one."""
    with whole_file(_path(app)) as partial, partial.open("w", encoding="utf-8") as out:
        json.dump(data, out, ensure_ascii=False, indent=1)
        out.flush()
        os.fsync(out.fileno())
