"""Stored values that are no HU, whatever the series is called."""

from __future__ import annotations

import numpy as np
import pytest
from phantoms import only, refused, write_ct
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


@pytest.mark.parametrize(
    ("kind", "words"),
    [("MGML", "concentrations of a material"), ("Z_EFF", "effective atomic numbers"), ("EDW", "electron densities")],
)
def test_a_map_of_another_quantity_is_refused(tmp_path, kind, words):
    """Dual-energy maps are CT images by modality and class; as HU every measure of them would be wrong."""
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "RescaleType", kind))
    assert f"holds {words} ({kind}), not HU; open the CT itself" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["HU", "", "US", "HU_MOD"])
def test_what_may_be_hu_is_read(tmp_path, kind):
    write_ct(tmp_path, modify=lambda ds, k: setattr(ds, "RescaleType", kind))
    info = only(tmp_path)
    assert info.accepted and bool(info.warnings) == (kind not in ("HU", ""))


def test_values_given_by_a_table_are_refused(tmp_path):
    def change(ds, k):
        del ds.RescaleSlope, ds.RescaleIntercept
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "HU"
        table.add_new(0x00283006, "OW", np.arange(4096, dtype="<u2").tobytes())
        ds.ModalityLUTSequence = Sequence([table])

    files = write_ct(tmp_path, modify=change)
    reason = refused(tmp_path)
    assert "by a table (Modality LUT), which is not read" in reason and any(f.name in reason for f in files)
