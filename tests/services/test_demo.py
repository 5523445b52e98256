"""The demo case: made once, through intake, marked SYNTHETIC, with its lesions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hnvlm.config import PROJECT_DIR, settings
from hnvlm.errors import ModelPackError
from hnvlm.services import demo
from hnvlm.services.context import App


@pytest.fixture
def app(store_dir):
    app = App(settings(), models=lambda: pytest.fail("the demo case needs no model"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def ct():
    return demo.draw_demo_ct()


@pytest.fixture
def drawn(ct, monkeypatch):
    monkeypatch.setattr(demo, "draw_demo_ct", lambda seed: ct)
    return ct


def test_the_demo_case_goes_through_intake(app, drawn):
    steps = []
    case = demo.create_demo(app, who="tester", progress=lambda f, m: steps.append((f, m)))
    assert case.demo and case.origin == "demo" and "SYNTHETIC" in case.description
    stored = app.store.load_volume(case.id)
    assert stored.shape == drawn.shape
    assert np.allclose(stored.spacing_mm, drawn.spacing_mm, atol=1e-4)
    assert np.allclose(stored.origin_mm, drawn.origin_mm, atol=1e-3)
    # Voxels are the drawn ones, but for the word burned into the lower left corner of every slice.
    changed = stored.array != drawn.array
    assert changed.any((1, 2)).all()
    rows, columns = drawn.shape[1:]
    assert not changed[:, : rows * 3 // 4].any() and not changed[:, :, columns // 2 + 1 :].any()
    # It hides nothing: there was air.
    assert drawn.array[changed].max() < -900
    fractions = [f for f, _ in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_there_is_one_demo_a_store(app, drawn):
    first = demo.create_demo(app)
    assert demo.create_demo(app).id == first.id
    assert demo.existing_demo(app).id == first.id
    assert len(app.store.list_cases(demo=True)) == 1


def test_an_empty_store_has_no_demo(app):
    assert demo.existing_demo(app) is None


def test_a_missing_atlas_is_named(app, tmp_path, monkeypatch):
    monkeypatch.setenv("HNVLM_ASSETS_DIR", str(tmp_path / "nothing"))
    settings.cache_clear()
    with pytest.raises(ModelPackError, match="cohort atlas"):
        demo.create_demo(app)
    assert app.store.list_cases() == []


def test_every_lesion_found_room(ct):
    """Against the same neck without lesions: three separate changes, on the patient's right, where they were asked."""
    twin = demo.sample_neck(demo.DEMO_SEED).volume
    difference = np.abs(ct.array.astype(int) - twin.array) > 25
    assert difference.any()
    # x grows to the left: the right half has the changes (a tonsil mass may touch the midline).
    middle = ct.mm_to_index(np.zeros(3))[2]
    x = np.argwhere(difference)[:, 2]
    assert (x < middle).mean() > 0.95
    neck = demo.sample_neck(demo.DEMO_SEED)
    single = [
        demo.insert_lesions(neck, (spec,), np.random.default_rng(demo.DEMO_SEED)).array != neck.volume.array
        for spec in demo.DEMO_LESIONS
    ]
    assert [bool(s.any()) for s in single] == [True] * len(demo.DEMO_LESIONS)


def test_drawing_the_demo_loads_no_network():
    code = "import sys; from hnvlm.services import demo; demo.draw_demo_ct(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
