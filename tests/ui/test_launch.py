"""Starting the server: what has to be there before the first request."""

from __future__ import annotations

from hnvlm.services import context
from hnvlm.ui import launch, server


def test_the_services_are_made_before_the_first_request(monkeypatch, store_dir) -> None:
    steps = []

    class Served:
        def run(self, config) -> None:
            steps.append(("serves", config["server.port"]))

    monkeypatch.setattr(context, "app", lambda: steps.append("services"))
    monkeypatch.setattr(server, "create_app", lambda script: Served())
    launch.serve(9001)
    assert steps == ["services", ("serves", 9001)]
