"""Model cards and the privacy panel."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st

from hnvlm.ui import html


def show(card: Mapping[str, Any]) -> None:
    """Show one model: what it does, what it learned from, its measured numbers, its card."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{card['name'].capitalize()}**")
            st.badge(f"version {card['version']}", color="gray")
            st.badge(f"{card['size_mb']:.1f} MB", color="gray")
        if card.get("purpose"):
            st.text(f"Used for {card['purpose']}.")
        rows = list(numbers(card["metrics"]))
        if rows:
            html.table(("Measured", "Value"), rows, numeric=(1,))
        else:
            st.caption("No measured numbers are stored with this model.")
        if card["readme"]:
            with st.expander("Model card", key=f"card-{card['name']}"):
                st.markdown(card["readme"])


def numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, value) of nested metrics; numbers with three significant digits."""
    for key, value in metrics.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from numbers(value, f"{name}, ")
        elif isinstance(value, bool) or value is None or isinstance(value, str | int):
            yield name, "not measured" if value is None else str(value)
        elif isinstance(value, float):
            yield name, f"{value:.3g}"


def privacy(data_dir: str) -> None:
    """Show what left this machine (nothing) and the settings that see to it, as they are right now."""
    address = st.get_option("server.address") or "all addresses"
    with st.container(border=True):
        st.markdown("**What left this machine: nothing**")
        html.facts([
            ("Outbound calls", "none: models, fonts and scripts are local files; the browser may load from here only"),
            ("Model hub", "switched off" if os.environ.get("HF_HUB_OFFLINE") == "1" else "NOT switched off"),
            ("Usage statistics", "NOT switched off" if st.get_option("browser.gatherUsageStats") else "switched off"),
            ("Reachable at", f"{address} (this machine alone)" if address in ("127.0.0.1", "localhost") else address),
            ("Cases are stored in", data_dir),
            ("Identity", "names, dates, numbers and free text are removed before anything is stored; uploads that did "
                         "not become a case are erased after a day"),
        ])  # fmt: skip
