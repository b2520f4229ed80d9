"""Crossover designs by name: sequences over periods.

Sources: Jones & Kenward (2014), *Design and Analysis of Cross-Over Trials*, ch. 2-4;
Williams (1949), Aust J Sci Res A 2:149; Balaam (1968), Biometrics 24:61.
"""

from __future__ import annotations

from collections.abc import Sequence

from ketastats.core.errors import StudyError
from ketastats.study.lookup import suggestion

Sequences = tuple[tuple[str, tuple[str, ...]], ...]


def williams_square(n: int) -> list[list[int]]:
    """Return the Williams design for ``n`` treatments: one square when n is even, two when odd.

    Every treatment follows every other equally often.

    Examples
    --------
    >>> williams_square(4)[0]
    [0, 1, 3, 2]
    """
    low, high, first = 0, n - 1, []
    for step in range(n):
        if step % 2 == 0 and step > 0:
            first.append(high)
            high -= 1
        else:
            first.append(low)
            low += 1
    rows = [[(x + shift) % n for x in first] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def named_design(name: str, treatments: Sequence[str], *, where: str = "design") -> Sequences:
    """Return the sequences of a design known by name.

    Parameters
    ----------
    name : str
        ``AB/BA``, ``ABB/BAA``, ``ABBA/BAAB``, ``ABA/BAB``, ``balaam`` (two treatments) or
        ``williams`` (two or more). Any other letters joined by ``/`` are read as sequences.
    treatments : sequence of str
        In the order A, B, C, ...

    Returns
    -------
    tuple of (str, tuple of str)
        Sequence label (treatment initials when they differ, else letters) and its treatments.

    Raises
    ------
    StudyError
        For an unknown name or a wrong number of treatments.

    Examples
    --------
    >>> named_design("AB/BA", ["placebo", "naltrexone"])
    (('PN', ('placebo', 'naltrexone')), ('NP', ('naltrexone', 'placebo')))
    """
    k = len(treatments)
    key = name.strip().lower()
    if key == "williams":
        if k < 2:
            raise StudyError(
                "a Williams design needs two treatments or more",
                where=where,
                mend="declare two or more treatments",
            )
        rows = williams_square(k)
    elif key == "balaam":
        if k != 2:
            raise StudyError(
                "Balaam's design is for two treatments", where=where, mend="declare two treatments"
            )
        rows = [[0, 0], [1, 1], [0, 1], [1, 0]]
    else:
        rows = _spelled(name, k, where)
    initials = [t[0].upper() for t in treatments]
    letters = initials if len(set(initials)) == k else [chr(ord("A") + i) for i in range(k)]
    return tuple(
        ("".join(letters[i] for i in row), tuple(treatments[i] for i in row)) for row in rows
    )


def _spelled(name: str, k: int, where: str) -> list[list[int]]:
    parts = name.strip().upper().split("/")
    known = "williams", "balaam", "AB/BA", "ABB/BAA", "ABBA/BAAB"
    if len(parts) < 2 or not all(p.isalpha() for p in parts):
        raise StudyError(
            f"there is no design called {name!r}", where=where, mend=suggestion(name, known)
        )
    rows = [[ord(letter) - ord("A") for letter in part] for part in parts]
    used = {i for row in rows for i in row}
    if len({len(row) for row in rows}) != 1:
        raise StudyError(
            f"the sequences of {name!r} differ in length",
            where=where,
            mend="give every sequence the same number of periods",
        )
    if used != set(range(k)):
        raise StudyError(
            f"{name!r} uses {len(used)} treatments and {k} are declared",
            where=where,
            mend="declare as many treatments as the design has letters",
        )
    return rows
