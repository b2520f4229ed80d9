"""Every random number has an address: seed, purpose, name and draw.

Numbers at one address are the same alone, in a batch, in any order and on any worker. The ids below
are part of every stored result: one that has been given keeps its meaning for ever.
"""

from __future__ import annotations

import enum
import zlib

import numpy as np


class Purpose(enum.IntEnum):
    """What random numbers are drawn for; the first part of an address."""

    OUTCOME = 1
    CLUSTER = 2
    MISSING = 3
    DROPOUT = 4
    SAMPLER = 5
    RESAMPLING = 6
    PRIOR = 7


def name_id(name: str) -> int:
    """Turn a name into a stable number: CRC-32 of its UTF-8 bytes.

    Parameters
    ----------
    name
        For instance the name of an outcome.

    Returns
    -------
    int
        From 0 to 2**32 - 1, the same in every process and version.

    Examples
    --------
    >>> name_id("madrs")
    3217132681
    """
    return zlib.crc32(name.encode("utf-8"))


def generator(seed: int, purpose: Purpose, name: str, draw: int) -> np.random.Generator:
    """Open the stream of random numbers at an address.

    Parameters
    ----------
    seed
        Seed of the Study or of the command, 0 or more.
    purpose
        What the numbers are for.
    name
        Name of the outcome, cluster or analysis that they belong to.
    draw
        Number of the simulated draw, 0 or more.

    Returns
    -------
    numpy.random.Generator
        A fresh generator at the start of the stream.

    Examples
    --------
    >>> first = generator(1, Purpose.OUTCOME, "madrs", 0).random(2)
    >>> again = generator(1, Purpose.OUTCOME, "madrs", 0).random(2)
    >>> bool((first == again).all())
    True
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, purpose, name, draw)))


def integer_seed(seed: int, purpose: Purpose, name: str, draw: int) -> int:
    """Give the address as one integer, for samplers that take no generator.

    Parameters
    ----------
    seed, purpose, name, draw
        The address, as for `generator`.

    Returns
    -------
    int
        From 0 to 2**31 - 1.

    Examples
    --------
    >>> integer_seed(1, Purpose.SAMPLER, "madrs", 0)
    701645006
    """
    word = _sequence(seed, purpose, name, draw).generate_state(1, np.uint32)[0]
    return int(word) >> 1


def _sequence(seed: int, purpose: Purpose, name: str, draw: int) -> np.random.SeedSequence:
    if seed < 0 or draw < 0:
        raise ValueError(f"seed and draw must be 0 or more, not {seed} and {draw}")
    return np.random.SeedSequence(seed, spawn_key=(int(purpose), name_id(name), draw))
