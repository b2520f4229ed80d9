r"""Bayes factors of exact posteriors.

A point null :math:`C\beta = v` against the model as it is, two ways that must agree:

- Savage-Dickey (Dickey 1971, Ann Math Stat 42:204): prior over posterior density of
  :math:`C\beta` at v. Each is a mixture of normals over the SDs and scales.
- marginal likelihoods: X and the prior on the null space of C, integrated anew.

The null keeps the prior that the rest has given :math:`C\beta = v`, so that the two are one number
(Verdinelli & Wasserman 1995, J Am Stat Assoc 90:614). Effects whose prior is in residual SDs are
tested as :math:`\delta = c'\beta / \sigma`: given :math:`\delta = 0` the prior of
:math:`\sigma` is what it was, given :math:`c'\beta = 0` it would be another (Wetzels, Grasman &
Wagenmakers 2010, Comput Stat Data Anal 54:2094).

A direction against a point null is the point's Bayes factor times the posterior over the prior
probability of the direction (Klugkist, Laudy & Hoijtink 2005, Psychol Methods 10:477).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import null_space
from scipy.special import log_ndtr, logsumexp

from ketastats.bayesian.exact.axes import Axis
from ketastats.bayesian.exact.nodes import (
    Gaussian,
    at_nodes,
    block_precision,
    covariances,
    information,
)
from ketastats.bayesian.exact.search import ONE, Nodes, Tolerance, nodes_near, search
from ketastats.core.errors import DataError, StudyError

if TYPE_CHECKING:
    from ketastats.bayesian.exact.posterior import ExactPosterior
    from ketastats.study.model import Estimand

CATEGORIES = (
    (100.0, "extreme"), (30.0, "very strong"), (10.0, "strong"), (3.0, "moderate"),
    (1.0, "anecdotal"),
)  # fmt: skip
"""Jeffreys (1961, Theory of probability, appendix B), named as in Lee & Wagenmakers (2013, Bayesian
cognitive modeling, table 7.1)."""
SOURCE = "Jeffreys 1961; Lee & Wagenmakers 2013"
CHUNK = 2000
"""Nodes evaluated at a time."""
SMALLEST = 1e-100
"""Stands for an SD of 0."""
ZERO = 1e-10
"""Relative to the largest: what is 0 but for rounding."""

LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class BayesFactor:
    """The model as it is (1) against the same with estimands held at values (0).

    Attributes
    ----------
    estimands : tuple of str
    at : tuple of float
        Their values under the null.
    log_bf10 : float
        Natural logarithm, from the marginal likelihoods of both.
    log_savage_dickey : float
        The same from the densities at the null.
    log_bf_positive, log_bf_negative : float
        Of an estimand above, or below, its value against the null; NaN for several estimands.
    priors : tuple of (str, str)
        What it depends on.
    error : float
        Estimated quadrature error of the logarithm.
    words : str
    """

    estimands: tuple[str, ...]
    at: tuple[float, ...]
    log_bf10: float
    log_savage_dickey: float
    log_bf_positive: float
    log_bf_negative: float
    priors: tuple[tuple[str, str], ...]
    error: float
    words: str

    @property
    def bf10(self) -> float:
        """The Bayes factor itself; infinite beyond 1e308."""
        with np.errstate(over="ignore"):
            return float(np.exp(self.log_bf10))

    @property
    def difference(self) -> float:
        """Between the logarithms of the two ways."""
        return self.log_savage_dickey - self.log_bf10

    def __str__(self) -> str:
        lines = [
            f"log BF10 {self.log_bf10:.6g} ({self.log_savage_dickey:.6g} by Savage-Dickey; error "
            f"about {self.error:.1g})",
            self.words,
        ]
        if not np.isnan(self.log_bf_positive):
            lines.insert(
                1,
                f"log BF of above against the null {self.log_bf_positive:.6g}, of below "
                f"{self.log_bf_negative:.6g}",
            )
        return "\n".join([*lines, *(f"prior of {k}: {v}" for k, v in self.priors)])

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model against another of the same data.

    Attributes
    ----------
    log_bf : float
        Of the first against the second.
    error : float
        Estimated quadrature error.
    words : str
    """

    log_bf: float
    error: float
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class _Null:
    """A null of k estimands on a model with q coefficients.

    Attributes
    ----------
    model : Gaussian
    rows : numpy.ndarray, shape (k, q)
        C, over coefficients in standard units.
    value : numpy.ndarray, shape (k,)
        v.
    location, base : numpy.ndarray, shapes (k,) and (k, k)
        Prior mean of the estimands, and their covariance without the scaled effects.
    touched : tuple of (int, numpy.ndarray)
        Axis of a prior's scale, and what its square multiplies in the covariance, (k, k).
    per_sd : numpy.ndarray of bool, shape (k,)
        Estimands tested in residual SDs.
    residual : int
        Axis of the residual SD.
    flat : numpy.ndarray, shape (q, f)
        Directions without a prior.
    gone : tuple of int
        Axes of scales of which the null leaves nothing.
    """

    model: Gaussian
    rows: np.ndarray
    value: np.ndarray
    location: np.ndarray
    base: np.ndarray
    touched: tuple[tuple[int, np.ndarray], ...]
    per_sd: np.ndarray
    residual: int
    flat: np.ndarray
    gone: tuple[int, ...]


def words_of(log_bf: float, one: str, other: str) -> str:
    """Return a Bayes factor in words: how many times, and its category.

    Examples
    --------
    >>> words_of(2.5, "A", "B")
    'the data are 12.2 times as probable under A as under B: strong evidence for A against B \
(Jeffreys 1961; Lee & Wagenmakers 2013)'
    """
    if log_bf < 0:
        return words_of(-log_bf, other, one)
    times = f"{np.exp(log_bf):.3g}" if log_bf < 14 else f"10^{log_bf / np.log(10):.1f}"
    name = next(word for least, word in CATEGORIES if log_bf >= np.log(least))
    return (
        f"the data are {times} times as probable under {one} as under {other}: {name} evidence for "
        f"{one} against {other} ({SOURCE})"
    )


def bayes_factor(
    post: ExactPosterior, estimands: Sequence[Estimand], at: float | Sequence[float] = 0.0
) -> BayesFactor:
    """Return the Bayes factor of a model against one with estimands held at values.

    Parameters
    ----------
    post : ExactPosterior
    estimands : sequence of Estimand
        Several are held together.
    at : float or sequence of float
        Their values.

    Raises
    ------
    StudyError
        When the prior density at the values is no number: flat effects; a value other than 0 of an
        effect whose prior is in residual SDs; 0 of effects whose prior SD may be 0.
    NotEstimable, DataError
    """
    _check_converged(post)
    names = tuple(e.name for e in estimands)
    null = _null(post, names, post.asked(estimands).rows @ post.design.back, at)
    tolerance = ONE.at(post.tolerance)
    own = tuple(post.model.axes[a] for a, _ in null.touched)
    at_prior = _integral(own, lambda v: _prior_log_density(null, v), tolerance)
    null_evidence = _null_evidence(post, null, at_prior[0], tolerance)
    joint = _joint(post, null)
    start = post.quadrature.rectangles.state[0]

    def density(values: np.ndarray) -> np.ndarray:
        log_y, mean, covariance = joint(values)
        in_sds = null.per_sd.sum() * np.log(values[:, null.residual])
        return np.asarray(log_y + _log_normal(null.value - mean, covariance) + in_sds)

    at_posterior = _integral(post.model.axes, density, tolerance, start)
    log_bf = post.log_evidence - null_evidence[0]
    savage_dickey = at_prior[0] - (at_posterior[0] - post.log_evidence)
    odds = [np.nan, np.nan]
    if len(names) == 1:
        odds = [_direction(post, null, joint, sign, tolerance) for sign in (1, -1)]
    free, held = "the model", f"{' and '.join(names)} = {_shown(null.value)}"
    return BayesFactor(
        estimands=names,
        at=tuple(null.value.tolist()),
        log_bf10=log_bf,
        log_savage_dickey=savage_dickey,
        log_bf_positive=log_bf + odds[0],
        log_bf_negative=log_bf + odds[1],
        priors=post.prior_text,
        error=post.error + at_prior[1] + max(null_evidence[1], at_posterior[1]),
        words=words_of(log_bf, free, held),
    )


def compare_evidence(a: ExactPosterior, b: ExactPosterior) -> Comparison:
    """Return the Bayes factor of one model against another of the same outcome.

    Parameters
    ----------
    a, b : ExactPosterior
        With the same coefficients flat, and a Jeffreys prior of the residual SD in both or none:
        what an improper prior lacks cancels only then.

    Raises
    ------
    DataError
        When they have other data.
    StudyError
        When their evidences cannot be compared.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> one = ks.posterior("madrs ~ treatment + (1|subject)", data, typical_sd=10)
    >>> other = ks.posterior("madrs ~ (1|subject)", data, typical_sd=10)
    >>> compare_evidence(one, other).error < 1e-4
    True
    """
    for post in (a, b):
        _check_converged(post)
    same = len(a.problem.y) == len(b.problem.y) and np.array_equal(a.problem.rows, b.problem.rows)
    if not same or not np.array_equal(a.problem.y, b.problem.y):
        raise DataError(
            "the two posteriors are of different outcomes or rows",
            mend="fit both to the same table, without the rows in which either misses something",
        )
    improper = [[x.prior.family == "jeffreys" for x in p.model.axes] for p in (a, b)]
    if any(improper[0]) != any(improper[1]):
        raise StudyError(
            "one model has a Jeffreys prior of the residual SD and the other has not",
            where="priors.residual",
            mend="give both the same prior of it",
        )
    if not _same_flat(a, b):
        raise StudyError(
            "the two models have different coefficients with a flat prior, and what such a prior "
            "lacks does not cancel",
            where="priors",
            mend="give the coefficients that only one of them has a normal or "
            "standardised-cauchy prior",
        )
    log_bf = a.log_evidence - b.log_evidence
    text = words_of(log_bf, *(f"{p.problem.outcome} ~ {p.problem.formula}" for p in (a, b)))
    return Comparison(log_bf, a.error + b.error, text)


def _check_converged(post: ExactPosterior) -> None:
    if post.status != "ok":
        raise DataError(
            f"the quadrature error is about {post.error:.2g} and should be {post.tolerance:g}, so "
            "that there is no Bayes factor",
            mend="give less wide priors",
        )


def _shown(value: np.ndarray) -> str:
    return (
        f"{value[0]:g}"
        if len(set(value.tolist())) == 1
        else f"({', '.join(map('{:g}'.format, value))})"
    )


def _same_flat(a: ExactPosterior, b: ExactPosterior) -> bool:
    """Return whether flat coefficients span the same means, in the same unit."""
    one, other = (p.model.problem.x @ _flat_and_covariance(p.model)[0] for p in (a, b))
    if one.shape[1] != other.shape[1]:
        return False
    if not one.shape[1]:
        return True
    change, *_ = np.linalg.lstsq(one, other, rcond=None)
    fits = np.allclose(one @ change, other, rtol=0, atol=1e-8 * np.abs(other).max())
    return bool(fits and abs(np.linalg.slogdet(change)[1]) < 1e-8)


def _flat_and_covariance(model: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Return flat directions, (q, f), and the covariance of what has a prior without a scale."""
    q = len(model.location)
    free = np.setdiff1d(np.arange(q), [c for b in model.blocks for c in b.columns])
    values, vectors = np.linalg.eigh(model.precision[np.ix_(free, free)])
    flat, covariance = np.zeros((q, model.flat)), np.zeros((q, q))
    flat[free] = vectors[:, : model.flat]
    held = vectors[:, model.flat :]
    covariance[np.ix_(free, free)] = held / values[model.flat :] @ held.T
    return flat, covariance


# --- the null and its priors ----------------------------------------------------------------------


def _null(
    post: ExactPosterior, names: tuple[str, ...], rows: np.ndarray, at: float | Sequence[float]
) -> _Null:
    """Check a null and collect its prior."""
    model, k = post.model, len(rows)
    try:
        value = np.broadcast_to(np.asarray(at, dtype=np.float64), (k,)).copy()
    except (ValueError, TypeError):
        value = np.full(k, np.nan)
    if not k or not np.isfinite(value).all():
        raise DataError(
            f"at = {at} is not one number, or one per estimand, for {k} estimands", where="at",
            mend="leave it out for 0",
        )  # fmt: skip
    if np.linalg.matrix_rank(rows) < k:
        raise DataError(
            f"the estimands {', '.join(names)} determine each other",
            mend="test as many as are independent",
        )
    size = np.abs(rows).max()
    rows = np.where(np.abs(rows) > ZERO * size, rows, 0.0)
    flat, covariance = _flat_and_covariance(model)
    if np.abs(rows @ flat).max(initial=0.0) > ZERO * size:
        raise StudyError(
            f"a Bayes factor of {', '.join(names)} needs a proper prior, and that of its effects "
            "is flat",
            where=_role(post, rows @ flat @ flat.T),
            mend="use normal(0, s) or standardised-cauchy(r)",
        )
    uses = [(rows[:, b.columns] != 0).any(axis=1) for b in model.blocks]
    per_sd = np.zeros(k, dtype=bool)
    for b, used in zip(model.blocks, uses, strict=True):
        per_sd |= used & (b.times >= 0)
    _check_units(model, names, rows, uses, per_sd, value)
    location = rows @ model.location
    _check_finite(model, names, rows, value - location)
    left = _null_space(rows)
    gone = [b.axis for b in model.blocks if np.abs(left[b.columns]).max(initial=0.0) < ZERO]
    return _Null(
        model=model,
        rows=rows,
        value=value,
        location=location,
        base=rows @ covariance @ rows.T,
        touched=tuple(
            (b.axis, rows[:, b.columns] @ rows[:, b.columns].T)
            for b, used in zip(model.blocks, uses, strict=True)
            if used.any()
        ),
        per_sd=per_sd,
        residual=next(i for i, a in enumerate(model.axes) if a.map == "log"),
        flat=flat,
        gone=tuple(gone),
    )


def _null_space(rows: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis, exact in columns not touched: their prior SD may be 0."""
    used = (rows != 0).any(axis=0)
    other = np.eye(rows.shape[1])[:, ~used]
    inside = null_space(rows[:, used])
    out = np.zeros((rows.shape[1], inside.shape[1]))
    out[used] = inside
    return np.hstack([out, other])


def _role(post: ExactPosterior, flat: np.ndarray) -> str:
    """Name the role whose flat prior reaches into rows over the coefficients."""
    from ketastats.bayesian.exact.compile import term_of

    used = np.flatnonzero(np.abs(flat).max(axis=0) > ZERO * np.abs(flat).max())
    names = [post.problem.names[j] for j in used]
    if names == ["Intercept"]:
        return "priors.intercept"
    own = [term_of(n) for n in names if term_of(n) in post.priors]
    return f"priors.{own[0]}" if own else "priors.effects"


def _check_units(
    model: Gaussian, names: tuple[str, ...], rows: np.ndarray, uses: list[np.ndarray],
    per_sd: np.ndarray, value: np.ndarray,
) -> None:  # fmt: skip
    """Refuse what is partly in residual SDs, or in them and not 0."""
    scaled = [j for b in model.blocks if b.times >= 0 for j in b.columns]
    rest = np.setdiff1d(np.arange(rows.shape[1]), scaled)
    mixed = per_sd & (rows[:, rest] != 0).any(axis=1)
    if mixed.any():
        raise StudyError(
            f"{names[int(np.argmax(mixed))]!r} has effects whose prior is in residual SDs and "
            "others whose prior is not",
            where="priors",
            mend="give them the same kind of prior",
        )
    if (per_sd & (value != 0)).any():
        raise StudyError(
            f"the prior of {names[int(np.argmax(per_sd & (value != 0)))]!r} is in residual SDs, "
            "where no value in the units of the outcome but 0 has a prior density",
            where="at",
            mend="test 0, or use a normal prior",
        )


def _check_finite(
    model: Gaussian, names: tuple[str, ...], rows: np.ndarray, off: np.ndarray
) -> None:
    """Refuse an infinite prior density: all that spreads an estimand may be 0."""
    for b in model.blocks:
        if b.times >= 0:
            continue
        others = np.delete(rows, b.columns, axis=1)
        alone = null_space(others.T) if others.size else np.eye(len(rows))
        if alone.shape[1] and np.abs(alone.T @ off).max() < ZERO:
            raise StudyError(
                f"the prior density of {', '.join(names)} is infinite there: the SD of a "
                "hierarchical prior may be 0",
                where=f"priors.{model.axes[b.axis].name.removeprefix('scale of ')}",
                mend="use normal(0, s), or compare with a model without the effect by "
                "compare_evidence",
            )


def _prior_covariance(null: _Null, scales: np.ndarray) -> np.ndarray:
    """Return the prior covariance of the estimands at scales (J, touched), shape (J, k, k)."""
    out = np.broadcast_to(null.base, (len(scales), *null.base.shape)).copy()
    for i, (_, part) in enumerate(null.touched):
        out += scales[:, i, None, None] ** 2 * part
    return out


def _prior_log_density(null: _Null, scales: np.ndarray) -> np.ndarray:
    off = np.tile(null.value - null.location, (len(scales), 1))
    return _log_normal(off, _prior_covariance(null, scales))


def _log_normal(off: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the log density of normals, (J,), at distances (J, k) from their means."""
    logdet, quad = _quadratic(covariance, off)
    return np.asarray(-0.5 * (off.shape[1] * np.log(2 * np.pi) + logdet + quad))


def _quadratic(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log|A| and b'A^-1 b of matrices (J, q, q) and vectors (J, q), in any units of rows."""
    size = np.sqrt(np.einsum("jqq->jq", a))
    size = np.maximum(size, SMALLEST)
    alike = a / size[:, :, None] / size[:, None, :]
    np.einsum("jqq->jq", alike)[...] = 1.0
    root = np.linalg.cholesky(alike)
    z = np.linalg.solve(root, (b / size)[:, :, None])[:, :, 0]
    logdet = 2 * (np.log(np.einsum("jqq->jq", root)) + np.log(size)).sum(axis=1)
    return logdet, (z**2).sum(axis=1)


# --- integrals ------------------------------------------------------------------------------------


def _integral(
    axes: tuple[Axis, ...], log: LogDensity, tolerance: Tolerance, start: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the log of an integral over parameters with their priors, and its error.

    Parameters
    ----------
    axes : tuple of Axis
    log : callable
        Values (J, axes) to the log of what is integrated, (J,).
    tolerance : Tolerance
    start : numpy.ndarray of int, shape (3, axes), optional
        Rectangle to begin with.
    """
    if not axes:
        return float(log(np.empty((1, 0)))[0]), 0.0
    if start is None:
        low = [0 if a.map == "even" else -2 for a in axes]
        start = np.array([np.zeros(len(axes)), low, np.full(len(axes), 2)], dtype=np.int64)

    def density(nodes: Nodes, _: np.ndarray) -> np.ndarray:
        parts = [log(nodes.values[i : i + CHUNK]) for i in range(0, len(nodes.values), CHUNK)]
        return np.asarray((np.concatenate(parts) + nodes.log_weight)[None])

    found = search(axes, start[None], density, tolerance)
    if not found.found[0]:
        raise DataError(
            f"the quadrature error of a Bayes factor is about {found.error[0]:.2g} and should be "
            f"{tolerance.error:g}",
            mend="give less wide priors, or a larger tolerance",
        )
    nodes = nodes_near(axes, found.state[0], list(found.seen))
    return float(logsumexp(density(nodes, np.zeros(1)))), float(found.error[0])


def _joint(
    post: ExactPosterior, null: _Null
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return a function of values: log p(y), means (J, k) and covariances (J, k, k)."""
    k = len(null.rows)
    i, j = np.triu_indices(k, 1)
    rows = np.concatenate([null.rows, null.rows[i] + null.rows[j]])
    moments, one = post.quadrature.table.moments, np.zeros(1, dtype=np.int64)

    def joint(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = at_nodes(post.model, moments, values, rows, one)
        covariance = np.zeros((len(values), k, k))
        covariance[:, range(k), range(k)] = found.var[:k].T
        both = 0.5 * (found.var[k:] - found.var[i] - found.var[j]).T
        covariance[:, i, j] = covariance[:, j, i] = both
        return found.constant - 0.5 * found.quad[:, 0], found.mean[:k, :, 0].T, covariance

    return joint


def _direction(
    post: ExactPosterior,
    null: _Null,
    joint: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    sign: int,
    tolerance: Tolerance,
) -> float:
    """Return the log of posterior over prior probability of lying on one side of the value."""

    def after(values: np.ndarray) -> np.ndarray:
        log_y, mean, covariance = joint(values)
        z = sign * (mean[:, 0] - null.value[0]) / np.sqrt(covariance[:, 0, 0])
        return np.asarray(log_y + log_ndtr(z))

    def before(scales: np.ndarray) -> np.ndarray:
        sd = np.sqrt(_prior_covariance(null, scales)[:, 0, 0])
        with np.errstate(divide="ignore"):
            return np.asarray(log_ndtr(sign * (null.location[0] - null.value[0]) / sd))

    own = tuple(post.model.axes[a] for a, _ in null.touched)
    start = post.quadrature.rectangles.state[0]
    posterior = _integral(post.model.axes, after, tolerance, start)[0]
    return posterior - post.log_evidence - _integral(own, before, tolerance)[0]


def _null_evidence(
    post: ExactPosterior, null: _Null, log_prior: float, tolerance: Tolerance
) -> tuple[float, float]:
    """Return the log evidence of the null and its error.

    Where the null leaves nothing of the effects that share a scale, the scale goes with them. Else
    its prior is that given the null.
    """
    touched = [a for a, _ in null.touched]
    simple = set(touched) <= set(null.gone)
    kept = [a for a in range(len(post.model.axes)) if not (simple and a in null.gone)]
    log_y = _null_model(post, null)

    def density(some: np.ndarray) -> np.ndarray:
        values = np.ones((len(some), len(post.model.axes)))
        values[:, kept] = some
        log = log_y(values)
        if not simple:
            log = log + _prior_log_density(null, values[:, touched]) - log_prior
        return log

    axes = tuple(post.model.axes[a] for a in kept)
    return _integral(axes, density, tolerance, post.quadrature.rectangles.state[0][:, kept])


def _null_model(post: ExactPosterior, null: _Null) -> LogDensity:
    r"""Return the log density of y at values of the parameters, given the null.

    With least squares :math:`\hat\beta` and a d for which :math:`C (\hat\beta + d) = v` the null is
    :math:`\beta = \hat\beta + d + T w` for any w, CT = 0 and T orthonormal: a regression of
    :math:`e - X d` on XT, in which w has the prior precision T'PT; for the rest see
    :mod:`ketastats.bayesian.exact.nodes`.
    """
    model, moments = null.model, post.quadrature.table.moments
    t = _null_space(null.rows)
    d = np.linalg.pinv(null.rows) @ (null.value - null.rows @ moments.shift[0])
    scaled = np.array([c for b in model.blocks for c in b.columns], dtype=np.int64)
    rest = scaled[(null.rows[:, scaled] == 0).all(axis=0)]
    d[rest] = (model.location - moments.shift[0])[rest]  # their prior SD may be near 0
    off = model.location - moments.shift[0] - d
    held = null_space((t.T @ null.flat).T) if model.flat else np.eye(t.shape[1])
    one = np.zeros(1, dtype=np.int64)
    n = len(post.problem.y) - model.flat

    def log_y(values: np.ndarray) -> np.ndarray:
        xx, xy, ee, logdet_v = information(model, moments, covariances(model, values), one)
        right = xy[0] - xx @ d
        ee = ee[:, 0] - (xy[0] + right) @ d
        p = np.broadcast_to(model.precision, (len(values), *model.precision.shape)).copy()
        with np.errstate(divide="ignore"):
            extra = np.minimum(block_precision(model, values)[0], SMALLEST**-2)
        np.einsum("jqq->jq", p)[...] += extra
        own, pull = t.T @ p @ t, p @ off @ t
        logdet_p, before = _quadratic(held.T @ own @ held, pull @ held)
        logdet_a, quad = _quadratic(t.T @ xx @ t + own, right @ t + pull)
        log = n * np.log(2 * np.pi) + logdet_v + logdet_a - logdet_p
        return np.asarray(-0.5 * (log + ee + before - quad))

    return log_y
