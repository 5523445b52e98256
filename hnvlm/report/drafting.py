"""What the report model needs of the grammar: what it is told, what its lines may say, how it ends.

The models know no grammar; this module is handed to them (``hnvlm.models.base.ReportWords``).
"""

from __future__ import annotations

from hnvlm.report.impression import impression_of
from hnvlm.report.measured import headings, lesion_lines, measured_lines

__all__ = ["headings", "impression_of", "lesion_lines", "measured_lines"]
