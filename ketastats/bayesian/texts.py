"""A posterior as text and as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ketastats.bayesian.posterior import Posterior


def as_text(post: Posterior) -> str:
    """Return what a terminal shows."""
    p = post.problem
    lines = [
        f"Bayesian {post.rows.title}: {p.outcome} ~ {p.formula}",
        f"{len(p.y)} rows in {len(np.unique(p.block))} independent blocks; "
        f"{post.settings.method}; seed {post.seed}",
        *(f"{'' if k == 'link' else 'prior of '}{k}: {v}" for k, v in post.prior_text),
        "",
        post.summary().to_string(float_format=lambda v: f"{v:.4g}"),
        "",
        "; ".join(str(g) for g in post.gates),
    ]
    lines += [f"warning: {w}" for w in post.warnings]
    return "\n".join(lines)


def as_html(post: Posterior) -> str:
    """Return what a notebook shows."""
    p = post.problem
    head = f"<p>{escape(p.outcome)} ~ {escape(p.formula)}; {escape(post.settings.method)}</p>"
    priors = "".join(f"<li>{escape(k)}: {escape(v)}</li>" for k, v in post.prior_text)
    gates = "; ".join(escape(str(g)) for g in post.gates)
    notes = "".join(f"<p>warning: {escape(w)}</p>" for w in post.warnings)
    table = post.summary().to_html(float_format=lambda v: f"{v:.4g}")
    return f"{head}<p>Priors</p><ul>{priors}</ul>{table}<p>{gates}</p>{notes}"
