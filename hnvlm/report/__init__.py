"""Report grammar: findings to text and back, requests for edits, comparison. Pure Python, no torch."""

from hnvlm.report.compare import compare
from hnvlm.report.diff import word_diff
from hnvlm.report.flip import flip_finding
from hnvlm.report.parse import parse, parse_report
from hnvlm.report.render import complete, render, render_finding
from hnvlm.report.request_parse import parse_request
from hnvlm.report.requests import labels_of, sample_request, sample_spec

__all__ = [
    "compare",
    "complete",
    "flip_finding",
    "labels_of",
    "parse",
    "parse_report",
    "parse_request",
    "render",
    "render_finding",
    "sample_request",
    "sample_spec",
    "word_diff",
]
