"""Figures beside their limits in the words that pages and prints share."""

from __future__ import annotations

from hnvlm.plan.decimals import margin_text, value_text

__all__ = ["margin_text", "value_text"]
