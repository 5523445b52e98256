"""``python -m hnvlm.cli``: the same as ``hnvlm``."""

from hnvlm.cli import app

app(prog_name="hnvlm")
