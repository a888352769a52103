# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: what an access decision costs.
"""The broker's binary measures decisions in its own process (`martlet bench-access`); here they get medians and a mark."""

from __future__ import annotations

import json
import subprocess

from driver import Bench, median, spread

RULES = 1_000
MARK_NS = 1_000


def bench_access(bench: Bench) -> None:
    figures: dict[str, list[float]] = {}
    for _ in range(bench.rounds):
        done = subprocess.run(
            [bench.binary, "bench-access", "--rules", str(RULES)], capture_output=True, text=True, check=True)  # fmt: skip
        for line in done.stdout.splitlines():
            figure = json.loads(line)
            figures.setdefault(figure["what"], []).append(figure["ns"])
    bench.raw["access"] = figures
    for what, values in figures.items():
        bench.add(
            f"access decision with {RULES:,} rules: {what}", f"≤ {MARK_NS:,} ns", f"{spread(values, 0)} ns", "",
            median(values) <= MARK_NS)  # fmt: skip
