"""Plots of a report, as SVG by pygal: outcomes by parameters, and durations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from gdbstub.errors import printable
from gdbstub.sweep import summary
from gdbstub.sweep.outcome import Status
from gdbstub.sweep.rows import Row

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import pygal

#: Colours that are told apart also by those who see no red or green (Okabe and Ito).
COLOURS: Final = {
    Status.PASSED: "#009e73",
    Status.FAILED: "#d55e00",
    Status.TIMEOUT: "#e69f00",
    Status.ERROR: "#999999",
}
_BINS: Final = 24
#: Every fourth bin has a label.
_LABELLED: Final = 4
_ROW_HEIGHT: Final = 26
#: Combinations that the plot has bars for.
_MOST: Final = 60


def outcomes(rows: Sequence[Row], varied: Sequence[str]) -> str:
    """Return bars with the number of runs with each outcome, one for each combination."""
    import pygal

    counts = dict(list(summary.tally(rows, varied).items())[:_MOST])
    chart = pygal.HorizontalStackedBar(
        height=130 + _ROW_HEIGHT * len(counts), title="Outcomes", **_common()
    )
    chart.x_labels = [_short(name) for name in reversed(counts)]
    for status in Status:
        chart.add(status.value, [each.get(status, 0) for each in reversed(counts.values())])
    return _svg(chart)


def durations(rows: Sequence[Row]) -> str:
    """Return a histogram of the seconds that the runs took; empty without a run."""
    import pygal

    found = [row.outcome for row in rows if row.outcome is not None]
    if not found:
        return ""
    low, high = (f(outcome.seconds for outcome in found) for f in (min, max))
    width = max(high - low, 0.001) / _BINS
    chart = pygal.StackedBar(height=300, title="Seconds a run", **_common())
    chart.x_labels = [
        "" if each % _LABELLED else f"{low + width * each:.3g}" for each in range(_BINS)
    ]
    for status in Status:
        bins = [0] * _BINS
        for outcome in found:
            if outcome.status is status:
                bins[min(int((outcome.seconds - low) / width), _BINS - 1)] += 1
        chart.add(status.value, bins)
    return _svg(chart)


def _common() -> dict[str, Any]:
    from pygal.style import Style

    style = Style(
        background="transparent", plot_background="transparent", font_family="sans-serif",
        colors=tuple(COLOURS.values()), title_font_size=16, label_font_size=12,
        major_label_font_size=12, legend_font_size=12, opacity=".9",
    )  # fmt: skip
    # Without the scripts that it would load from the network.
    return {
        "style": style, "js": (), "width": 760, "legend_at_bottom": True,
        "disable_xml_declaration": True, "legend_at_bottom_columns": 4, "margin": 10,
    }  # fmt: skip


def _svg(chart: "pygal.Graph") -> str:
    chart.add_xml_filter(_without_scripts)
    text: str = chart.render(is_unicode=True)
    return text


def _without_scripts(root: "Element") -> "Element":
    """Remove what only pygal's scripts would read."""
    for parent in root.iter():
        for script in parent.findall("{*}script"):
            parent.remove(script)
    return root


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 40 else f"…{text[-39:]}"
