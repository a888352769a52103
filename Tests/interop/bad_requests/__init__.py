# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: one row per API: a good request, and what is wrong with the bad ones.
"""`table.py` says what a row is; the other modules have the rows. `ROWS` has them all, by API key."""

from . import access, admin, groups, records, transactions
from .table import ROWS

__all__ = ["ROWS", "access", "admin", "groups", "records", "transactions"]
