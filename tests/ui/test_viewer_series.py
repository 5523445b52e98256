"""What goes to the browser: encoding, structures, refusals; and the page side without a server."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from ui.fake_app import SHAPE as CASE_SHAPE
from ui.fake_app import add_case, fakes

from hnvlm.errors import FrameOfReferenceError, UsageError
from hnvlm.imaging.masks import PackedMask, PackedMasks
from hnvlm.imaging.volume import Volume
from hnvlm.services import analysis
from hnvlm.ui import picture
from hnvlm.ui.blobs import BlobStore
from hnvlm.ui.viewer import Dose, Overlay, Series
from hnvlm.ui.viewer.series import (
    body_box,
    check_grids,
    display_tables,
    dose_blob,
    mask_blobs,
    pack_masks,
    structure_list,
    to_int16,
    volume_blob,
)

SHAPE = (5, 4, 3)
SPACING = (3.0, 1.25, 2.0)


def volume(fill: float = 0, **kwargs) -> Volume:
    return Volume(np.full(SHAPE, fill, np.float32), kwargs.pop("spacing", SPACING), **kwargs)


@pytest.fixture
def store():
    made = BlobStore()
    yield made
    made.clear()


def test_hu_is_rounded_clipped_and_air_where_unknown() -> None:
    values = np.array([[[0.4, 0.6, -0.6, 40000, -40000, np.nan, np.inf]]], np.float32)
    assert to_int16(values).tolist() == [[[0, 1, -1, 32767, -32768, -1024, 32767]]]
    exact = np.zeros((1, 1, 1), np.int16)
    assert to_int16(exact) is exact


def test_overlapping_structures_keep_their_bits() -> None:
    a, b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    a[0, 0, :2] = True
    b[0, 0, 1:] = True
    packed = pack_masks({"A": a, "B": b})
    assert packed.dtype == np.uint8 and packed[0, 0].tolist() == [1, 3, 2] and packed[1:].max() == 0


@pytest.mark.parametrize(("n", "dtype"), [(8, np.uint8), (9, np.uint16), (17, np.uint32), (32, np.uint32)])
def test_bits_fit_the_number_of_structures(n: int, dtype: type) -> None:
    packed = pack_masks({str(i): np.ones((1, 1, 1), bool) for i in range(n)})
    assert packed.dtype == dtype and int(packed.max()) == 2**n - 1


def test_too_many_or_uneven_structures_are_refused() -> None:
    with pytest.raises(UsageError, match="32"):
        pack_masks({str(i): np.ones((1, 1, 1), bool) for i in range(33)})
    with pytest.raises(UsageError, match="different shapes"):
        pack_masks({"A": np.ones((1, 1, 1), bool), "B": np.ones((2, 1, 1), bool)})


def test_same_shape_different_content_gets_different_blobs(store) -> None:
    first, second = volume(1), volume(2)
    a, b = volume_blob(store, first), volume_blob(store, second)
    assert a.id != b.id and a.slab(0, 1) != b.slab(0, 1)
    assert volume_blob(store, volume(1)) is a  # same content, another object
    masks = {"A": np.zeros(SHAPE, bool)}
    masks["A"][1, 1, 1] = True
    moved = {"A": np.roll(masks["A"], 1, axis=2)}
    assert mask_blobs(store, Overlay(masks))[0].id != mask_blobs(store, Overlay(moved))[0].id


def test_more_structures_than_bits_take_another_array(store) -> None:
    masks = {str(n): np.zeros(SHAPE, bool) for n in range(40)}
    for n, mask in enumerate(masks.values()):
        mask[n % 5, n % 4, n % 3] = True
    for content_id in ("", "known"):
        first, second = mask_blobs(store, Overlay(masks, content_id=content_id))
        assert (first.dtype, second.dtype) == ("uint32", "uint8") and first.id != second.id
    bits = np.frombuffer(second.slab(0, SHAPE[0]), np.uint8).reshape(SHAPE)
    np.testing.assert_array_equal(bits >> 7 & 1, masks["39"])


def _forty() -> dict[str, np.ndarray]:
    """On the first and the last slice and on every border, overlapping, one empty."""
    masks = {str(n): np.zeros(SHAPE, bool) for n in range(40)}
    for n, mask in enumerate(masks.values()):
        mask[n % 5 :, : n % 4 + 1, n % 3 :] = True
    masks["7"][:] = False
    return masks


@pytest.mark.parametrize("content_id", ["", "known"])
def test_packed_structures_show_the_same_picture(content_id: str) -> None:
    masks = _forty()
    shown = []
    for given in (masks, PackedMasks(masks)):
        store = BlobStore()
        overlay = Overlay(given, content_id=content_id)
        check_grids([Series(volume(), "CT")], overlay, None)
        blobs = mask_blobs(store, overlay)
        listed = structure_list(overlay, 0.0075)
        shown.append(([b.id for b in blobs], [b.slab(0, SHAPE[0]) for b in blobs], listed))
        store.clear()
    assert shown[0] == shown[1] and len(shown[0][0]) == 2
    bits = np.frombuffer(shown[1][1][0], "<u4").reshape(SHAPE)
    for n in range(32):
        np.testing.assert_array_equal((bits >> n & 1).astype(bool), masks[str(n)])


def test_packed_structures_are_unpacked_once_for_a_page_that_runs_again(store, monkeypatch) -> None:
    overlay, count = Overlay(PackedMasks(_forty())), []
    part = PackedMask.part
    monkeypatch.setattr(PackedMask, "part", lambda self: (count.append(1), part(self))[1])
    monkeypatch.setattr(PackedMask, "unpack", lambda self: pytest.fail("nothing needs the whole grid of a structure"))
    for _ in range(3):
        check_grids([Series(volume(), "CT")], overlay, None)
        mask_blobs(store, overlay)
        structure_list(overlay, 0.0075)
        assert len(count) == 80  # 40 for the bits, 40 for the list


def test_packed_structures_of_another_grid_are_refused() -> None:
    with pytest.raises(FrameOfReferenceError, match="Cord"):
        check_grids([Series(volume(), "CT")], Overlay(PackedMasks({"Cord": np.zeros((5, 3, 4), bool)})), None)


def test_dose_travels_in_hundredths_of_a_gray(store) -> None:
    gy = np.zeros(SHAPE, np.float32)
    gy[2, 1, 1] = 66.127
    blob = dose_blob(store, Dose(Volume(gy, SPACING)))
    assert np.frombuffer(blob.slab(2, 3), "<u2").reshape(SHAPE[1:])[1, 1] == 6613


def test_structure_list_has_volume_and_a_voxel_inside() -> None:
    ring = np.zeros((5, 7, 7), bool)
    ring[2:4, 1:6, 1:6] = True
    ring[2:4, 2:5, 2:5] = False  # hollow: the centre of mass is not inside
    empty = np.zeros_like(ring)
    listed = structure_list(Overlay({"Bone_Mandible": ring, "Odd": empty}), 0.0075)
    assert listed[0]["ml"] == round(2 * 16 * 0.0075, 1)
    assert ring[tuple(listed[0]["jump"])] and listed[1]["jump"] is None
    assert listed[0]["colour"] == display_tables()["structures"]["colours"]["Bone_Mandible"]


def test_structure_list_says_who_drew_what_under_its_own_name() -> None:
    mask = np.zeros((5, 7, 6), bool)
    mask[2, 1:4, 3] = True
    masks = {"PTV_7000": mask, "uploaded: PTV_7000": mask.copy()}
    unmarked = structure_list(Overlay(masks), 0.0075)
    assert [(s["label"], s["mark"]) for s in unmarked] == [("PTV_7000", ""), ("PTV_7000", "")]
    marked = structure_list(Overlay(masks, sources={"PTV_7000": "AI", "uploaded: PTV_7000": "clinic"}), 0.0075)
    assert [(s["name"], s["label"], s["mark"]) for s in marked] == [
        ("PTV_7000", "PTV_7000", "AI"), ("uploaded: PTV_7000", "PTV_7000", "clinic")
    ]  # fmt: skip


def test_pages_say_of_every_structure_whether_a_model_drew_it(services) -> None:
    app = services(fakes())
    case_id = add_case(app)
    analysis.analyse_case(app, case_id)
    cord = np.zeros(CASE_SHAPE, bool)
    cord[3:5, 4, 6:9] = True
    app.store.save_result(
        case_id, "structures", {"structures": []}, arrays={"masks": {"PTV_7000": cord, "SpinalCord": cord}}
    )
    case = app.store.get_case(case_id)
    assert picture.structures(app, case).sources == {
        "SpinalCord": "AI", "Parotid_L": "AI", "uploaded: PTV_7000": "clinic", "uploaded: SpinalCord": "clinic"
    }  # fmt: skip
    # The plan takes each structure once, the clinic's first.
    assert picture.plan_structures(app, case).sources == {
        "PTV_7000": "clinic", "SpinalCord": "clinic", "Parotid_L": "AI"
    }  # fmt: skip


def test_what_is_not_on_the_grid_is_refused() -> None:
    ct = Series(volume(), "CT")
    assert check_grids([ct], None, None) is ct.volume
    with pytest.raises(FrameOfReferenceError, match="Other"):
        check_grids([ct, Series(volume(spacing=(3.0, 1.25, 2.1)), "Other")], None, None)
    with pytest.raises(FrameOfReferenceError, match="Cord"):
        check_grids([ct], Overlay({"Cord": np.zeros((5, 3, 4), bool)}), None)
    with pytest.raises(FrameOfReferenceError, match="dose"):
        check_grids([ct], None, Dose(volume(origin_mm=(1.0, 0.0, 0.0))))
    framed = Series(volume(frame_of_reference_uid="1.2"), "CT")
    with pytest.raises(FrameOfReferenceError):
        check_grids([framed, Series(volume(frame_of_reference_uid="1.3"), "Other")], None, None)


@pytest.mark.parametrize("of", [None, (0,), (0, 2), (-1, 0), (0, 7)])
def test_difference_must_name_two_images(of) -> None:
    shown = [Series(volume(), "CT"), Series(volume(), "Edited", "synthetic"), Series(None, "D", "difference", of=of)]
    with pytest.raises(UsageError):
        check_grids(shown, None, None)
    with pytest.raises(UsageError):
        check_grids([], None, None)


def test_body_is_found_in_a_field_of_view_that_is_mostly_air() -> None:
    hu = np.full((40, 60, 50), -1000, np.int16)
    hu[10:30, 20:40, 5:25] = 20
    hu[0, 0, 0] = 500  # a speck
    # Margins: 6 mm are 2, 5 and 3 voxels of 3, 1.25 and 2 mm, plus one for the sampling step.
    assert body_box(Volume(hu, SPACING)) == [7, 14, 1, 33, 46, 29]
    hu[:, 55:60, 30:48] = 1500  # letters burnt into every slice, each 2.5 % of the body
    hu[:, 55:60, 30:48:2] = -1000
    hu[3:5, 50, 5:8] = 20
    assert body_box(Volume(hu, SPACING)) == [7, 14, 1, 33, 46, 29]
    assert body_box(Volume(np.full(SHAPE, -1000, np.int16), SPACING)) == [0, 0, 0, *SHAPE]


def test_tables_name_their_source_and_cover_the_keys() -> None:
    tables = display_tables()
    assert all(tables[name]["source"] for name in ("presets", "isodose", "structures"))
    assert [p["key"] for p in tables["presets"]["list"]] == list("12345678")
    levels = [level["percent"] for level in tables["isodose"]["levels"]]
    assert levels == sorted(levels, reverse=True)


def test_without_its_server_the_page_says_so_and_hands_out_nothing() -> None:
    def page() -> None:
        import numpy as np

        from hnvlm.imaging.volume import Volume
        from hnvlm.ui.viewer import Series, jump_to, show

        jump_to("v", 2)
        show("v", [Series(Volume(np.zeros((6, 4, 2), np.int16), (1, 1, 1)), "CT")])

    run = AppTest.from_function(page).run(timeout=60)
    assert not run.exception
    assert "hnvlm serve" in run.info[0].value


def test_component_mounts_in_a_page_test_when_served(monkeypatch) -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st

        import hnvlm.ui.viewer as viewer
        from hnvlm.imaging.volume import Volume

        viewer.browser_id = lambda: "a-browser-cookie-value-1"
        masks = {"Cord": np.ones((6, 4, 2), bool)}
        ct = viewer.Series(Volume(np.zeros((6, 4, 2), np.int16), (1, 1, 1)), "CT")
        viewer.show("v", [ct], masks=masks)
        st.text("shown")

    from hnvlm.ui import viewer
    from hnvlm.ui.access import ACCESS

    monkeypatch.setattr(ACCESS, "serving", True)
    monkeypatch.setattr(viewer, "browser_id", viewer.browser_id)
    run = AppTest.from_function(page).run(timeout=60)
    assert not run.exception and not run.info
    assert run.text[0].value == "shown"
    assert run.run(timeout=60).text[0].value == "shown" and not run.exception


def test_a_jump_in_one_ct_does_not_send_the_next_one_there(monkeypatch) -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st

        import hnvlm.ui.viewer as viewer
        from hnvlm.imaging.volume import Volume

        viewer.browser_id = lambda: "a-browser-cookie-value-1"
        viewer.component = lambda package, name: lambda key, data: st.session_state.update(sent=data["command"])
        if st.session_state.pop("jump", None):
            viewer.jump_to("v", (4, 3, 1))
        hu = np.full((6, 4, 2), st.session_state["case"], np.int16)
        viewer.show("v", [viewer.Series(Volume(hu, (1, 1, 1)), "CT")])

    from hnvlm.ui import viewer
    from hnvlm.ui.access import ACCESS

    monkeypatch.setattr(ACCESS, "serving", True)
    for name in ("browser_id", "component"):
        monkeypatch.setattr(viewer, name, getattr(viewer, name))
    at = AppTest.from_function(page)
    sent = []
    for case, jump in ((1, False), (1, True), (1, False), (2, False), (1, False), (2, True), (1, False)):
        at.session_state["case"] = case
        if jump:
            at.session_state["jump"] = True
        at.run(timeout=60)
        assert not at.exception
        sent.append((at.session_state["sent"] or {}).get("goto"))
    assert sent == [None, [4, 3, 1], [4, 3, 1], None, [4, 3, 1], [4, 3, 1], None]


@pytest.mark.parametrize(("demo", "state"), [(True, "SYNTHETIC"), (False, None)])
def test_the_picture_of_the_demo_case_says_what_it_is(demo: bool, state: str | None) -> None:
    app = SimpleNamespace(store=SimpleNamespace(load_volume=lambda case_id: Volume(np.zeros(SHAPE, np.int16), SPACING)))
    case = SimpleNamespace(id="HN-0001", synthetic=demo, content_hash="x")
    assert picture.original(app, case).state == state
