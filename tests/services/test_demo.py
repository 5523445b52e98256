"""The demo case: made once, through intake, marked SYNTHETIC, with its lesions."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from hnvlm.config import PROJECT_DIR, settings
from hnvlm.errors import ModelPackError
from hnvlm.imaging.write import write_dicom_series
from hnvlm.services import demo, intake
from hnvlm.services.context import App
from hnvlm.services.locks import is_held


@pytest.fixture
def app(store_dir):
    app = App(settings(), models=lambda: pytest.fail("the demo case needs no model"))
    yield app
    app.close()


@pytest.fixture(scope="module")
def neck():
    return demo.sample_neck(demo.DEMO_SEED)


@pytest.fixture(scope="module")
def ct(neck):
    """What ``draw_demo_ct`` gives, from the neck that the tests share."""
    return demo.insert_lesions(neck, demo.DEMO_LESIONS, np.random.default_rng(demo.DEMO_LESION_SEED))


@pytest.fixture
def drawn(ct, monkeypatch):
    monkeypatch.setattr(demo, "draw_demo_ct", lambda seed: ct)
    return ct


def test_the_demo_case_goes_through_intake(app, drawn):
    steps = []
    case = demo.create_demo(app, who="tester", progress=lambda f, m: steps.append((f, m)))
    assert case.demo and case.origin == "demo" and "SYNTHETIC" in case.description
    assert case.meta["warnings"] == [], "what the app wrote into its own pixels names no patient"
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


def test_a_series_that_was_handed_in_keeps_the_warning_of_words_in_its_pixels(app, tmp_path, phantom):
    write_dicom_series(phantom, tmp_path, "drawn", synthetic=True)
    (warning,) = intake.create_case(app, intake.open_path(tmp_path)).meta["warnings"]
    assert "burned-in annotation, which may name the patient" in warning


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


def test_every_lesion_found_room_on_the_right(ct, neck):
    """Against the same neck without lesions: as many separate changes as lesions, all on the patient's right."""
    difference = np.abs(ct.array.astype(int) - neck.volume.array) > 20
    parts, count = ndimage.label(ndimage.binary_opening(difference))
    volumes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * ct.voxel_ml
    large = 1 + np.flatnonzero(volumes > 0.6)
    assert len(large) == len(demo.DEMO_LESIONS)
    # x grows to the patient's left.
    cord = np.argwhere(neck.masks["SpinalCord"])[:, 2].mean()
    assert all(ndimage.center_of_mass(parts == part)[2] < cord - 3 for part in large)


def test_equal_seeds_insert_equal_lesions(ct, neck):
    again = demo.insert_lesions(neck, demo.DEMO_LESIONS[:1], np.random.default_rng(demo.DEMO_LESION_SEED))
    other = demo.insert_lesions(neck, demo.DEMO_LESIONS[:1], np.random.default_rng(demo.DEMO_LESION_SEED))
    assert again.content_hash() == other.content_hash() != neck.volume.content_hash()


def test_drawing_a_neck_loads_no_network():
    code = (
        "import sys; from hnvlm.services import demo; "
        "neck = demo.sample_neck(1, spacing_mm=(5.0, 4.0, 4.0), size=128); "
        "demo.insert_lesions(neck, demo.DEMO_LESIONS[:1], demo.np.random.default_rng(1)); "
        "print(sorted({'torch', 'streamlit', 'monai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stderr


def test_three_at_once_make_one_demo_case_and_who_waits_can_stop(app, drawn, monkeypatch) -> None:
    said: list[str] = []
    release = threading.Event()

    def slow(seed):
        release.wait(60)
        return drawn

    class Stopped(Exception):
        """What a job's progress raises when Stop was pressed."""

    def stop(fraction: float, message: str) -> None:
        said.append(message)
        raise Stopped

    monkeypatch.setattr(demo, "draw_demo_ct", slow)
    apps = [App(settings()) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        made = [pool.submit(demo.create_demo, one) for one in apps]
        while not is_held(app.store.path / "demo.lock"):
            time.sleep(0.05)
        with pytest.raises(Stopped):
            demo.create_demo(app, progress=stop)
        release.set()
        ids = {future.result(120).id for future in made}
    for one in apps:
        one.close()
    assert len(ids) == 1 and len(app.store.list_cases()) == 1
    assert said == ["waiting for the demo case that is being made"]
