"""Start the real app for the browser tests: with fake models or the model pack, and a log of every script run.

Usage: serve_app.py PORT RUN_LOG {fake,fake-out-of-scope,pack}. Never part of the app.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
from pathlib import Path

BUSY_S = 1.5
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]


def count_runs(log: Path) -> None:
    """Write a line for every run of the script, whole page or fragment.

    While a file ``busy`` lies beside the log, each run comes late, as on a machine that has other work.
    """
    from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

    run_script = ScriptRunner._run_script

    def counted(self, rerun_data):
        what = "fragment" if rerun_data.fragment_id or rerun_data.fragment_id_queue else "page"
        with open(log, "a", encoding="utf-8") as out:
            out.write(f"{what}\n")
        return run_script(self, rerun_data)

    begin = ScriptRunner._run_script_thread

    def begin_late(self):
        if log.with_name("busy").exists():
            time.sleep(BUSY_S)
        return begin(self)

    ScriptRunner._run_script = counted
    ScriptRunner._run_script_thread = begin_late


def use_fakes(*, in_scope: bool) -> None:
    """Give the pages services with fake models; each step takes a moment, so that progress and Stop can be seen."""
    from fakes import FakeModels

    from hnvlm.services import context

    services = context.App(models=FakeModels(in_scope=in_scope, on_step=lambda message: time.sleep(0.1)))
    context.app = lambda: services


def main(port: int, log: Path, models: str) -> None:
    from ui.browsing import STACKS

    # The file stays open for as long as the process may be asked where it stands.
    faulthandler.register(signal.SIGUSR1, file=open(log.with_name(STACKS), "w"))  # noqa: SIM115
    count_runs(log)
    if models != "pack":
        use_fakes(in_scope=models == "fake")
    from hnvlm.ui.launch import serve

    serve(port)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
