"""Starting the server: what has to be there before the first request."""

from __future__ import annotations

from hnvlm.services import context
from hnvlm.ui import launch, server


def test_the_services_are_made_and_the_models_asked_for_before_the_first_request(monkeypatch, store_dir) -> None:
    steps = []

    class Served:
        def run(self, config) -> None:
            assert config["runner.magicEnabled"] is False  # it reads syntax trees while the models are imported
            steps.append(("serves", config["server.port"]))

    class Services:
        def __init__(self) -> None:
            steps.append("services")

        def load_ahead(self) -> None:
            steps.append("models")

    monkeypatch.setattr(context, "app", Services)
    monkeypatch.setattr(server, "create_app", lambda script: Served())
    launch.serve(9001)
    assert steps == ["services", "models", ("serves", 9001)]
