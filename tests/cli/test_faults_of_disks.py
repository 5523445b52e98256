"""What is the fault of a disk, a name, an address or a scheduler is told in words, and never as one of the program."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hnvlm.services import export

LONG = "x" * 300


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", LONG),
        ("segment", "NIFTI", "--out", LONG),
        ("plan", "NIFTI", "--structures", LONG),
        ("import-case", "NIFTI", LONG),
        ("train", "dose", "--data", LONG),
    ],
)
def test_a_name_that_is_too_long_is_said(run, nifti, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    message = run(*(str(nifti) if a == "NIFTI" else a for a in command), "--json").refused("file_name")
    assert LONG in message and "shorter name" in message and "fault" not in message


@pytest.mark.parametrize(
    ("number", "code", "todo"),
    [(errno.EFBIG, "output", "Make room"), (errno.EIO, "disk", "network drive"), (errno.ESTALE, "disk", "look after")],
)
def test_a_disk_that_fails_is_no_fault_of_the_program(run, nifti, tmp_path, monkeypatch, number, code, todo):
    def fails(*args, **options):
        raise OSError(number, os.strerror(number), "out/Brainstem.nii.gz")

    monkeypatch.setattr(export, "write_structures", fails)
    message = run("segment", nifti, "--out", tmp_path / "o", "--json").refused(code)
    assert message.startswith(f"out/Brainstem.nii.gz: {os.strerror(number)}. ") and todo in message


def test_a_full_disk_without_a_name_says_where_to_look(run, nifti, tmp_path, monkeypatch):
    """A write to an open file names none: "No space left on device. Make room there" was all that was said."""

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export, "write_structures", full)
    message = run("segment", nifti, "--out", tmp_path / "o", "--json").refused("output")
    assert message.startswith("The output folder, or the temporary one (") and "Make room there" in message


def test_no_temporary_folder_at_all_is_said(run, nifti, monkeypatch):
    def none(*args, **options):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.mkdtemp", none)
    message = run("inspect", nifti, "--json").refused("output")
    assert "TMPDIR" in message and "fault" not in message


@pytest.mark.parametrize("address", ["no such host", "192.0.2.1"])
def test_an_address_that_is_none_of_this_machine_is_wrong_usage(run, monkeypatch, address):
    monkeypatch.setitem(sys.modules, "hnvlm.ui.launch", None)  # it must not come so far
    message = run("serve", "--address", address, "--port", "8977", "--json").refused("usage", status=2)
    assert f"--address {address}" in message and "127.0.0.1" in message


def test_a_port_that_is_taken_is_said_in_json(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "hnvlm.ui.launch", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = run("serve", "--port", port, "--json").refused("port")
    assert message.startswith(f"Port {port} is taken") and "--port" in message


BODY = """
import sys, tempfile, time
from hnvlm.cli import app
from hnvlm.cli.runtime import session

@app.command("wait")
def wait(json_: bool = False):
    with session(True), tempfile.TemporaryDirectory(prefix="hnvlm-"):
        print("there", file=sys.stderr, flush=True)
        time.sleep(60)

app(["wait"])
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to wait for")
def test_a_command_that_is_terminated_leaves_nothing_of_a_patient(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", BODY], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline() == "there\n"
    assert list(tmp_path.glob("hnvlm-*"))
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(stdout) == {"error": {"code": "cancelled", "message": "Stopped."}}
    assert stderr == "error: Stopped.\n"
    assert not list(tmp_path.glob("hnvlm-*"))
