"""From a problem and priors as text to a model for quadrature."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import null_space

from ketastats.bayesian.design import StandardDesign, slope_sd
from ketastats.bayesian.exact.axes import Axis, sd_axis
from ketastats.bayesian.exact.nodes import Block, Gaussian
from ketastats.bayesian.priors import ROLES, choose_priors
from ketastats.core.errors import DataError, FormulaError, StudyError
from ketastats.problem.build import Problem
from ketastats.problem.questions import ask
from ketastats.study.lookup import suggestion
from ketastats.study.priors import EXACT, Prior, parse_prior

if TYPE_CHECKING:
    from ketastats.study.model import Estimand, Scale

MOST_AXES = 4
"""Components that are integrated numerically, the residual among them."""
OTHERS = ("residual", "correlation")


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Priors of one model.

    Attributes
    ----------
    roles : mapping of str to Prior
        intercept, effects, sd, residual, correlation.
    terms : mapping of str to Prior
        Of fixed-effect terms that have one of their own.
    questions : mapping of str to Prior
        Of estimands.
    text : tuple of (str, str)
    notes : tuple of str
    """

    roles: Mapping[str, Prior]
    terms: Mapping[str, Prior]
    questions: Mapping[str, Prior]
    text: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def term_of(column: str) -> str:
    """Return the term of a column of X.

    Examples
    --------
    >>> term_of("treatment[1]:sex[1]")
    'treatment:sex'
    """
    return re.sub(r"\[[^\]]*\]", "", column)


def choose(
    given: Mapping[str, str] | None,
    problem: Problem,
    y: np.ndarray,
    scale: Scale | None,
    typical_sd: float | None,
    estimands: Sequence[Estimand],
) -> Chosen:
    """Sort the priors given into roles, terms and estimands, with defaults for the roles.

    Raises
    ------
    StudyError
        For a key that is none of them, or a prior that cannot be read.
    """
    _check_text(given)
    given = {k: v.strip() for k, v in (given or {}).items()}
    terms = {":".join(sorted(term_of(n).split(":"))): term_of(n) for n in problem.names}
    names = [e.name for e in estimands]
    plain, roles, of_terms, questions = {}, {}, {}, {}
    for key, text in given.items():
        prior = parse_prior(text, key)
        term = terms.get(":".join(sorted(key.split(":"))))
        if key in OTHERS or (key in ROLES and prior.family in EXACT):
            roles[key] = prior
        elif key in ROLES:
            plain[key] = text
        elif term is not None:
            of_terms[term] = prior
        elif key in names:
            questions[key] = _of_question(key, prior)
        else:
            raise StudyError(
                f"there is no prior for {key!r}",
                where="priors",
                mend=suggestion(key, [*ROLES, *OTHERS, *terms.values(), *names]),
            )
    defaults = choose_priors(plain, y, problem.outcome, scale, typical_sd)
    for role in ROLES:
        roles.setdefault(role, getattr(defaults, role))
    roles.setdefault("residual", roles["sd"])
    roles.setdefault("correlation", Prior("lkj", (2.0,)))
    unused = set() if "Intercept" in problem.names else {"intercept"}
    if "residual" in given and not problem.random:
        unused.add("sd")
    if set(problem.names) <= {"Intercept"}:
        unused.add("effects")
    shown = [r for r in ROLES if r not in unused or r in given]
    shown += [r for r in OTHERS if r in given or (r == "correlation" and _correlated(problem))]
    lines = [(r, str(roles[r])) for r in shown]
    lines += [(name, str(p)) for name, p in (*of_terms.items(), *questions.items())]
    return Chosen(roles, of_terms, questions, tuple(lines), defaults.notes)


def _check_text(given: Mapping[str, str] | None) -> None:
    if given is not None and not isinstance(given, Mapping):
        raise StudyError(
            f"priors is {given!r}, not a mapping", mend='write {"effects": "normal(0, 10)"}'
        )
    for key, text in (given or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise StudyError(
                f"the prior {text!r} is not a text",
                where=f"priors.{key}",
                mend='write "normal(0, 10)"',
            )


def _of_question(name: str, prior: Prior) -> Prior:
    if prior.family != "normal":
        raise StudyError(
            f"the prior {str(prior)!r} of an estimand is not normal",
            where=f"priors.{name}",
            mend="write normal(mean, sd)",
        )
    return prior


def _correlated(problem: Problem) -> bool:
    return any(len(r.effects) > 1 for r in problem.random)


def check_random(problem: Problem) -> None:
    """Refuse more components than the grid takes, and residuals it has no axis for."""
    linear = problem.residual.structure.linear
    kinds = problem.residual.structure.names
    if not linear or any("," in n for n in kinds):
        raise FormulaError(
            f"the residual structure {'and '.join(kinds)!r} is not a variance or a variance by "
            "group, and the exact posterior has no other",
            where="residual",
            mend="use ks.mcmc, or leave it out",
        )


def too_many(count: int) -> FormulaError:
    """Return the refusal of more components than the grid takes."""
    return FormulaError(
        f"{count} components would have to be integrated numerically (SDs, correlations and scales "
        f"of priors, the residual among them), and the exact posterior takes {MOST_AXES}",
        where="random terms",
        mend="use ks.mcmc, or fewer random terms",
    )


def compile_model(
    problem: Problem,
    design: StandardDesign,
    chosen: Chosen,
    unit: float,
    estimands: Sequence[Estimand] = (),
) -> Gaussian:
    """Return the model in standard units.

    Parameters
    ----------
    problem : Problem
        In difference coding.
    design : StandardDesign
    chosen : Chosen
    unit : float
        SD of the outcome around the fixed effects: where the quadrature begins.
    estimands : sequence of Estimand
        Those with a prior of their own.

    Raises
    ------
    FormulaError
        For more components than the grid takes.
    DataError
        Where the posterior would be improper.
    """
    check_random(problem)
    axes, parameters = _variance_axes(problem, design, chosen, unit)
    location, precision, blocks = _coefficients(problem, design, chosen, axes)
    if len(axes) > MOST_AXES:
        raise too_many(len(axes))
    _check_proper(problem, chosen)
    free = np.setdiff1d(np.arange(len(location)), [c for b in blocks for c in b.columns])
    if chosen.questions:
        location, precision = _with_questions(
            problem, design, chosen.questions, estimands, location, precision, blocks
        )
    flat, logdet = _flat_and_logdet(precision[np.ix_(free, free)])
    return Gaussian(
        problem=replace(problem, x=design.x),
        axes=tuple(axes),
        parameters=parameters,
        location=location,
        precision=precision,
        logdet=logdet,
        flat=flat,
        blocks=blocks,
    )


def _flat_and_logdet(precision: np.ndarray) -> tuple[int, float]:
    """Return the directions without a prior, and the log determinant over the others."""
    size = np.sqrt(np.diag(precision))
    used = size > 0
    part = precision[np.ix_(used, used)]
    alike = part / np.outer(size[used], size[used])  # priors may differ by orders of magnitude
    values = np.linalg.eigvalsh(alike)
    held = values > 1e-12
    if held.all():
        logdet = float(np.log(values).sum() + 2 * np.log(size[used]).sum())
    else:
        logdet = float(np.log(np.linalg.eigvalsh(part)[int((~held).sum()) :]).sum())
    return int((~used).sum() + (~held).sum()), logdet


def _variance_axes(
    problem: Problem, design: StandardDesign, chosen: Chosen, unit: float
) -> tuple[list[Axis], tuple[tuple[int, ...], ...]]:
    """Return axes of the random terms and the residual, and which make up every parameter."""
    axes: list[Axis] = []
    parameters: list[tuple[int, ...]] = []
    prior = chosen.roles["sd"]
    for r in problem.random:
        per_group = np.bincount(r.group[r.group >= 0]).mean()
        own = {}
        for i in range(len(r.effects)):
            used = r.z[r.group >= 0, i]
            size = slope_sd(r, i)
            of = Prior(prior.family, (*prior.parameters[:-1], prior.parameters[-1] / size))
            weight = float(np.sqrt(np.mean(used**2) * per_group))
            own[i] = len(axes)
            name = next(n for a, b, n in r.parameters if a == b == i)
            axis = sd_axis(f"sd {name}", of, SMALL * unit / weight)
            # V has the product of two SDs and their correlation, which is not even in an SD
            axes.append(replace(axis, map="end") if len(r.effects) > 1 else axis)
        for i, j, name in r.parameters:
            if i == j:
                parameters.append((own[i], own[i]))
                continue
            if len(r.effects) > 2:
                raise too_many(len(axes) + 4)
            parameters.append((len(axes), own[i], own[j]))
            axes.append(
                Axis(f"correlation {name}", "correlation", 1.0, chosen.roles["correlation"])
            )
    for name in problem.residual.structure.names:
        parameters.append((len(axes), len(axes)))
        axes.append(Axis(f"sd {name}", "log", unit, chosen.roles["residual"]))
    return axes, tuple(parameters)


SMALL = 0.3
"""Unit of an SD's axis over the standard error that deviations of a group have: smaller than where
the likelihood bends."""


def _coefficients(
    problem: Problem, design: StandardDesign, chosen: Chosen, axes: list[Axis]
) -> tuple[np.ndarray, np.ndarray, tuple[Block, ...]]:
    """Return prior mean and precision, and columns with a prior scale; adds their axes."""
    q = len(problem.names)
    location, precision = np.zeros(q), np.zeros(q)
    effects = chosen.roles["effects"]
    groups: dict[str, tuple[Prior, list[int]]] = {}
    for j, name in enumerate(problem.names):
        term = term_of(name)
        own = chosen.terms.get(term)
        prior = own or (chosen.roles["intercept"] if j == design.intercept else effects)
        if prior.family == "normal":
            location[j], precision[j] = prior.parameters[0], prior.parameters[1] ** -2
        elif prior.family == "hierarchical":
            key = term if own else "effects"
            groups.setdefault(key, (prior, []))[1].append(j)
        elif prior.family == "standardised-cauchy":
            groups.setdefault(term, (prior, []))[1].append(j)
    residual = next(i for i, a in enumerate(axes) if a.map == "log")
    blocks = []
    for key, (prior, columns) in groups.items():
        scale = prior.parameters[0]
        cauchy = prior.family == "standardised-cauchy"
        if cauchy and len(problem.residual.structure.names) > 1:
            raise StudyError(
                "effects in residual SDs need one residual SD",
                where=f"priors.{key}",
                mend="leave out the residual structure, or use a normal prior",
            )
        blocks.append(Block(np.array(columns), len(axes), residual if cauchy else -1))
        if cauchy:
            of = Prior("inverse-root-gamma", (scale,))
            axes.append(Axis(f"scale of {key}", "ratio", scale, of))
        else:
            # not even: an estimand's mean over its SD, given the scale, is odd in the scale
            of = Prior("half-normal", (scale,))
            axes.append(Axis(f"scale of {key}", "end", SMALL * scale, of))
    return location, np.diag(precision), tuple(blocks)


def _with_questions(
    problem: Problem,
    design: StandardDesign,
    questions: Mapping[str, Prior],
    estimands: Sequence[Estimand],
    location: np.ndarray,
    precision: np.ndarray,
    blocks: tuple[Block, ...],
) -> tuple[np.ndarray, np.ndarray]:
    r"""Give estimands priors of their own; given them, the coefficients keep theirs.

    With :math:`C \beta` asked, :math:`p(\beta) = p_0(\beta \mid C\beta)\, p(C\beta)`: the precision
    :math:`P_0 - C'(C S_0 C')^{-1} C + C' D^{-1} C`, whatever the coding of the factors. Of
    estimands with flat effects only the combinations without them had a prior before.
    """
    by_name = {e.name: e for e in estimands}
    asked = ask(problem, [by_name[n] for n in questions])
    for name, reason in zip(questions, asked.reasons, strict=True):
        if reason:
            raise StudyError(
                f"there is no prior of {name!r} without an answer: {reason}",
                where=f"priors.{name}",
                mend="leave it out or change the formula",
            )
    c = asked.rows @ design.back
    if np.linalg.matrix_rank(c) < len(c):
        raise StudyError(
            f"the estimands {', '.join(questions)} determine each other",
            where="priors",
            mend="give a prior to as many as are independent",
        )
    scaled = [j for b in blocks for j in b.columns]
    if np.abs(c[:, scaled]).max(initial=0.0) > 1e-12:
        raise StudyError(
            "an estimand with a prior of its own has effects whose prior has a scale to be "
            "estimated",
            where="priors",
            mend="give those effects a normal prior",
        )
    flat = np.diag(precision) == 0
    mean = np.array([p.parameters[0] for p in questions.values()])
    inverse = np.diag([p.parameters[1] ** -2.0 for p in questions.values()])
    covariance = np.diag(np.where(flat, 0.0, 1 / np.where(flat, 1.0, np.diag(precision))))
    held = null_space(c[:, flat].T) if flat.any() else np.eye(len(c))
    before = held @ np.linalg.inv(held.T @ c @ covariance @ c.T @ held) @ held.T
    right = precision @ location + c.T @ (inverse @ mean - before @ (c @ location))
    out = precision + c.T @ (inverse - before) @ c
    return np.linalg.pinv(out, hermitian=True) @ right, out


def _check_proper(problem: Problem, chosen: Chosen) -> None:
    """Refuse what has no proper posterior."""
    if chosen.roles["residual"].family != "jeffreys":
        return
    if len(problem.residual.structure.names) > 1:
        raise StudyError(
            "a Jeffreys prior is for one residual SD",
            where="priors.residual",
            mend="use half-normal, half-t or exponential",
        )
    if np.linalg.matrix_rank(whole_design(problem)) >= len(problem.x):
        raise DataError(
            "the posterior is improper: with a Jeffreys prior of the residual SD, the fixed and "
            "random effects can fit every row",
            where="priors.residual",
            mend="give the residual a half-normal prior or simplify the model",
        )


def whole_design(problem: Problem) -> np.ndarray:
    """Return fixed effects and every effect of every group side by side, shape (rows, columns)."""
    parts = [problem.x]
    for r in problem.random:
        inside = r.group >= 0
        for i in range(len(r.effects)):
            z = np.zeros((len(problem.x), len(r.levels)))
            z[inside, r.group[inside]] = r.z[inside, i]
            parts.append(z)
    return np.hstack(parts)
