# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the secrets that tests use, which no broker may tell.
"""`keep` notes a secret; at the end of a run everything that brokers have printed is searched for all of them.

A secret is looked for as it is, in hexadecimal and in base64. Private keys are found by themselves: every `*.key` file of the run.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Iterable

#: Shorter ones would be found by chance.
BYTES_MIN = 8
_kept: dict[bytes, str] = {}


def keep(secret: str | bytes, what: str) -> None:
    data = secret.encode() if isinstance(secret, str) else secret
    assert len(data) >= BYTES_MIN, f"{what}: too short to be looked for"
    _kept[data] = what


def needles(keys: Iterable[Path]) -> dict[bytes, str]:
    """What to look for, and what it is."""
    found: dict[bytes, str] = {}
    for data, what in _kept.items():
        # Base64 of what stands anywhere in other text begins at one of three places; the whole secret covers this one.
        for form in (data, data.hex().encode(), base64.b64encode(data).rstrip(b"="), base64.urlsafe_b64encode(data).rstrip(b"=")):
            found[form] = what
    for path in keys:
        lines = path.read_bytes().splitlines()
        for line in lines:
            if len(line) >= 40 and b"-----" not in line:
                found[line] = f"private key {path.name}"
    return found


def search(text: bytes, wanted: dict[bytes, str], where: str) -> list[str]:
    return [f"{where} tells the {what}" for needle, what in wanted.items() if needle in text]
