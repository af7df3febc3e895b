"""The years as one picture: what befell each host, and what each method said of it.

Enters: years. Leaves: SVG text; a file of some ten kilobytes.
"""

from collections.abc import Sequence
from html import escape
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.year.__main__ import Year

_WIDTH, _LEFT, _RIGHT = 1000.0, 110.0, 10.0
_LANE, _GAP, _HEAD = 16.0, 44.0, 40.0
_LANES = ("what befell", "ours", "node mixin", "max|z|")
_STYLE = (
    "text{font:11px sans-serif;fill:#333}.i{fill:#c33}.o{fill:#bbb}.h{fill:#79b}.r{fill:#2a7}.f{fill:#fff;stroke:#c33}"
    ".n{fill:none;stroke:#c33;stroke-dasharray:2}.g{stroke:#ddd}"
)


def drawn(years: Sequence["Year"]) -> str:
    """Return the picture."""
    height = _HEAD + len(years) * (len(_LANES) * _LANE + _GAP) + 20
    parts = [part for place, year in enumerate(years) for part in _year(year, _HEAD + 10 + place * (4 * _LANE + _GAP))]
    legend = (
        f'<text x="{_LEFT}" y="14">red: an incident · grey: an oddity · blue: hardware, suspend</text>'
        f'<text x="{_LEFT}" y="28">green dot: a real notification · hollow dot: a false one · dashed: an incident of '
        "which nothing was said</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" role="img">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{legend}{"".join(parts)}</svg>\n'
    )


def _year(year: "Year", top: float) -> list[str]:
    def x(row: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * row / year.rows

    def bar(kind: str, first: int, last: int, lane: int, title: str) -> str:
        width = max(x(last) - x(first), 2.0)
        return (
            f'<rect class="{kind}" x="{x(first):.1f}" y="{top + lane * _LANE + 2:g}" width="{width:.1f}" height="12">'
            f"<title>{escape(title)}</title></rect>"
        )

    parts = [
        f'<text x="{_LEFT - 6}" y="{top + place * _LANE + 12:g}" text-anchor="end">{escape(name)}</text>'
        for place, name in enumerate(_LANES)
    ]
    parts.append(f'<text x="4" y="{top - 4:g}">host {year.seed}</text>')
    months = year.rows * year.interval / 86_400 / 30.4375
    for month in range(ceil(months)):
        at = x(round(month * 30.4375 * 86_400 / year.interval))
        parts.append(f'<line class="g" x1="{at:.1f}" x2="{at:.1f}" y1="{top:g}" y2="{top + 4 * _LANE:g}"/>')
        parts.append(f'<text x="{at + 2:.1f}" y="{top + 4 * _LANE + 10:g}">month {month + 1}</text>')
    plan = year.plan
    parts += [bar("o", one.began, one.ended, 0, one.kind) for one in plan.oddities]
    parts += [bar("h", one.began, one.ended, 0, one.kind) for one in (*plan.hardware, *plan.suspends)]
    parts += [bar("i", one.began, one.ended, 0, f"{one.kind} {one.unit}") for one in plan.incidents]
    late = 3600 / year.interval
    for lane, name in enumerate(_LANES[1:], 1):
        for told in year.judged[name].told:
            if told.lead_minutes != told.lead_minutes:
                parts.append(bar("n", told.incident.began, told.incident.ended, lane, f"nothing: {told.incident.kind}"))
        for sent in year.sent[name]:
            real = any(one.began <= sent.row <= one.ended + late for one in plan.incidents)
            place = f'cx="{x(sent.row):.1f}" cy="{top + lane * _LANE + 8:g}" r="3.5"'
            title = f"<title>{escape(sent.name)}</title>"
            parts.append(f'<circle class="{"r" if real else "f"}" {place}>{title}</circle>')
    return parts
