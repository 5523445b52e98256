"""Where options may stand, what a resumed training may change, and Ctrl-C at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hnvlm.cli import learning
from hnvlm.errors import UsageError
from hnvlm.train import cli as train_cli

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def trained(monkeypatch):
    """Calls of a trainer that writes nothing."""
    calls = []

    def run(
        data: Path, out: Path, work: Path, *, resume: bool = False, steps: int = 9, batch: int = 8,
        from_pack: bool = False, hold_out: int = 6,
    ):  # fmt: skip
        calls.append((out.name, resume, steps, batch, from_pack))
        return {"checkpoint": "c", "metrics": {}}

    monkeypatch.setattr(train_cli, "trainer", lambda name: run)
    return calls


@pytest.mark.parametrize(
    "words",
    [
        ["dose", "--steps", "5", "--out", "OUT", "--data", "DATA"],
        ["--steps", "5", "--out", "OUT", "dose", "--data", "DATA"],
        ["--data", "DATA", "--steps=5", "dose", "--out", "OUT"],
        ["--data", "DATA", "--out", "OUT", "--steps", "5", "dose"],
        ["--json", "dose", "--data", "DATA", "--out", "OUT", "--steps", "5"],
    ],
    ids=" ".join,
)
def test_the_name_may_stand_anywhere(run, trained, tmp_path, words):
    """Options before the name were taken for it."""
    (tmp_path / "dose").mkdir()
    places = {"DATA": tmp_path / "dose", "OUT": tmp_path / "out"}
    given = [places.get(w, w) for w in words]
    data = run("train", *given, "--work", tmp_path / "work", "--json").data
    assert data == {"checkpoint": "c", "metrics": {}}
    assert trained == [("dose", False, 5, 8, False)]


def test_a_flag_before_the_name_is_no_option_with_a_value(run, trained, tmp_path):
    run("train", "--from-pack", "judge", "--data", tmp_path, "--work", tmp_path, "--json")
    run("train", "--resume", "judge", "--from-pack", "--data", tmp_path, "--work", tmp_path, "--json")
    assert trained == [("judge", False, 9, 8, True), ("judge", True, 9, 8, True)]


def test_options_without_a_name_say_so(run, tmp_path):
    message = run("train", "--steps", "5", "nothing", "--data", tmp_path, "--json").refused("usage", status=2)
    assert message == f"Name what to train: one of {', '.join(learning.TRAINABLE)}."


def test_a_run_is_resumed_with_the_settings_it_began_with(trained, tmp_path):
    """With another batch the samples repeat or are left out, and the model's folder tells of a run that never was."""

    def train(**options):
        train_cli.train("dose", tmp_path, out=tmp_path / "out", work=tmp_path / "work", **options)

    train(batch=4)
    train(resume=True, batch=4, steps=20)
    with pytest.raises(UsageError, match=r"began with --batch 4 and cannot go on with --batch 8\. Give the same"):
        train(resume=True)
    with pytest.raises(UsageError, match="--hold-out 6 and cannot go on with --hold-out 7"):
        train(resume=True, batch=4, hold_out=7)
    train(batch=8)  # begins anew
    train(resume=True)
    assert [c[3] for c in trained] == [4, 4, 8, 8]
    (tmp_path / "work" / "dose-settings.json").write_text("{")
    with pytest.raises(UsageError, match=r"dose-settings\.json is damaged"):
        train(resume=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a whole console")
@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_while_the_program_is_being_loaded_is_no_traceback(tmp_path, as_json):
    """The libraries take seconds to load; a key pressed then ended in a traceback out of one of them."""
    # Loading is watched from outside: as soon as the first heavy library is mapped, most of it is still to come.
    code = "import hnvlm.cli.stopping, sys; print('ready', file=sys.stderr, flush=True); import hnvlm.cli.__main__"
    loading = "import sys; sys.argv = ['hnvlm', 'inspect', 'nothing'" + (", '--json']" if as_json else "]") + "\n"
    wait = (
        # A test run that a shell started in the background hands on that it does not hear the key.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import builtins; plain = builtins.__import__\n"
        "def slow(name, *rest, **more):\n"
        "    if name == 'typer': print('loading', file=sys.stderr, flush=True); import time; time.sleep(30)\n"
        "    return plain(name, *rest, **more)\n"
        "builtins.__import__ = slow\n"
    )
    env = {**os.environ, "PYTHONPATH": str(REPO), "HNVLM_DATA_DIR": str(tmp_path)}
    program = subprocess.Popen(
        [sys.executable, "-c", loading + wait + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=env, cwd=tmp_path,
    )  # fmt: skip
    while program.stderr.readline().strip() != "loading":
        assert program.poll() is None
    time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=20)
    assert program.returncode == 130
    assert err == "error: Stopped.\n"
    assert out == ('{"error": {"code": "cancelled", "message": "Stopped."}}\n' if as_json else "")


def test_ctrl_c_before_a_command_begins_is_json_too(run, monkeypatch):
    def stopped(json_=False):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "session", stopped)
    ran = run("train", "dose", "--data", ".", "--json")
    assert ran.refused("cancelled", status=130) == "Stopped."
