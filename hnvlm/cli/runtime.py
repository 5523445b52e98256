"""What every command shares: one JSON object or text on stdout, progress on stderr, exit codes."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer
import typer.core

from hnvlm.cli.stopping import EXIT_STOPPED
from hnvlm.errors import CancelledError, HnvlmError, UsageError
from hnvlm.services import dumps

EXIT_UNEXPECTED, EXIT_USAGE, EXIT_REFUSED = 1, 2, 3
# What a disk or a name can be at fault for, and no program: code of the error and what to do.
_ROOM = ("output", "Make room there or name another place.")
_ACCESS = ("output", "Give access to it or name another place.")
_SICK = ("disk", "The disk or the network drive does not answer as it should; look after it and try again.")
NO_FAULT = {
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EFBIG: _ROOM,
    errno.EROFS: _ACCESS, errno.EACCES: _ACCESS, errno.EPERM: _ACCESS,
    errno.EIO: _SICK, errno.ESTALE: _SICK,
    errno.ENAMETOOLONG: ("file_name", "Give a shorter name."),
}  # fmt: skip
# Typer carries its own copy of click from some release on; this finds the right class in either.
_CLICK_ERROR = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class JsonGroup(typer.core.TyperGroup):
    """Command group that reports wrong usage as JSON too when ``--json`` was asked for."""

    _as_json = False

    def main(self, args: Any = None, *positional: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command line; the arguments are those of click."""
        argv = list(args) if args is not None else sys.argv[1:]
        self._as_json = "--json" in argv
        if not standalone_mode or not self._as_json:
            return super().main(args, *positional, standalone_mode=standalone_mode, **extra)
        try:
            code = super().main(args, *positional, standalone_mode=False, **extra)
        except _CLICK_ERROR as error:
            error.show()  # type: ignore[attr-defined]
            print_json(sys.stdout, error_json("usage", error.format_message()))  # type: ignore[attr-defined]
            sys.exit(EXIT_USAGE)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for; Ctrl-C before its session begins is told like one in it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail(Session(self._as_json, sys.stdout), "cancelled", "Stopped.", EXIT_STOPPED)


class Session:
    """Output of one command.

    Attributes:
        as_json: Whether stdout gets exactly one JSON object.
        stdout: The real standard output (``sys.stdout`` points at stderr while the command works).
    """

    def __init__(self, as_json: bool, stdout: TextIO) -> None:
        self.as_json = as_json
        self.stdout = stdout
        self._last = (0.0, "")

    def progress(self, fraction: float, message: str) -> None:
        """Show progress on stderr (``hnvlm.types.Progress``): a line when the message changes, at most 5 a second."""
        now = time.monotonic()
        when, before = self._last
        if message == before or (now - when < 0.2 and fraction < 1.0):
            return
        self._last = (now, message)
        print(f"[{100 * min(1.0, max(0.0, fraction)):3.0f} %] {message}", file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Show a warning on stderr."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def emit(self, payload: dict[str, Any], human: Callable[[], None] | str) -> None:
        """Print the result: JSON with ``--json``, otherwise the text or whatever ``human()`` prints."""
        if self.as_json:
            print_json(self.stdout, payload)
        elif isinstance(human, str):
            print(human, file=self.stdout)
        else:
            human()

    def line(self, text: str = "") -> None:
        """Print one line of human-readable output on stdout."""
        print(text, file=self.stdout)

    def table(self, headings: list[str], rows: list[list[Any]]) -> None:
        """Print a table on stdout."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headings)
        for row in rows:
            # As a plain string, "[left]" in a file name or a label would be read as markup and left out.
            table.add_row(*(Text(str(cell)) for cell in row))
        Console(file=self.stdout, soft_wrap=False).print(table)


@contextlib.contextmanager
def session(as_json: bool, *, server: bool = False) -> Iterator[Session]:
    """Run a command's body: what libraries print goes to stderr, errors become exit codes.

    Args:
        as_json: Whether ``--json`` was asked for.
        server: A server looks after SIGTERM itself; any other command ends by it as by Ctrl-C.

    Exit codes: 0 done, 2 wrong usage, 3 input refused, 130 stopped by the user, 1 a fault of the program.
    """
    _print_anything(sys.stdout, as_json)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    out = Session(as_json, sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr), _ends_by_sigterm(server):
            yield out
    except CancelledError as error:
        _fail(out, error.code, error.message or "Stopped.", EXIT_STOPPED)
    except KeyboardInterrupt:
        _fail(out, "cancelled", "Stopped.", EXIT_STOPPED)
    except UsageError as error:
        _fail(out, error.code, error.message, EXIT_USAGE)
    except HnvlmError as error:
        _fail(out, error.code, error.message, EXIT_REFUSED)
    except (typer.Exit, typer.Abort, _CLICK_ERROR):
        raise
    except BrokenPipeError:
        # Whoever read our output has gone (`hnvlm ... | head`): nothing is wrong and nobody is listening.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        if _no_temporary_folder(error):
            todo = "Make room on its disk, or name a folder that may be written in TMPDIR."
            _fail(out, "output", f"There is no temporary folder that can be used. {todo}", EXIT_REFUSED)
        if error.errno not in NO_FAULT:
            _fail_unexpectedly(out, error)
        code, todo = NO_FAULT[error.errno]
        where = error.filename or f"The output folder, or the temporary one ({tempfile.gettempdir()})"
        _fail(out, code, f"{where}: {error.strerror}. {todo}", EXIT_REFUSED)
    except Exception as error:  # noqa: BLE001 - last line before the user: a traceback helps nobody there
        _fail_unexpectedly(out, error)


@contextlib.contextmanager
def _ends_by_sigterm(server: bool) -> Iterator[None]:
    """Let SIGTERM (a scheduler's time limit, a shutdown) end a command as Ctrl-C does.

    By default it ends the process at once, and what was unpacked of a patient stays in the temporary folder.
    """
    mine = threading.current_thread() is threading.main_thread()
    if server or not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        os._exit(128 + number)  # a process that was forked for part of the work: its parent cleans up

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _no_temporary_folder(error: OSError) -> bool:
    """Whether Python found no place for temporary files: every candidate is full or may not be written."""
    return error.errno == errno.ENOENT and not error.filename and "temporary directory" in str(error.strerror)


def _print_anything(stdout: TextIO, as_json: bool) -> None:
    """Let no character end a command: names of files and Polish words go to consoles and pipes of any code page.

    JSON is UTF-8 whatever the console speaks; a file name that is no text becomes an escape that JSON knows too.
    """
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(encoding="utf-8" if as_json else None, errors="backslashreplace")


def unexpected(error: Exception) -> str:
    """Say that something is a fault of the program; with HNVLM_DEBUG stderr gets where."""
    if os.environ.get("HNVLM_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    return (
        f"{type(error).__name__}: {error}. This is a fault of the program, not of the input. Run it again with "
        "HNVLM_DEBUG=1 in the environment and report what it prints."
    )


def _fail_unexpectedly(out: Session, error: Exception) -> NoReturn:
    _fail(out, "unexpected", unexpected(error), EXIT_UNEXPECTED)


def error_json(code: str, message: str) -> dict[str, Any]:
    """Return the JSON form of an error."""
    return {"error": {"code": code, "message": message}}


def print_json(stdout: TextIO, payload: dict[str, Any]) -> None:
    """Print one JSON object, one line."""
    print(dumps(payload), file=stdout, flush=True)


def _fail(out: Session, code: str, message: str, status: int) -> NoReturn:
    if out.as_json:
        print_json(out.stdout, error_json(code, message))
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise typer.Exit(status)
