"""One BLAS thread: small matrices gain nothing from more, and sums keep their order.

Threads change the order of summation and so the last digits; with one thread the same input gives
the same bytes on two cores and on fifty.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    import numpy  # noqa: F401 - the controller sees only libraries that are loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the enclosed block, or the decorated function, with one BLAS thread.

    Examples
    --------
    >>> with one_thread():
    ...     pass
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield
