"""Report grammar: findings to text and back, requests for edits, comparison. Pure Python, no torch."""

from hnvlm.report.render import complete, render, render_finding, text_fields
from hnvlm.report.requests import RequestSpec, labels_of, sample_request, sample_spec
from hnvlm.report.vocabulary import size_word, vocabulary

__all__ = [
    "RequestSpec",
    "complete",
    "labels_of",
    "render",
    "render_finding",
    "sample_request",
    "sample_spec",
    "size_word",
    "text_fields",
    "vocabulary",
]
