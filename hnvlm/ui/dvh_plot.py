"""The dose-volume histogram as a plot: colours of the contours, a second dose dashed beside the first."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import plotly.graph_objects as go

from hnvlm.imaging.dvh import Dvh
from hnvlm.services.palette import structure_colours
from hnvlm.ui.viewer.series import palette

_TEXT, _GRID, _PAPER = "#c9ced3", "#2c3136", "#101214"
STEP_GY, HEIGHT_PX = 0.25, 240
# A legend beside the plot has room for so many names; more would be behind a scroll bar that nobody sees.
BESIDE = 10
# Pixels: a line of the legend, a letter of it, what stands before a name, the column of the page at 1280 pixels.
_ROW, _LETTER, _KEY, _WIDTH = 19, 6, 46, 500


def figure(
    curves: Mapping[str, Dvh],
    other: Mapping[str, Dvh] | None = None,
    *,
    name: str = "",
    other_name: str = "",
    prescription_gy: float | None = None,
) -> go.Figure:
    """Draw cumulative DVHs.

    Args:
        curves: Structure -> DVH, solid, in the order of the viewer's list.
        other: The same under another dose, dashed.
        name, other_name: What the two doses are.
        prescription_gy: Drawn as a thin line.
    """
    plot = go.Figure()
    legend, above = _legend(curves)
    ink = structure_colours(curves, palette())
    end = max([dvh.max_gy for dvh in [*curves.values(), *(other or {}).values()]], default=1.0)
    for structure, dvh in curves.items():
        # A plot reads <...> and %{...} in names: of "Ring <3mm>" it would leave out the size.
        shown = escape(structure.replace("_", " "), quote=False).replace("%{", "%&#123;")
        point = "%{x:.1f} Gy or more: %{y:.1f} %<extra></extra>"
        for source, dash, what in ((dvh, "solid", name), ((other or {}).get(structure), "dash", other_name)):
            if source is None:
                continue
            dose, volume = source.curve(STEP_GY, end)
            plot.add_scatter(
                x=dose.round(3),
                y=volume.round(2),
                mode="lines",
                name=shown,
                legendgroup=structure,
                showlegend=dash == "solid",
                line={"color": ink[structure], "dash": dash, "width": 1.8},
                hovertemplate=f"{shown}{', ' + what if what else ''}<br>{point}",
            )
    if prescription_gy:
        plot.add_vline(x=prescription_gy, line={"color": "#6b747c", "width": 1, "dash": "dot"})
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "ticks": "outside", "tickcolor": _GRID}
    plot.update_layout(
        height=HEIGHT_PX + above,
        margin={"l": 44, "r": 4, "t": 8, "b": 38},
        paper_bgcolor=_PAPER,
        plot_bgcolor=_PAPER,
        font={"color": _TEXT, "size": 12, "family": "system-ui, 'DejaVu Sans', sans-serif"},
        legend=legend,
        hoverlabel={"bgcolor": "#1a1d20", "font": {"color": _TEXT}},
        hovermode="closest",
        xaxis=axis | {"title": {"text": "Dose [Gy]", "standoff": 6}, "range": [0, end * 1.02]},
        yaxis=axis | {"title": {"text": "Volume [%]", "standoff": 4}, "range": [0, 101], "dtick": 20},
    )
    return plot


def _legend(names: Mapping[str, Dvh]) -> tuple[dict, int]:
    """Return where the names stand, and how many pixels they take above the curves."""
    style = {"font": {"size": 11}, "itemwidth": 30, "tracegroupgap": 0, "bgcolor": "rgba(0,0,0,0)"}
    if len(names) <= BESIDE:
        return style, 0
    columns = max(1, _WIDTH // (_KEY + _LETTER * max(map(len, names))))
    rows = -(-len(names) // columns)
    # In a narrower window there are more lines than reckoned here: they take of the height of the curves.
    place = {"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "xref": "container", "x": 0,
             "xanchor": "left", "traceorder": "normal", "maxheight": 0.9}  # fmt: skip
    return style | place, rows * _ROW
