"""Start the app. `hnvlm serve` and `make run` come here."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hnvlm.config import PROJECT_DIR, settings
from hnvlm.errors import UsageError


def serve(port: int = 8501, headless: bool = True, *, address: str = "127.0.0.1", script: Path | None = None) -> None:
    """Serve the app until it is stopped.

    Plain ``streamlit run app.py`` shows the pages but no images: only this server has the guarded
    routes that hand voxels to the browser.

    Args:
        port: TCP port.
        headless: Do not open a browser window.
        address: Address to listen on. The default is reachable from this machine alone, since the
            app has no log-in of its own.
        script: Streamlit entry script; default the project's ``app.py``.

    Raises:
        UsageError: The entry script does not exist, the port is no port or a setting cannot be used.
        HnvlmError: The data folder cannot be used.
    """
    script = (script or PROJECT_DIR / "app.py").resolve()
    if not script.is_file():
        raise UsageError(f"{script} does not exist; run the app from a checkout of the project")
    if not 1 <= port <= 65535:
        raise UsageError(f"port {port} is not between 1 and 65535")
    hosts = settings().hosts  # also sets the offline switches before any library is imported
    from streamlit import net_util
    from streamlit.runtime.pages_manager import PagesManager

    from hnvlm.services import context
    from hnvlm.ui.access import ACCESS
    from hnvlm.ui.server import create_app

    # Streamlit asks hosts on the internet for this machine's address, in the loop that serves everybody.
    net_util.get_external_ip = net_util.get_internal_ip = lambda: None
    context.app()  # a data folder that cannot be used is said here, once, and not to every browser
    import_pages()

    @asynccontextmanager
    async def load_ahead(_: Any) -> AsyncIterator[None]:
        context.app().load_ahead()
        yield
        # A server that is told to stop (SIGTERM) runs no atexit: the patients' pixels would stay in /tmp.
        ACCESS.blobs.clear()
        context.app().close()

    # Until the first st.navigation call Streamlit takes the folder pages/ for its older kind of app and runs a
    # page without app.py around it: a browser that reconnects to /review after a restart would meet that.
    PagesManager.uses_pages_directory = False
    # Streamlit looks for .streamlit/config.toml beside sys.argv[0]; that is to be the script's folder,
    # not the folder of the console command.
    argv, sys.argv = sys.argv, [str(script)]
    try:
        create_app(script, lifespan=load_ahead).run(
            config={
                "server.port": port,
                "server.address": address,
                "server.headless": headless,
                "server.corsAllowedOrigins": [f"{scheme}://{name}" for name in hosts for scheme in ("http", "https")],
                "browser.gatherUsageStats": False,
                # A reload of hnvlm.ui.access by the watcher would forget every grant.
                "server.fileWatcherType": "none",
                "global.developmentMode": False,
                # No page uses it, and Python 3.11 can fail (SystemError) where two threads read syntax trees at once:
                # this one of a page, and the import of the models, which reads hundreds.
                "runner.magicEnabled": False,
                # hnvlm.ui.frame does it, when it stops nothing.
                "runner.postScriptGC": False,
                # Widgets of what is stored start with it and also follow what others store meanwhile.
                "global.disableWidgetStateDuplicationWarning": True,
            }
        )
    finally:
        sys.argv = argv


def import_pages() -> None:
    """Import what the pages are made of, before there is another thread.

    While the models are loaded beside the first pages, both would import the same libraries: Python lets the one wait
    for the other, or hands it a module that is half there.
    """
    import hnvlm.services
    import hnvlm.ui

    for package in (hnvlm.services, hnvlm.ui):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("pandas")  # Streamlit takes it for its first table
