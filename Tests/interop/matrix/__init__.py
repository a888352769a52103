# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix of features and clients.
"""What each client library can do, with its own calls, against the broker.

`table.py` holds the table, `clients.py` and `members.py` what the cells share, and one module per area the features.
The order of the imports is the order of the rows.
"""

from . import producing  # noqa: I001
from . import consuming
from . import groups
from . import consumer_groups
from . import transactions
from . import restarts
from . import admin
from . import admin_groups
from . import configs
from . import observing

__all__ = [
    "admin", "admin_groups", "configs", "consuming", "consumer_groups", "groups", "observing", "producing", "restarts",
    "transactions",
]
