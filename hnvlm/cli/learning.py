"""Commands for training data, training and evaluation. The heavy modules load only when one of these runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
import typer.core

from hnvlm.cli.inputs import require_folder, require_place
from hnvlm.cli.reading import Json, Out
from hnvlm.cli.runtime import Session, session
from hnvlm.config import settings
from hnvlm.errors import HnvlmError, UsageError

TRAINABLE = ("segmenter", "clip", "report", "dose", "diffusion", "judge", "tumour")
EVALUATIONS = ("segmentation", "dose", "zeroshot", "retrieval", "report", "counterfactual", "tumour", "generation")
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
# What the command itself gives to a trainer or an evaluation.
GIVEN = ("name", "data", "resume")
MAY_BE_ZERO = ("workers", "minutes", "hold_out", "evaluate_every")
Data = Annotated[Path, typer.Option("--data", help="Folder of patients in the case-folder layout.")]


class NameAnywhere(typer.core.TyperCommand):
    """A command whose NAME may also stand behind options of the trainer, which the parser does not know."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the name to the front: behind ``--key`` a word is taken as that option's value, and else as the name."""
        known = TRAINABLE if self.name == "train" else EVALUATIONS
        places = [i for i, word in enumerate(args) if word in known]
        loose = [i for i in places if i == 0 or not re.fullmatch(r"--(?!resume$|json$)[^=]+", args[i - 1])]
        # Of a flag that stands alone ("--from-pack dose") only the trainer knows that no value follows.
        for at in (loose or (places if len(places) == 1 else []))[:1]:
            args = [args[at], *args[:at], *args[at + 1 :]]
        return super().parse_args(ctx, args)


def import_openkbp(
    src: Annotated[Path, typer.Argument(help="The challenge's folder with train-pats and valid-pats.")],
    dst: Annotated[Path, typer.Argument(help="New data folder.")],
    json_: Json = False,
) -> None:
    """Turn the public OpenKBP challenge's CSV folders into the case-folder layout that training reads."""
    with session(json_) as out:
        with _needed("import-openkbp"):
            from hnvlm.train.importer import import_openkbp as run

        payload = run(src, dst, progress=out.progress)
        out.emit(payload, f"{payload['n_patients']} patients in {dst}: {payload['splits']}")


def supervision(
    data: Data,
    out_dir: Out,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many sheets.")] = 20,
    json_: Json = False,
) -> None:
    """Write contact sheets of what the models learn from: source, lesion or finding, sentences."""
    with session(json_) as out:
        require_folder(data, "--data")
        with _needed("supervision"):
            from hnvlm.train.supervision import contact_sheets

        payload = contact_sheets(data, out_dir, n)
        out.emit(payload, lambda: _print_lines(out, payload.get("files", [])))


def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="|".join(TRAINABLE))],
    data: Data,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    json_: Json = False,
) -> None:
    """Train one model; its weights in the model pack are replaced.

    Options of the trainer follow as --key value: --steps N or --minutes N (how long), --from-pack (begin with the
    weights in the pack), --out DIR (another pack), --work DIR (checkpoints; default runs), --batch, --threads,
    --device, --learning-rate, and of all but segmenter and dose --workers. A wrong one lists all that a trainer has.
    """
    with session(json_) as out:
        _require_name(name, TRAINABLE, "train")
        options = extra_options(context.args)
        require_folder(data, "--data")
        with _needed(f"train {name}"):
            from hnvlm.train.cli import train as run
            from hnvlm.train.cli import trainer

            takes = trainer(name)
        wanted = known_options(takes, options)
        # Said before hours of training, not when their weights are to be written.
        require_place((wanted.get("out") or settings().models_dir) / name)
        require_place(wanted.get("work", Path("runs")))
        payload = run(name, data, resume, **wanted)
        out.emit(payload, lambda: _print_pairs(out, payload))


def average(
    first: Annotated[Path, typer.Argument(help="Model folder.")],
    second: Annotated[Path, typer.Argument(help="Model folder of the same network.")],
    out_dir: Annotated[Path, typer.Option("--out", help="New model folder.")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the second model.")] = 0.5,
    json_: Json = False,
) -> None:
    """Write the mean of two sets of weights of one network, and of their thresholds."""
    with session(json_) as out:
        with _needed("average"):
            from hnvlm.train.average import average as run

        payload = run(first, second, out_dir, share)
        out.emit(payload, lambda: _print_pairs(out, payload))


def evaluate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="|".join(EVALUATIONS))],
    data: Data,
    json_: Json = False,
) -> None:
    """Measure one model on patients it never saw.

    Further options follow as --key value: --limit N (the first patients only; nothing is recorded), --record false,
    --processes N (counterfactual).
    """
    with session(json_) as out:
        _require_name(name, EVALUATIONS, "evaluate")
        options = extra_options(context.args)
        require_folder(data, "--data")
        with _needed(f"evaluate {name}"):
            from hnvlm.evaluate.cli import evaluate as run

        payload = run(name, data, **known_options(run, options))
        out.emit(payload, lambda: _print_pairs(out, payload))


def extra_options(args: list[str]) -> dict[str, str | bool]:
    """Turn ``["--steps", "100", "--fast", "--lr=1e-3"]`` into ``{"steps": "100", "fast": True, "lr": "1e-3"}``.

    Raises:
        UsageError: A word that belongs to no option.
    """
    options: dict[str, str | bool] = {}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise UsageError(f"'{word}' belongs to no option; write --key value.")
        key, equals, value = word[2:].partition("=")
        if not equals and rest and not rest[0].startswith("--"):
            value, equals = rest.pop(0), "="
        options[key.replace("-", "_")] = value if equals else True
    return options


def known_options(function: Callable[..., Any], options: dict[str, str | bool]) -> dict[str, Any]:
    """Return the options as ``function`` takes them, by its annotations.

    Raises:
        UsageError: An option the function does not have, or a value it cannot use.
    """
    hints = {k: v for k, v in get_type_hints(function).items() if k not in (*GIVEN, "return")}
    for key in options:
        if key not in hints:
            known = ", ".join(_spelled(k) for k in hints)
            raise UsageError(f"There is no option {_spelled(key)} here; choose among {known}.")
    return {key: _typed(key, value, hints[key]) for key, value in options.items()}


def _spelled(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _typed(key: str, value: str | bool, hint: Any) -> Any:
    """One option's value as its annotation says; a number is above 0, or 0 where that means something."""
    kind = next((k for k in get_args(hint) if k is not type(None)), hint)
    if kind is bool:
        stated = {"true": True, "false": False}.get(str(value).lower())
        if stated is None:
            raise UsageError(f"{_spelled(key)} {value}: true or false is needed.")
        return stated
    if isinstance(value, bool) or not value.strip():
        raise UsageError(f"{_spelled(key)} needs a value.")
    if kind not in (int, float):
        return kind(value)
    try:
        number = float(value)
        if not 0 <= number < math.inf or (number == 0 and key not in MAY_BE_ZERO) or number != kind(number):
            raise ValueError
    except (ValueError, OverflowError) as error:
        what = "whole number" if kind is int else "number"
        raise UsageError(f"{_spelled(key)} {value}: a {what} above 0 is needed.") from error
    return kind(number)


@contextmanager
def _needed(what: str) -> Iterator[None]:
    """Turn a missing Python module into words."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise HnvlmError(
            f"'{what}' needs the Python module {error.name}, which this installation lacks. Install the project again.",
            code="missing_module",
        ) from error


def _require_name(name: str, known: tuple[str, ...], verb: str) -> None:
    if name.startswith("-"):
        raise UsageError(f"Name what to {verb}: one of {', '.join(known)}.")
    if name not in known:
        raise UsageError(f"There is nothing named '{name}' to {verb}; choose one of {', '.join(known)}.")


def _print_lines(out: Session, lines: list[Any]) -> None:
    for line in lines:
        out.line(str(line))


def _print_pairs(out: Session, payload: dict[str, Any]) -> None:
    for key, value in payload.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                out.line(f"{key}.{inner}: {number}")
        else:
            out.line(f"{key}: {value}")
