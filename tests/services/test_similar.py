"""Similar cases after the CT encoder was replaced: vectors of two encoders are not compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeModels

from hnvlm.config import Settings
from hnvlm.services import similar, zeroshot
from hnvlm.services.context import App


class OtherEncoder(FakeModels):
    """Another encoder: the same CT gives another vector."""

    def embed(self, volume, *, segmentation) -> np.ndarray:
        return super().embed(volume, segmentation=segmentation)[::-1] * np.float32([1, -1, 1, -1, 1, -1, 1])


def install(models_dir: Path, weights: bytes, version: str) -> str:
    """Put an encoder into a model pack; return the SHA-256 of its weights."""
    folder = models_dir / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text(f'{{"version": "{version}"}}')
    return hashlib.sha256(weights).hexdigest()


@pytest.fixture
def start_app(tmp_path: Path):
    """Start the services anew on the same store, as after a restart of the server."""
    running: list[App] = []

    def start(models: FakeModels) -> App:
        if running:
            running.pop().close()
        running.append(App(Settings(tmp_path / "data", tmp_path / "assets", 1), models=models))
        return running[-1]

    yield start
    running.pop().close()


def test_vectors_of_a_replaced_encoder_are_left_out_said_and_made_anew(start_app, tmp_path, phantom):
    first = install(tmp_path / "assets" / "models", b"weights of the first encoder", "1")
    app = start_app(FakeModels())
    one, two, three = (app.store.add_case(phantom).id for _ in range(3))
    assert similar.index_all(app) == []
    made_by = app.store.latest_result(one, "embedding").provenance
    assert (made_by["model"], made_by["version"], made_by["weights_sha256"]) == ("clip", "1", first)
    assert {c.score for c in similar.stored(app, one)} == {1.0} and similar.left_out(app, one) == ""

    second = install(tmp_path / "assets" / "models", b"weights of the second encoder", "2")
    app = start_app(OtherEncoder())
    assert similar.stored(app, one) is None and "is not the one installed" in similar.left_out(app, one)
    vector = similar.index_case(app, one)
    assert app.store.latest_result(one, "embedding").provenance["weights_sha256"] == second
    assert similar.nearest(app, vector, exclude=one) == [] == similar.stored(app, one)
    assert similar.left_out(app, one).startswith("2 cases are left out: read by another CT encoder.")
    similar.index_case(app, two)
    assert similar.left_out(app, one).startswith("1 case is left out")

    assert app.jobs.wait(similar.start(app, one), 30).state == "done"
    assert {(c.id, c.score) for c in similar.stored(app, one)} == {(two, 1.0), (three, 1.0)}
    assert similar.left_out(app, one) == ""
    assert app.models.calls.count("embed") == 3, "what the encoder made itself is not made again"


def test_a_vector_stored_before_the_encoder_was_remembered_is_made_anew(start_app, tmp_path, phantom):
    install(tmp_path / "assets" / "models", b"weights", "1")
    app = start_app(FakeModels())
    case_id = app.store.add_case(phantom).id
    app.store.save_result(
        case_id, "embedding", {"dimension": 7}, arrays={"vector": np.eye(7, dtype=np.float32)[3]},
        provenance={"model": "segmenter", "weights_sha256": "0" * 64},
    )  # fmt: skip
    assert similar.stored(app, case_id) is None and "is not the one installed" in similar.left_out(app, case_id)
    assert similar.index_case(app, case_id)[0] > 0.5 and app.models.calls.count("embed") == 1
    assert similar.left_out(app, case_id) == ""


def test_without_an_encoder_what_one_encoder_made_is_still_compared(start_app, tmp_path, phantom):
    models_dir = tmp_path / "assets" / "models"
    install(models_dir, b"weights", "1")
    app = start_app(FakeModels())
    one, two = (app.store.add_case(phantom).id for _ in range(2))
    similar.index_all(app)
    (models_dir / "clip" / "model.safetensors").unlink()
    app = start_app(FakeModels())
    assert [c.id for c in similar.stored(app, one)] == [two] and similar.left_out(app, one) == ""


def test_scores_of_labels_name_the_encoder_that_made_them(start_app, tmp_path, phantom):
    weights = install(tmp_path / "assets" / "models", b"weights", "3")
    app = start_app(FakeModels())
    result = zeroshot.score_case(app, app.store.add_case(phantom).id, ["no mass"])
    made_by = result.provenance
    assert (made_by["model"], made_by["version"], made_by["weights_sha256"]) == ("clip", "3", weights)


def test_a_synthetic_case_among_patients_says_so(start_app, tmp_path, phantom):
    install(tmp_path / "assets" / "models", b"weights", "1")
    app = start_app(FakeModels())
    patient, other = (app.store.add_case(phantom).id for _ in range(2))
    demo = app.store.add_case(phantom, demo=True).id
    drawn = app.store.add_case(phantom, meta={"synthetic": True}).id
    similar.index_all(app)
    words = {c.id: c.impression for c in similar.stored(app, patient)}
    synthetic = "SYNTHETIC, not a patient. No report yet."
    assert words == {demo: synthetic, drawn: synthetic, other: ""}
    app.store.save_result(demo, "report", {"sections": {"impression": "Nodes."}}, slot="en", who="model")
    words = {c.id: c.impression for c in similar.stored(app, patient)}
    assert words[demo] == "SYNTHETIC, not a patient. Nodes."
