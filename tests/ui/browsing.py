"""A server in its own process and a headless Chromium, for the tests that need both."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
STACKS = "stacks.txt"  # where a server writes on SIGUSR1 what each of its threads does
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# JavaScript: true once every picture of the viewer is drawn from all of its voxels.
VIEWER_READY = """() => { const find = n => { for (const e of n.querySelectorAll('*')) { if (e.viewer) return e.viewer;
  const v = e.shadowRoot && find(e.shadowRoot); if (v) return v; } return null; };
  const v = find(document);
  return v && v.volumes.size && [...v.volumes.values()].every(x => x.ready) && v.panes.length; }"""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(command: list[str], port: int, env: dict[str, str], output: Path, wait_s: float) -> subprocess.Popen:
    """Start a server and return once it answers; what it prints is appended to ``output``."""
    with open(output, "a") as out:
        process = subprocess.Popen(
            command,
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO), **env},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + wait_s
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5)
            return process
        except OSError:
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, output.read_text()
            time.sleep(0.2)
