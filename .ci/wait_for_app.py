"""Wait until the app answers: health endpoint, then the first page and the script it loads.

Usage: wait_for_app.py URL SECONDS. Exit 0 when all three answered, 1 otherwise.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request


def fetch(url: str) -> str:
    """Body of ``url``; raises OSError when it does not answer with 200."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode("utf-8", "replace")


def main(base: str, seconds: float) -> int:
    """Poll until the deadline; print what answered or what did not."""
    deadline = time.monotonic() + seconds
    problem = "no answer"
    while time.monotonic() < deadline:
        try:
            if fetch(f"{base}/_stcore/health").strip() != "ok":
                raise OSError("the health endpoint is not ok")
            page = fetch(f"{base}/")
            script = re.search(r'src="\.?/?(static/[^"]+\.js)"', page)
            if 'id="root"' not in page or script is None:
                raise OSError("the first page is not the app's")
            size = len(fetch(f"{base}/{script.group(1)}"))
            print(f"health ok, first page {len(page)} characters, its script {size}")  # noqa: T201
            return 0
        except (OSError, urllib.error.URLError) as error:
            problem = str(error)
            time.sleep(1)
    print(f"the app at {base} did not answer within {seconds:.0f} s: {problem}")  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].rstrip("/"), float(sys.argv[2])))
