"""The services of the process: one object, whoever comes first and however many come at once."""

from __future__ import annotations

import threading
import time

import pytest

from hnvlm.services import context


@pytest.fixture
def no_app_yet(monkeypatch, store_dir):
    """The process as it is before its first request; what a test makes is closed again."""
    monkeypatch.setattr(context, "_app", None)
    yield store_dir
    if context._app is not None:
        context._app.close()


def test_browsers_that_come_at_once_get_the_same_services(no_app_yet, monkeypatch):
    made = []
    real = context.App

    def slow():
        time.sleep(0.05)  # long enough for all of them to find that there is none yet
        made.append(real())
        return made[-1]

    monkeypatch.setattr(context, "App", slow)
    together, got = threading.Barrier(5), []

    def browser():
        together.wait(20)
        got.append(context.app())

    threads = [threading.Thread(target=browser) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(made) == 1 and len(got) == 5 and set(map(id, got)) == {id(made[0])}
    assert len(list((no_app_yet / "owners").glob("*.lock"))) == 1


def test_services_that_could_not_be_made_are_tried_again(no_app_yet, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(context, "App", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            context.app()
    assert context.app().settings.data_dir == no_app_yet
