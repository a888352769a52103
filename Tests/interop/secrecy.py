# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the secrets that tests use, which no broker may tell.
"""`keep` notes a secret; at the end of a run everything that brokers have printed is searched for all of them.

A secret is looked for as it is, in hexadecimal, as URLs have it, and in base64, also within what is encoded as a whole (`Basic` headers).
Private keys are found by themselves: every `*.key` file of the run.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Iterable, Iterator
from urllib.parse import quote

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
        for form in forms(data):
            found[form] = what
    for path in keys:
        lines = path.read_bytes().splitlines()
        for line in lines:
            if len(line) >= 40 and b"-----" not in line:
                found[line] = f"private key {path.name}"
    return found


def forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield quote(secret, safe="").encode()
    for before in range(3):
        # What stands before and after it decides about the first and the last character.
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            text = alphabet(b"\0" * before + secret).rstrip(b"=")
            whole = text if (before + len(secret)) % 3 == 0 else text[:-1]
            yield whole[0 if before == 0 else before + 1 :]


def search(text: bytes, wanted: dict[bytes, str], where: str) -> list[str]:
    return [f"{where} tells the {what}" for needle, what in wanted.items() if needle in text]
