"""The ``hnvlm`` program. With ``--json`` every command prints exactly one JSON object on stdout.

Progress and logs go to stderr. Exit codes: 0 done, 2 wrong usage, 3 input refused (the JSON then holds
``{"error": {"code", "message"}}``, and the message says what to do), 1 a fault of the program.
"""

from __future__ import annotations

from hnvlm.cli.stopping import ends_at_once

with ends_at_once():
    from typing import Annotated

    import typer

    from hnvlm import __version__
    from hnvlm.cli import archive, drawing, learning, own_case, own_list, reading
    from hnvlm.cli.runtime import JsonGroup

app = typer.Typer(
    name="hnvlm", cls=JsonGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Head-and-neck CT: viewer, drafted report, drafted plan, counterfactual CT. Research use only.",
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hnvlm {__version__}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Head-and-neck CT: viewer, drafted report, drafted plan, counterfactual CT. Research use only."""


app.command("serve")(archive.serve)
app.command("demo")(drawing.demo_)
app.command("inspect")(reading.inspect)
app.command("segment")(reading.segment)
app.command("report")(reading.report)
app.command("zeroshot")(reading.zeroshot_)
app.command("similar")(reading.similar_)
app.command("dose")(reading.dose)
app.command("plan")(reading.plan)
app.command("counterfactual")(drawing.counterfactual_)
app.command("generate")(drawing.generate)
app.command("import-openkbp")(learning.import_openkbp)
app.command("import-case")(own_case.import_case)
app.command("import-cases")(own_list.import_cases)
app.command("supervision")(learning.supervision)
app.command("train", cls=learning.NameAnywhere, context_settings=learning.EXTRA)(learning.train)
app.command("average")(learning.average)
app.command("evaluate", cls=learning.NameAnywhere, context_settings=learning.EXTRA)(learning.evaluate)
app.command("batch")(archive.batch)
app.command("bench")(archive.bench)
app.add_typer(archive.store, name="store")
