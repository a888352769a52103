# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: clients that work in threads of their own while a test does something to the broker.
"""A `Background` runs its bodies from entering it to leaving it; they end when `ending` is set, and their failures are told by the test."""

from __future__ import annotations

import threading
from typing import Any, Callable, TypeVar

Self = TypeVar("Self", bound="Background")


class Background:
    def __init__(self, *bodies: Callable[[], None]):
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._guarded, args=(body,)) for body in bodies]

    def is_failure(self, error: Exception) -> bool:
        """Whether what ended a body is to be told."""
        return True

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception as error:  # noqa: BLE001 - told by the test
            if self.is_failure(error):
                self.failures.append(repr(error))

    def __enter__(self: Self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()
