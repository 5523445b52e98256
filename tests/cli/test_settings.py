"""The environment of a command: its variables, its data folder, and what a terminal makes of odd names."""

from __future__ import annotations

import pytest

from hnvlm import config
from hnvlm.models.pack import load


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HNVLM_DATA_DIR", "", "is set but empty"),
        ("HNVLM_ASSETS_DIR", " ", "is set but empty"),
        ("HNVLM_MODELS_DIR", "", "is set but empty"),
        ("HNVLM_MODELS_DIR", "/no/such/pack", "no such folder. Begin with a copy of"),
        ("HNVLM_DATA_DIR", "~no-such-user/x", "home"),
        ("HNVLM_THREADS", "abc", "a whole number of threads"),
        ("HNVLM_THREADS", "0", "a whole number of threads"),
        ("HNVLM_THREADS", "", "a whole number of threads"),
        ("HNVLM_USER_HEADER", "X-Remote-User: a", "is no name of a header"),
        ("HNVLM_USER_HEADER", "", "is no name of a header"),
        ("HNVLM_RECOGNISE", "no", "0 or 1 is needed"),
        ("HNVLM_HOSTS", "ct.hospital.example https://ct", "'https://ct' is no host name"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(run, tmp_path, monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    config.settings.cache_clear()
    monkeypatch.chdir(tmp_path)
    message = run("inspect", "HN-0001", "--json").refused("usage", status=2)
    assert message.startswith(variable) and words in message
    assert list(tmp_path.iterdir()) == [], "no patient store in whatever folder this is"


@pytest.mark.parametrize("value", ["100000", "99999999999999999999"])
def test_more_threads_than_cores_are_as_many_as_there_are_cores(monkeypatch, value):
    """A hundred thousand ended the process without a word, and more were "a fault of the program"."""
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.setenv("HNVLM_THREADS", value)
    config.settings.cache_clear()
    assert config.settings().threads == 3
    monkeypatch.setenv("HNVLM_THREADS", "2")
    config.settings.cache_clear()
    assert config.settings().threads == 2


def test_a_clinics_own_models_take_the_place_of_the_shipped_ones_and_back(tmp_path, monkeypatch):
    """With HNVLM_ASSETS_DIR the demo's atlas and all else had to be copied along with the models."""
    monkeypatch.setenv("HNVLM_ASSETS_DIR", str(tmp_path / "assets"))
    monkeypatch.setenv("HNVLM_MODELS_DIR", str(tmp_path))
    config.settings.cache_clear()
    assert config.settings().models_dir == tmp_path and config.settings().assets_dir == tmp_path / "assets"
    assert load().folder == tmp_path
    monkeypatch.delenv("HNVLM_MODELS_DIR")
    config.settings.cache_clear()
    assert config.settings().models_dir == tmp_path / "assets" / "models" == load().folder


def test_a_store_that_cannot_be_opened_is_refused(run, store_dir):
    store_dir.write_text("a file")
    assert str(store_dir) in run("inspect", "HN-0001", "--json").refused("store")
    store_dir.unlink()
    store_dir.mkdir()
    (store_dir / "hnvlm.sqlite").write_bytes(b"garbage " * 64)
    assert "restore it from a backup" in run("inspect", "HN-0001", "--json").refused("store")


def test_brackets_in_a_table_are_words(run, nifti):
    labels = ["node [left]", "mass [/x]", ":warning:"]
    printed = run("zeroshot", nifti, "--labels", ";".join(labels))
    assert printed.code == 0 and all(label in printed.stdout for label in labels)
