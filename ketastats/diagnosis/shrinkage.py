"""Many questions of one kind in one hierarchical model: estimates shrunk towards no effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.bayesian.spike_slab import (
    LEAST_SHARE,
    EffectPosterior,
    effect_posterior,
    one_factor,
)
from ketastats.core.errors import DataError, NotEstimable
from ketastats.core.threads import one_thread
from ketastats.frequentist.reml import RemlFit
from ketastats.frequentist.small_sample import kenward_roger_covariance, kenward_roger_parts
from ketastats.problem.questions import ask

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.frequentist.model import MixedModel
    from ketastats.study.model import Estimand

SHARE = (0.0, 1.0)
SLAB = (2.0, 10.0)
"""Default bounds of the slab's SD in own SEs. Effects of one SE or so are not told from none, one
by one or together: with a lower bound of 1 the share of effects is hardly learnt at all. Effects
of ten need no model to be seen."""
UNEXPLAINED = 0.1
"""Largest correlation of two estimates that may be left besides the shared error."""


@one_thread()
def shrink(
    estimates: Any,
    se: Any = None,
    *,
    shared: Any = 0.0,
    covariance: Any = None,
    share: tuple[float, float] = SHARE,
    slab: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Shrink many estimates of one kind towards no effect.

    Estimates are true effects plus an error that all share, such as that of a mouse whose whole
    brain is labelled more, plus an error of their own. Effects are none, or normal around none. The
    share of effects and their size are learnt from all estimates together, so the answer allows for
    the number of questions. An effect on all alike cannot be told from the shared error, and none
    is looked for. Standard errors are taken as known; see :mod:`ketastats.bayesian.spike_slab`.

    Parameters
    ----------
    estimates : array_like, shape (K,), or DataFrame
        A table has the columns ``estimate`` and ``se``, as :meth:`MixedModel.contrast` gives;
        its index, or its column ``estimand``, names the rows of the answer.
    se : array_like, shape (K,), optional
        Standard errors of the estimates, shared part included.
    shared : float or array_like, shape (K,)
        Standard error of the shared part; opposite signs move opposite ways.
    covariance : array_like, shape (K, K), optional
        Of the estimates, instead of ``se`` and ``shared``: it is split into both.
    share : (float, float)
        Bounds of the uniform prior of the share of effects; equal ones hold it there.
    slab : (float, float), optional
        Bounds of the SD of effects that are not none, uniform on its logarithm; equal ones hold it
        there. 2 to 10 times the median own standard error by default.

    Returns
    -------
    pandas.DataFrame
        estimate, se, own_se (beyond the shared error); the posterior's mean ``shrunken`` and
        ``sd``; ``p_effect``, the probability of any effect; ``false_sign``, the probability that
        the better sign is wrong (local false sign rate; Stephens 2017, Biostatistics 18:275).

    Raises
    ------
    DataError
        For standard errors, bounds or shapes that cannot be.
    NotEstimable
        When one shared error does not explain the covariance.

    Examples
    --------
    >>> import numpy as np
    >>> estimates = np.r_[np.full(5, 0.5), np.zeros(55)]
    >>> table = shrink(estimates, np.full(60, 0.11), shared=0.05)
    >>> table["p_effect"].round(2).iloc[[0, 30]].tolist()
    [1.0, 0.03]
    """
    import pandas as pd

    names = None
    if isinstance(estimates, pd.DataFrame):
        names, estimates, se = _of_table(estimates, se, covariance)
    e = _finite(estimates, "estimates", np.asarray(estimates).shape[:1])
    if covariance is None:
        if se is None:
            raise DataError("there are no standard errors", mend="give se or covariance")
        loading = np.broadcast_to(_finite(shared, "shared", e.shape, scalar=True), e.shape)
        own = _finite(se, "se", e.shape) ** 2 - loading**2
    else:
        loading, own = split_covariance(_finite(covariance, "covariance", (len(e), len(e))))
    found = shrunken(e, loading, own, share=share, slab=slab)
    return pd.DataFrame(
        {"estimate": e, "se": np.sqrt(own + loading**2), "own_se": np.sqrt(own)}
        | posterior_columns(found),
        index=names,
    )


def shrink_estimands(
    model: MixedModel,
    estimands: Sequence[Estimand],
    *,
    share: tuple[float, float] = SHARE,
    slab: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Shrink the answers of a mixed model to many questions of one kind.

    The shared and the own error come from the covariance of the answers, by Kenward & Roger where
    the model's df do.

    Parameters
    ----------
    model : MixedModel
    estimands : sequence of Estimand
    share, slab
        As for :func:`shrink`.

    Returns
    -------
    pandas.DataFrame
        As :func:`shrink`, one row per estimand.

    Raises
    ------
    NotEstimable
        When the fit did not converge, an estimand has no answer, or one shared error does not
        explain the covariance.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("yokoyama2024")
    >>> data = study.simulate(1, outcome="insula")
    >>> fit = ks.lmm("insula ~ drug * position + (1 | subject)", data)
    >>> from dataclasses import replace
    >>> asked = study.estimand("insula_R")
    >>> positions = study.outcome("insula").occasions[0].levels
    >>> each = [replace(asked, name=k, within=(("position", k),)) for k in positions]
    >>> shrink_estimands(fit, each)["false_sign"].idxmin()
    '6'
    """
    import pandas as pd

    if model.status == "unconverged":
        raise NotEstimable("the fit did not converge", mend="do not use its numbers")
    asked = ask(model.problem, estimands)
    for e, reason in zip(estimands, asked.reasons, strict=True):
        if reason:
            raise NotEstimable(f"the model cannot answer {e.name}: {reason}")
    covariance = contrast_covariance(model.fit, asked.rows, model.ddf)[0]
    table = shrink(asked.rows @ model.fit.beta[0], covariance=covariance, share=share, slab=slab)
    return table.set_index(pd.Index([e.name for e in estimands], name="estimand"))


def contrast_covariance(fit: RemlFit, rows: np.ndarray, ddf: str) -> np.ndarray:
    """Return the covariance of contrasts, shape (B, K, K), as the method of the df has it.

    Parameters
    ----------
    fit : RemlFit
    rows : numpy.ndarray, shape (K, q)
    ddf : str
    """
    phi = fit.at.phi
    if ddf.startswith("kenward-roger"):
        w, curved = kenward_roger_parts(fit, ddf)
        phi = kenward_roger_covariance(fit, w, curved=curved)
    return np.asarray(rows @ phi @ rows.T)


def split_covariance(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a covariance into shared SEs and own variances; see :func:`.spike_slab.one_factor`.

    Raises
    ------
    NotEstimable
        When one shared error does not explain it.
    """
    loading, own, left = one_factor(covariance)
    if left > UNEXPLAINED:
        raise NotEstimable(
            f"one error shared by all estimates leaves a correlation of {left:.2f} between two",
            mend="ask questions that differ in one factor of the same model only",
        )
    return loading, own


def shrunken(
    estimates: np.ndarray,
    loading: np.ndarray,
    own: np.ndarray,
    *,
    share: tuple[float, float] = SHARE,
    slab: tuple[float, float] | None = None,
) -> EffectPosterior:
    """Check the errors and the prior, and return the posterior; arrays of shape (K,).

    Parameters
    ----------
    estimates : numpy.ndarray
    loading : numpy.ndarray
        Shared SE, with its sign.
    own : numpy.ndarray
        Own variance.
    share, slab
        As for :func:`shrink`.
    """
    if not (own > 0).all():
        raise DataError("a standard error is not above 0, or not above its shared part", where="se")
    low, high = share
    held = low == high and LEAST_SHARE <= low <= 1 - LEAST_SHARE
    if not (0 <= low < high <= 1 or held):
        raise DataError(
            f"{share} are no bounds of a share", where="share", mend="such as (0, 1) or (0.1, 0.1)"
        )
    scale = float(np.sqrt(np.median(own)))
    slab = (SLAB[0] * scale, SLAB[1] * scale) if slab is None else slab
    if not 0 < slab[0] <= slab[1] < np.inf:
        raise DataError(f"{slab} are no bounds of an SD", where="slab", mend="such as (0.1, 1)")
    return effect_posterior(estimates, loading, own, share, slab)


def posterior_columns(found: EffectPosterior) -> dict[str, np.ndarray]:
    """Return the columns that a posterior adds to a table."""
    return {
        "shrunken": found.mean,
        "sd": found.sd,
        "p_effect": found.effect,
        "false_sign": found.false_sign,
    }


def _of_table(frame: pd.DataFrame, se: Any, covariance: Any) -> tuple[Any, Any, Any]:
    """Return names, estimates and standard errors of a table."""
    missing = [c for c in ("estimate", "se") if c not in frame.columns]
    if missing:
        raise DataError(f"there is no column {missing[0]!r}", mend="estimate and se are needed")
    if se is not None:
        raise DataError(
            "the table has the standard errors already", where="se", mend="leave it out"
        )
    names = frame["estimand"].rename("estimand") if "estimand" in frame.columns else frame.index
    import pandas as pd

    return pd.Index(names), frame["estimate"], None if covariance is not None else frame["se"]


def _finite(values: Any, what: str, shape: tuple[int, ...], *, scalar: bool = False) -> np.ndarray:
    """Return numbers as an array of a shape."""
    try:
        out = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise DataError("these are no numbers", where=what) from None
    fits = out.shape == shape or (scalar and out.ndim == 0)
    if not fits or not out.size:
        raise DataError(f"the shape is {out.shape}, not {shape}", where=what)
    if not np.isfinite(out).all():
        raise DataError(
            "a value is missing or not finite", where=what, mend="leave out what has no answer"
        )
    return out
