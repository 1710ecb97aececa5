"""Lines on logarithmic axes, as an SVG drawing of a few elements."""

from math import log10
from typing import Final

from bench.growth import Panel, Series

_WIDTH, _HEIGHT = 320, 240
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 30, 20, 58
#: For the lines of each stub, in their order.
_COLOURS: Final = {"QEMU": ("#b3541e", "#e3a46f"), "gdbstub": ("#1e6fb3", "#77b5e5")}
_STYLE: Final = "font: 11px sans-serif"


def svg(panels: list[Panel]) -> str:
    """Draw *panels* side by side, three to a row."""
    rows = -(-len(panels) // 3)
    size = f'width="{3 * _WIDTH}" height="{rows * _HEIGHT}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{_STYLE}">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for number, panel in enumerate(panels):
        row, column = divmod(number, 3)
        parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
        parts += [*_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel) -> list[str]:
    xs = [x for line in panel.lines.values() for x in line]
    ys = [y for line in panel.lines.values() for y in line.values()]
    low, high = _decades(ys)
    left, right = log10(min(xs)), log10(max(xs))

    def at(x: float, y: float) -> tuple[float, float]:
        across = (log10(x) - left) / (right - left or 1)
        up = (log10(y) - low) / (high - low)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [f'<text x="{_LEFT}" y="18" font-weight="bold">{panel.title}</text>']
    for decade in range(low, high + 1):
        x, y = at(min(xs), 10.0**decade)
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#dddddd"/>')
        label = f"{10.0**decade:g} ms"
        parts.append(f'<text x="{x - 4:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for mark in sorted(set(xs)):
        x, y = at(mark, 10.0**low)
        parts.append(f'<text x="{x:.1f}" y="{y + 14:.1f}" text-anchor="middle">{mark}</text>')
    middle, foot = (_WIDTH + _LEFT - _RIGHT) / 2, _HEIGHT - _BOTTOM + 28
    parts.append(f'<text x="{middle}" y="{foot}" text-anchor="middle">{panel.along}</text>')
    left_over = {stub: iter(colours) for stub, colours in _COLOURS.items()}
    for number, (name, line) in enumerate(panel.lines.items()):
        colour = next(left_over[name.partition(",")[0]])
        points = [at(x, y) for x, y in line.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        column, row = number % 2, number // 2
        place = f'x="{_LEFT + column * 130}" y="{foot + 14 + 13 * row}"'
        parts.append(f'<text {place} fill="{colour}">{name}</text>')
    return parts


def _decades(values: list[float]) -> tuple[int, int]:
    """Return the exponents of the powers of ten below and above all *values*."""
    low = int(log10(min(values)) // 1)
    return low, max(low + 1, int(-(-log10(max(values)) // 1)))


def digits(value: float) -> str:
    """Format *value* with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(panel: Panel) -> list[str]:
    """Format the figures of *panel* as a Markdown table."""

    def cells(line: Series) -> str:
        return " | ".join(digits(line[x]) if x in line else "" for x in xs)

    xs = sorted({x for line in panel.lines.values() for x in line})
    head = f"| {panel.title}, ms; {panel.along}: | {' | '.join(f'{x:,}' for x in xs)} |"
    rows = [f"| {name} | {cells(line)} |" for name, line in panel.lines.items()]
    return [head, "|---|" + "---:|" * len(xs), *rows, ""]
