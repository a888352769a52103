# SPDX-License-Identifier: Apache-2.0
# Martlet, soak: the chart of a run, as SVG written by hand.
"""Three curves over time, one above the other: memory, descriptors, threads; with the medians that are compared."""

from __future__ import annotations

import math
import statistics
from html import escape

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM = 860, 150, 46, 70, 24, 104, 52
PANELS = [
    ("memory", "Resident memory", "MiB", "#1f6f8b"),
    ("descriptors", "Open file descriptors", "count", "#b4562c"),
    ("threads", "Threads", "count", "#4c7a34"),
]


def step(span: float, count: int) -> float:
    """A round distance between about `count` ticks."""
    raw = max(span, 1e-9) / count
    size = 10 ** math.floor(math.log10(raw))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)


def text(x: float, y: float, words: str, size: int = 12, anchor: str = "start", fill: str = "#333") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">'
            f"{escape(words)}</text>")  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
            f'stroke-width="{width}"{dashes}/>')  # fmt: skip


def draw(series: dict[str, list[float]], command: str, outcome: str) -> str:
    seconds = len(series["memory"])
    height = TOP + len(PANELS) * (PANEL + GAP) - GAP + BOTTOM
    right = WIDTH - RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif">',
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(LEFT, 28, f"Martlet under mixed load for {seconds} seconds", 17, fill="#111"),
        text(LEFT, 48, f"{command}; sampled every second; {outcome}"),
        text(LEFT, 66, "shaded: warm-up, not compared; dashed: medians of the second and of the last quarter", 11,
             fill="#666"),
    ]  # fmt: skip

    def x(second: float) -> float:
        return LEFT + second * (right - LEFT) / max(seconds - 1, 1)

    for number, (key, title, unit, colour) in enumerate(PANELS):
        values = series[key]
        top = TOP + number * (PANEL + GAP)
        bottom = top + PANEL
        tick = step(max(values) * 1.1, 4)
        highest = math.ceil(max(values) * 1.15 / tick) * tick

        def y(value: float, bottom: float = bottom, highest: float = highest) -> float:
            return bottom - value * PANEL / highest

        parts.append(f'<rect x="{LEFT}" y="{top}" width="{x(seconds / 4) - LEFT:.1f}" height="{PANEL}" fill="#f1f1f1"/>')
        for index in range(int(round(highest / tick)) + 1):
            parts.append(line(LEFT, y(index * tick), right, y(index * tick), "#dddddd"))
            parts.append(text(LEFT - 8, y(index * tick) + 4, f"{index * tick:g}", 11, "end"))
        parts.append(text(LEFT, top - 8, f"{title} ({unit})", 13, fill="#111"))
        points = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in enumerate(values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
        size = seconds // 4
        for first, last in ((size, 2 * size), (3 * size, seconds)):
            median = statistics.median(values[first:last])
            parts.append(line(x(first), y(median), x(last - 1), y(median), "#111111", 1.4, "5 3"))
            parts.append(text(x(last - 1), y(median) - 6, f"median {median:.1f}", 11, "end", "#111"))
        parts.append(line(LEFT, top, LEFT, bottom, "#555"))
        parts.append(line(LEFT, bottom, right, bottom, "#555"))
    tick = step(seconds, 8)
    bottom = height - BOTTOM
    for index in range(int(seconds // tick) + 1):
        at = min(x(index * tick), right)
        parts.append(line(at, bottom, at, bottom + 5, "#555"))
        parts.append(text(at, bottom + 19, f"{index * tick:g}", 11, "middle"))
    parts.append(text((LEFT + right) / 2, bottom + 40, "time (seconds)", 12, "middle"))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
