"""Report grammar: findings to text and back, requests for edits, comparison. Pure Python, no torch."""

from hnvlm.report.compare import compare, f1
from hnvlm.report.diff import word_diff
from hnvlm.report.flip import flip_finding, flip_sides
from hnvlm.report.negatives import hard_negatives
from hnvlm.report.parse import ParsedReport, parse, parse_report
from hnvlm.report.render import complete, render, render_finding, text_fields
from hnvlm.report.request_parse import Request, parse_request
from hnvlm.report.requests import RequestSpec, labels_of, sample_request, sample_spec
from hnvlm.report.vocabulary import narrowing_word, size_word, vocabulary

__all__ = [
    "ParsedReport",
    "Request",
    "RequestSpec",
    "compare",
    "complete",
    "f1",
    "flip_finding",
    "flip_sides",
    "hard_negatives",
    "labels_of",
    "narrowing_word",
    "parse",
    "parse_report",
    "parse_request",
    "render",
    "render_finding",
    "sample_request",
    "sample_spec",
    "size_word",
    "text_fields",
    "vocabulary",
    "word_diff",
]
