"""Variance components laid out over a plan's rows, and the entry threshold among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr, ndtri

from ketastats.core.errors import StudyError
from ketastats.study.means import component_sd, matches
from ketastats.study.model import Entry, Occasions, Scale, SerialSpread, Spread
from ketastats.study.plan import Plan


class Component:
    """One variance component laid out over a plan's rows.

    Attributes
    ----------
    spread : Spread
    is_residual : bool
    cluster : str
        What subjects share, ``cage``; empty where each subject has deviations of its own.
    sd : numpy.ndarray, shape (rows,)
    per_subject : int
        Numbers that a subject consumes; 0 for a cluster.
    index : numpy.ndarray of int, shape (rows,)
        Which of the subject's (or the clusters') numbers a row takes.
    n_clusters : int
    """

    def __init__(self, spread: Spread, plan: Plan, occasions: tuple[Occasions, ...]) -> None:
        columns = {c.name: c for c in plan.columns}
        rows = plan.rows_per_subject
        n = plan.n // rows
        self.spread = spread
        self.is_residual = not spread.factors
        self.n_clusters = 0
        factors = spread.factors or plan.names
        varying = [f for f in factors if f != "subject"]
        # a factor that no subject owns (cage, batch, drug) is shared between subjects
        self.cluster = "" if ("subject" in factors or self.is_residual) else ":".join(factors)
        self.sd = component_sd(spread, columns, plan.n) * matches(spread.when, columns, plan.n)
        if self.is_residual:
            self.per_subject, self.index = rows, np.tile(np.arange(rows), n)
            self._series = _series(spread, rows, occasions)
            return
        shape = tuple(len(columns[f].levels) for f in varying)
        codes = [columns[f].codes for f in varying]
        absent = np.any([c < 0 for c in codes], axis=0) if codes else np.zeros(plan.n, bool)
        self.sd = np.where(absent, 0.0, self.sd)
        flat = (
            np.ravel_multi_index([np.maximum(c, 0) for c in codes], shape)
            if codes
            else np.zeros(plan.n, dtype=int)
        )
        self._series = None
        if self.cluster:
            self.per_subject, self.index, self.n_clusters = 0, flat, int(np.prod(shape))
            return
        within = [f for f in varying if _varies_within(columns[f].codes, rows)]
        shape = tuple(len(columns[f].levels) for f in within)
        codes = [columns[f].codes for f in within]
        self.index = np.ravel_multi_index(codes, shape) if codes else np.zeros(plan.n, dtype=int)
        self.per_subject = int(np.prod(shape, dtype=int))

    def over_rows(self, own: np.ndarray) -> np.ndarray:
        """Return the deviations of every row, shape (B, rows), from the subjects' own numbers.

        Parameters
        ----------
        own : numpy.ndarray, shape (B, subjects, per_subject)
        """
        b, n, _ = own.shape
        if self._series is not None:
            own = _correlate(own, *self._series)
        index = np.broadcast_to(self.index.reshape(1, n, -1), (b, n, self.index.size // n))
        return self.sd * np.take_along_axis(own, index, axis=2).reshape(b, -1)


def _varies_within(codes: np.ndarray, rows: int) -> bool:
    return bool(np.any(codes.reshape(-1, rows) != codes.reshape(-1, rows)[:, :1]))


def _series(
    spread: Spread, rows: int, occasions: tuple[Occasions, ...]
) -> tuple[tuple[int, int, int], np.ndarray] | None:
    """Return how a subject's rows fall into series, and the correlation of every step.

    Returns
    -------
    shape : tuple of int
        Rows as (series before, levels, series after) in plan order.
    steps : numpy.ndarray, shape (levels - 1,)
    """
    if not isinstance(spread, SerialSpread):
        return None
    at = next(i for i, o in enumerate(occasions) if o.name == spread.over)
    levels, days = len(occasions[at].levels), np.diff(occasions[at].days)
    after = int(np.prod([len(o.levels) for o in occasions[at + 1 :]], dtype=int))
    powers = days / days.min() if spread.spaced else np.ones(levels - 1)
    return (rows // (levels * after), levels, after), spread.ar1**powers


def _correlate(own: np.ndarray, shape: tuple[int, int, int], steps: np.ndarray) -> np.ndarray:
    r"""Return numbers with serial correlation, :math:`e_t = r_t e_{t-1} + \sqrt{1 - r_t^2}\,z_t`.

    Parameters
    ----------
    own : numpy.ndarray, shape (B, subjects, rows)
        Independent standard normals; not changed.
    shape, steps
        From :func:`_series`.
    """
    e = own.reshape(*own.shape[:2], *shape).copy()
    for t, r in enumerate(steps, start=1):
        e[..., t, :] = r * e[..., t - 1, :] + np.sqrt(1 - r * r) * e[..., t, :]
    return e.reshape(own.shape)


def enrol(
    own: np.ndarray, parts: Sequence[Component], offset: np.ndarray, entry: Entry, scale: Scale
) -> np.ndarray:
    r"""Condition on the first measurement of every subject meeting the entry threshold.

    The first measurement is offset + s with :math:`s = \sum_j a_j u_j` over the subject's own
    standard normals. s is mapped to the truncated normal by its quantile and every number moves by
    :math:`a_j (s^* - s) / \sum a^2`, which is the exact conditional distribution, without
    rejection, and with the same count of random numbers for everybody.

    Parameters
    ----------
    own : numpy.ndarray, shape (B, subjects, numbers per subject)
    parts : sequence of Component
    offset : numpy.ndarray, shape (B, subjects)
        Mean and shared deviations of the first row of every subject.
    entry, scale
        As declared.
    """
    n = own.shape[1]
    own = own.copy()
    subjects, start = np.arange(n), 0
    places, loads = [], []
    for part in parts:
        if part.per_subject:
            places.append(start + part.index.reshape(n, -1)[:, 0])
            loads.append(part.sd.reshape(n, -1)[:, 0])
            start += part.per_subject
    a = np.stack(loads)  # (components, subjects)
    variance = (a**2).sum(axis=0)
    sd = np.sqrt(variance)
    s = sum(load * own[:, subjects, place] for load, place in zip(a, places, strict=True))
    low, high = entry.at_least, entry.at_most
    sign, limit = (1.0, low) if low is not None else (-1.0, high or 0.0)
    need = sign * (limit - sign * 0.5 * 10.0 ** (-scale.decimals) - offset) / sd
    below = ndtr(need)
    if below.max() > 1 - 1e-6:
        raise StudyError(
            "the entry threshold lets fewer than one in a million people in",
            where="entry",
            mend="lower the threshold or raise the baseline",
        )
    z = ndtri(below + (1 - below) * ndtr(sign * s / sd))
    shift = (sign * sd * z - s) / variance
    for load, place in zip(a, places, strict=True):
        own[:, subjects, place] += load * shift
    return own
