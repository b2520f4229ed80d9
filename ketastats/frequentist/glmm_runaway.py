"""Random intercepts whose standard deviation runs away, told from those that are large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.frequentist.glmm_search import LIMIT, OK, SPREAD

if TYPE_CHECKING:
    from ketastats.frequentist.glmm_batch import Batch

FAR = {"logit": 5.0, "log": 5.0, "probit": 2.75}
"""A random intercept's SD on the link scale above which it is looked at twice. At 5 a group one SD
up has a share of 0.993 and one down 0.007, counts lie a factor of 150 apart; the probit's is that
of the logit divided by the SD of the logistic distribution."""
MOVES = 0.1
"""Standard errors that a fit may move by with more than twice the nodes. What it has beyond is the
quadrature's: where groups are all or nothing the likelihood rises for ever, and a sum over nodes
has maxima on the way, elsewhere for every number of them."""
WALD = 1.96
"""An SD above FAR is surely not 0. Where its standard error says less than this, the likelihood is
flat to the right of it (Hauck & Donner 1977, J Am Stat Assoc 72:851)."""


def runaways(batch: Batch) -> np.ndarray:
    """Return which outcomes have a random intercept that is far and not determined, shape (B,).

    Far is a standard deviation above FAR. Not determined is one that a Newton step on the
    likelihood with 2 k + 1 nodes in place of k takes further than MOVES standard errors, or that is
    less than WALD of its own. What the search has followed beyond its limit is both.

    Parameters
    ----------
    batch : Batch
        Fitted.
    """
    both = [batch.q, batch.q + 2]
    sd = batch.z[:, both]
    out = (batch.reason == SPREAD) & (sd > LIMIT).any(axis=1)
    far = sd > FAR[batch.kind.link]
    suspect = (batch.reason == OK) & far.any(axis=1)
    if not suspect.any():
        return out
    free = batch.free[suspect]
    apart = ~free[:, :, None] | ~free[:, None, :]
    information = np.where(apart, np.eye(batch.q + 3), -batch.hess[suspect])
    covariance = np.linalg.inv(information)
    more = batch.with_nodes(2 * len(batch.nodes[0]) + 1, suspect)[1]
    slope = np.where(free, more[suspect], 0.0)
    moved = np.einsum("bi,bij,bj->b", slope, covariance, slope) > MOVES**2
    se = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)[:, both])
    out[suspect] = moved | (far[suspect] & (sd[suspect] < WALD * se)).any(axis=1)
    return out
