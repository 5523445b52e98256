"""The layers, enforced: every import statement of every file, also those inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

BASE = {"errors", "config"}
VALUES = BASE | {"imaging", "types", "intervals"}
# Unit -> units it may import besides itself. "" is the package's own __init__.
ALLOWED: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "config": {"errors"},
    "intervals": set(),
    "imaging": BASE,
    "types": BASE | {"imaging"},
    "models": VALUES,
    "plan": VALUES,
    "report": VALUES,
    "store": VALUES,
    "services": VALUES | {"models", "plan", "report", "store"},
    "evaluate": VALUES | {"models", "plan", "report"},
    "train": VALUES | {"models", "report", "evaluate"},
    "ui": VALUES | {"services"},
    "cli": VALUES | {"services"},
    "pages": VALUES | {"services", "ui"},
    "app": VALUES | {"services", "ui"},
}
# What a unit may import only inside a function, so that `hnvlm --help` and the app stay light.
LAZY: dict[str, set[str]] = {"cli": {"train", "evaluate", "ui"}}
# The package's version is nobody's layer.
FREE_NAMES = {"__version__"}
# The protocol between services and models has no network in it: whoever hands models on may name its type.
CONTRACTS = {"cli": {"hnvlm.models.base"}}

SCREEN = {"streamlit", "plotly"}
NETWORKS = {"torch", "transformers", "diffusers", "monai", "safetensors", "sentence_transformers"}
SCREEN_UNITS = {"ui", "pages", "app"}
NETWORK_UNITS = {"models", "train", "evaluate"}


def unit_of(module: str) -> str | None:
    """Unit of a dotted module name; None for a module outside the project."""
    parts = module.split(".")
    if parts[0] == "hnvlm":
        return parts[1] if len(parts) > 1 else ""
    return parts[0] if parts[0] in ("app", "pages") else None


def module_of(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree: ast.AST, package: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """Yield (node, dotted name) of every import, relative ones resolved, and of import_module("...")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            # `from hnvlm import plan` names a unit; `from hnvlm.plan import dvh` already did.
            for alias in node.names:
                yield node, f"{base}.{alias.name}" if base in ("hnvlm", "pages") else base
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node, node.args[0].value


def in_functions(tree: ast.AST) -> set[ast.AST]:
    """Nodes inside a function body or an ``if TYPE_CHECKING`` block: not run when the module is imported."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or typing_only:
            inside.update(ast.walk(node))
    return inside


def violations(root: Path) -> list[str]:
    """Every import below ``root`` that the layers forbid, as "file:line reason"."""
    files = [*root.glob("app.py"), *root.glob("pages/**/*.py"), *root.glob("hnvlm/**/*.py")]
    found = []
    for path in sorted(files):
        module = module_of(path, root)
        unit = unit_of(module)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        lazy = in_functions(tree)
        for node, name in imported_modules(tree, package):
            where = f"{path.relative_to(root)}:{node.lineno}"
            if unit not in ALLOWED:
                found.append(f"{where} unit {unit!r} is not in the list of layers")
                break
            top, target = name.split(".")[0], unit_of(name)
            if top in SCREEN and unit not in SCREEN_UNITS:
                found.append(f"{where} {top} belongs to app.py, pages and hnvlm.ui")
            elif top in NETWORKS and unit not in NETWORK_UNITS:
                found.append(f"{where} {top} belongs to hnvlm.models, hnvlm.train and hnvlm.evaluate")
            elif target is not None and target != unit and name.split(".")[-1] not in FREE_NAMES:
                allowed = ALLOWED[unit] | (LAZY.get(unit, set()) if node in lazy else set())
                if target not in allowed and name not in CONTRACTS.get(unit, ()):
                    found.append(f"{where} {module} may not import {name}")
    return found


def test_the_project_keeps_its_layers():
    assert violations(REPO) == []


PLANTED = {
    "imaging imports types": ("hnvlm/imaging/a.py", "from hnvlm.types import Finding\n"),
    "siblings": ("hnvlm/plan/a.py", "from hnvlm.report import grammar\n"),
    "sibling by package": ("hnvlm/store/a.py", "from hnvlm import models\n"),
    "sibling inside a function": ("hnvlm/report/a.py", "def f():\n    import hnvlm.plan.dvh\n"),
    "relative sibling": ("hnvlm/models/a.py", "from ..store import cases\n"),
    "relative sibling from __init__": ("hnvlm/models/__init__.py", "from ..plan import dvh\n"),
    "services know a page": ("hnvlm/services/a.py", "import hnvlm.ui\n"),
    "services train": ("hnvlm/services/a.py", "def f():\n    from hnvlm.train import loop\n"),
    "evaluate uses services": ("hnvlm/evaluate/a.py", "from hnvlm.services import analysis\n"),
    "streamlit below ui": ("hnvlm/services/a.py", "def f():\n    import streamlit as st\n"),
    "plotly in the command line": ("hnvlm/cli/a.py", "import plotly.graph_objects as go\n"),
    "torch in services": ("hnvlm/services/a.py", "def f():\n    import torch.nn\n"),
    "torch by name": ("hnvlm/plan/a.py", "import importlib\n\nt = importlib.import_module('torch')\n"),
    "page uses a model": ("pages/a.py", "from hnvlm.models import pack\n"),
    "app uses the store": ("app.py", "from hnvlm.store.cases import CaseStore\n"),
    "command line trains at import": ("hnvlm/cli/a.py", "from hnvlm.train import loop\n"),
    "unknown unit": ("hnvlm/misc/a.py", "import os\n"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_violation_is_found(tmp_path, case):
    name, text = PLANTED[case]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(f"{name}:{2 if 'def f' in text else 3 if 'importlib' in text else 1} ")


FINE = {
    "downwards": ("hnvlm/services/a.py", "from hnvlm import __version__, plan\nfrom hnvlm.store import cases\n"),
    "own unit": ("hnvlm/plan/a.py", "from . import dvh\nfrom .dvh import d95\n"),
    "command line trains on demand": ("hnvlm/cli/a.py", "def f():\n    from hnvlm.train import loop\n"),
    "page": ("pages/a.py", "import streamlit as st\nfrom hnvlm.ui import show\nfrom hnvlm.services import intake\n"),
    "torch in a model": ("hnvlm/models/a.py", "import torch\n"),
}


@pytest.mark.parametrize("case", FINE)
def test_an_allowed_import_is_not_reported(tmp_path, case):
    name, text = FINE[case]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert violations(tmp_path) == []


IMPORT_ALL = """
import importlib, pkgutil, sys
for name in {names!r}:
    module = importlib.import_module(name)
    for info in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        if not info.name.endswith("__main__"):
            importlib.import_module(info.name)
print(" ".join(sorted(set({heavy!r}) & set(sys.modules))))
"""


@pytest.mark.parametrize("name", ["services", "plan", "report", "store", "imaging", "models.base", "cli"])
def test_light_modules_load_neither_networks_nor_screen(name):
    """In a fresh process: import the unit with all its modules, then look at what came along."""
    code = IMPORT_ALL.format(names=[f"hnvlm.{name}"], heavy=sorted(SCREEN | NETWORKS))
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
