"""Log-densities of every family at fixed values: scipy.stats, a dense covariance, each other."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ketastats.bayesian import sampling
from ketastats.bayesian.families import FAMILIES
from ketastats.bayesian.likelihood import GAUSSIAN, Likelihood
from ketastats.bayesian.natural import truncated_mean
from ketastats.bayesian.outcomes import series
from ketastats.study.model import Scale
from ketastats.study.priors import Prior

EXACT = 1e-10
"""Relative: some hundred double operations, gamma functions among them, in two orders."""

N = 12
RNG = np.random.default_rng(4)
ETA = RNG.normal(0.2, 0.8, N)
TRIALS = RNG.integers(1, 40, N)
SPENT = RNG.uniform(0.5, 4, N)
BOUNDS = Scale("real", -1.0, 1.5, 2, "s")
INSIDE = np.clip(ETA + 0.3 * RNG.normal(size=N), -0.99, 1.49)
AT_BOUNDS = np.where(np.arange(N) % 4 == 0, 1.5, np.where(np.arange(N) % 5 == 0, -1.0, INSIDE))
COUNTS = RNG.poisson(np.exp(ETA) * SPENT)
SUCCESSES = RNG.binomial(TRIALS, expit(ETA))
FREE = ETA + RNG.normal(size=N)
CUTS = np.array([-1.0, 0.2, 1.1])
CATEGORY = np.arange(N) % 4
SCORES = np.array([0.0, 1.0, 3.0, 4.0])


def constant(value):
    import pytensor.tensor as pt

    return pt.as_tensor_variable(np.asarray(value, dtype=np.float64))


def evaluated(variable):
    """Evaluate without a compiler: a tenth of a second."""
    return float(variable.eval(mode="FAST_COMPILE"))


def log_density(rows, y, eta=ETA, **own):
    import pymc as pm

    with sampling.ensure_reproducible(), pm.Model() as model:
        values = {k: constant(v) for k, v in own.items()}
        rows.family.density(constant(eta), values, np.asarray(y, dtype=np.float64), rows)
        return evaluated(model.logp())


def rows_of(name, **changes):
    groups = ("residual",) if FAMILIES[name].residual else ()
    return Likelihood(FAMILIES[name], groups=groups, **changes)


def two_shapes(omega):
    return expit(ETA) / omega**2, expit(-ETA) / omega**2


def censored_by_hand(sigma):
    low, high = AT_BOUNDS == -1.0, AT_BOUNDS == 1.5
    inner = stats.norm.logpdf(AT_BOUNDS, ETA, sigma)
    inner[low] = stats.norm.logcdf(-1.0, ETA[low], sigma)
    inner[high] = stats.norm.logsf(1.5, ETA[high], sigma)
    return inner.sum()


def categories_by_hand():
    ends = np.array([-np.inf, *CUTS, np.inf])
    return np.log(expit(ends[CATEGORY + 1] - ETA) - expit(ends[CATEGORY] - ETA))


EXPOSED = np.log(SPENT)
CASES = {
    "gaussian": (rows_of("gaussian"), FREE, {"sigma": 0.7}, stats.norm.logpdf(FREE, ETA, 0.7)),
    "student-t": (
        rows_of("student-t"),
        FREE,
        {"sigma": 0.7, "excess": 2.5},
        stats.t.logpdf(FREE, 3.5, ETA, 0.7),
    ),
    "censored": (
        rows_of("censored", scale=BOUNDS),
        AT_BOUNDS,
        {"sigma": 0.7},
        censored_by_hand(0.7),
    ),
    "truncated": (
        rows_of("truncated", scale=BOUNDS),
        INSIDE,
        {"sigma": 0.7},
        stats.truncnorm.logpdf(INSIDE, (-1 - ETA) / 0.7, (1.5 - ETA) / 0.7, ETA, 0.7),
    ),
    "beta": (
        rows_of("beta"),
        expit(FREE),
        {"omega": 0.4},
        stats.beta.logpdf(expit(FREE), *two_shapes(0.4)),
    ),
    "binomial": (
        rows_of("binomial", trials=TRIALS),
        SUCCESSES,
        {},
        stats.binom.logpmf(SUCCESSES, TRIALS, expit(ETA)),
    ),
    "beta-binomial": (
        rows_of("beta-binomial", trials=TRIALS),
        SUCCESSES,
        {"omega": 0.4},
        stats.betabinom.logpmf(SUCCESSES, TRIALS, *two_shapes(0.4)),
    ),
    "poisson": (
        rows_of("poisson", log_exposure=EXPOSED),
        COUNTS,
        {},
        stats.poisson.logpmf(COUNTS, np.exp(ETA) * SPENT),
    ),
    "negative-binomial": (
        rows_of("negative-binomial", log_exposure=EXPOSED),
        COUNTS,
        {"omega": 0.6},
        stats.nbinom.logpmf(COUNTS, 1 / 0.36, 1 / (1 + 0.36 * np.exp(ETA) * SPENT)),
    ),
    "ordered": (
        rows_of("ordered", scores=SCORES, categories=("0", "1", "3", "4")),
        SCORES[CATEGORY],
        {"cutpoints": CUTS},
        categories_by_hand(),
    ),
}


def test_every_family_has_a_case():
    assert set(CASES) == set(FAMILIES)


@pytest.mark.parametrize("name", CASES)
def test_the_log_density_is_that_of_scipy(name):
    rows, y, own, expected = CASES[name]
    assert log_density(rows, y, **own) == pytest.approx(np.sum(expected), rel=EXACT)


@pytest.mark.parametrize(
    "scale", [Scale("real", None, 1.5, 2, ""), Scale("real", -1.0, None, 2, "")]
)
def test_one_bound_is_enough(scale):
    low, high = (-np.inf if scale.min is None else -1.0), (np.inf if scale.max is None else 1.5)
    rows = rows_of("truncated", scale=scale)
    expected = stats.truncnorm.logpdf(INSIDE, (low - ETA) / 0.7, (high - ETA) / 0.7, ETA, 0.7)
    assert log_density(rows, INSIDE, sigma=0.7) == pytest.approx(expected.sum(), rel=EXACT)
    y = np.clip(AT_BOUNDS, low, high)
    at = (y == low) | (y == high)
    parts = stats.norm.logpdf(y, ETA, 0.7)
    parts[y == low] = stats.norm.logcdf(low, ETA[y == low], 0.7)
    parts[y == high] = stats.norm.logsf(high, ETA[y == high], 0.7)
    assert 0 < at.sum() < N
    rows = rows_of("censored", scale=scale)
    assert log_density(rows, y, sigma=0.7) == pytest.approx(parts.sum(), rel=EXACT)


def test_student_s_t_with_many_degrees_of_freedom_is_gaussian():
    _, y, _, expected = CASES["gaussian"]
    found = log_density(CASES["student-t"][0], y, sigma=0.7, excess=1e7)
    # log t - log normal is of order z^4 / (4 nu) per row, z at most 4 here
    assert found == pytest.approx(expected.sum(), abs=N * 4**4 / 4e7)
    assert log_density(CASES["student-t"][0], y, sigma=0.7, excess=9.0) != pytest.approx(
        expected.sum(), abs=1e-3
    )


def test_censored_without_a_censored_value_is_gaussian_to_the_last_bit():
    same = log_density(GAUSSIAN, INSIDE, sigma=0.7)
    assert log_density(rows_of("censored", scale=BOUNDS), INSIDE, sigma=0.7) == same


def test_overdispersion_of_zero_is_binomial_and_poisson():
    small = 1e-4  # alpha and rho 1e-8: terms of order alpha y², and rounding of 1 / alpha
    found = log_density(CASES["beta-binomial"][0], SUCCESSES, omega=small)
    assert found == pytest.approx(CASES["binomial"][3].sum(), abs=1e-5)
    found = log_density(CASES["negative-binomial"][0], COUNTS, omega=small)
    assert found == pytest.approx(CASES["poisson"][3].sum(), abs=1e-5)


def test_a_residual_sd_per_group():
    level = np.arange(N) % 2
    rows = Likelihood(FAMILIES["gaussian"], residual="by", groups=("a", "b"), level=level)
    sigma = np.array([0.5, 1.4])
    expected = stats.norm.logpdf(FREE, ETA, sigma[level]).sum()
    assert log_density(rows, FREE, sigma=sigma) == pytest.approx(expected, rel=EXACT)


def in_series():
    """Three subjects, shuffled, two levels lost in one of them."""
    group = np.array([0, 1, 2, 0, 1, 0, 1, 2, 0, 2, 1, 0])
    level = np.array([3, 0, 4, 0, 2, 1, 1, 0, 2, 1, 3, 4])
    previous, gap = series(group, level)
    rows = Likelihood(FAMILIES["gaussian"], residual="ar1", previous=previous, gap=gap)
    return group, level, rows


@pytest.mark.parametrize("rho", [0.6, -0.35])
def test_ar1_is_the_multivariate_normal_with_powers_of_rho(rho):
    group, level, rows = in_series()
    together = group[:, None] == group
    covariance = 0.49 * together * rho ** np.abs(level[:, None] - level)
    expected = stats.multivariate_normal.logpdf(FREE, ETA, covariance)
    found = log_density(rows, FREE, sigma=0.7, fisher_z=np.arctanh(rho))
    assert found == pytest.approx(expected, rel=EXACT)


def test_ar1_without_correlation_is_gaussian():
    _, _, rows = in_series()
    expected = CASES["gaussian"][3].sum()
    assert log_density(rows, FREE, sigma=0.7, fisher_z=0.0) == pytest.approx(expected, rel=EXACT)


PRIOR = {
    "half-normal": lambda v, s: stats.halfnorm.logpdf(v, scale=s),
    "exponential": lambda v, s: stats.expon.logpdf(v, scale=s),
    "half-t": lambda v, df, s: np.log(2) + stats.t.logpdf(v, df, scale=s),
    "normal": stats.norm.logpdf,
}


@pytest.mark.parametrize("name", [*sorted(set(CASES) - {"ordered"}), "ar1"])
def test_the_whole_model_is_priors_times_density(name):
    """Up to a constant: two points, so that the units in which the sampler moves fall out."""
    rows, y, own, _ = CASES["gaussian"] if name == "ar1" else CASES[name]
    if name == "ar1":
        rows, own = in_series()[2], {"sigma": 0.7, "fisher_z": 0.5}
    x = np.column_stack([np.ones(N), RNG.normal(size=N)])
    group = np.arange(N) % 3
    location, scale, sd = np.array([0.3, 0.0]), np.array([2.0, 1.5]), Prior("half-t", (4.0, 0.8))
    extra = tuple(p.prior for p in rows.own)
    inputs = sampling.Inputs(
        np.asarray(y, dtype=np.float64), x, (np.ones(N),), (group,), (3,), location, scale, sd,
        rows, extra,
    )  # fmt: skip
    with sampling.ensure_reproducible():
        model = sampling.build_model(inputs)
        logp = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    centre, step, _ = sampling.unit_of(inputs)
    changes = []
    for shift in (0.0, 0.2):
        gamma, tau = np.array([0.1, -0.4]) + shift, np.array([0.6 + shift])
        z = np.array([0.3, -1.0, 0.5]) - shift
        values = {k: np.float64(v + shift) for k, v in own.items()}
        point = {"unit": (gamma - centre) / step, "deviation_0": z, "sd_log__": np.log(tau)}
        for k, v in values.items():
            point[k if k == "fisher_z" else f"{k}_log__"] = v if k == "fisher_z" else np.log(v)
        priors = {p.variable: p.prior for p in rows.own} | {"sigma": sd}
        by_hand = stats.norm.logpdf(gamma, location, scale).sum() + stats.norm.logpdf(z).sum()
        by_hand += PRIOR["half-t"](tau[0], 4.0, 0.8)
        by_hand += sum(PRIOR[priors[k].family](v, *priors[k].parameters) for k, v in values.items())
        by_hand += log_density(rows, y, x @ gamma + tau[0] * z[group], **values)
        changes.append((float(logp(point)), by_hand))
    (a, b), (c, d) = changes
    assert abs(d - b) > 0.1
    assert c - a == pytest.approx(d - b, abs=1e-8 * (1 + abs(b)))


@pytest.mark.parametrize("name", CASES)
def test_starting_values_are_finite_at_the_ends(name):
    rows, y, _, _ = CASES[name]
    ends = {"trials": (0, rows.trials), "counts": (0, y), "shares": (1e-9, 1 - 1e-9)}
    for end in ends.get(rows.family.needs, ()):
        assert np.isfinite(rows.working(np.broadcast_to(end, N) + np.zeros(N))).all()


@pytest.mark.parametrize("name", ["censored", "truncated"])
@pytest.mark.parametrize("far", [-60.0, 60.0])
def test_far_from_the_bounds_the_density_and_its_gradient_are_finite_and_right(name, far):
    import pymc as pm

    rows = rows_of(name, scale=BOUNDS)
    y = np.array([-1.0, 0.4, 1.5])
    with sampling.ensure_reproducible(), pm.Model() as model:
        mean = pm.Flat("mean", shape=3)
        rows.family.density(mean, {"sigma": constant(1.0)}, y, rows)
        log, slope = (
            compiled(mode="FAST_COMPILE")({"mean": np.full(3, far)})
            for compiled in (model.compile_logp, model.compile_dlogp)
        )
    if name == "censored":
        z = (y - far) * [1, 1, -1]
        logs = [stats.norm.logcdf(z[0]), stats.norm.logpdf(z[1]), stats.norm.logcdf(z[2])]
        hazard = np.exp(stats.norm.logpdf(z) - stats.norm.logcdf(z))
        by_hand = [-hazard[0], z[1], hazard[2]]
    else:
        logs = stats.truncnorm.logpdf(y, -1.0 - far, 1.5 - far, far, 1.0)
        by_hand = y - truncated_mean(np.array(far), np.array(1.0), -1.0, 1.5)
    expected = np.sum(logs)
    # truncnorm itself takes differences of numbers near far² / 2: 1800 times 1e-16, and their log
    assert log == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(slope, by_hand, rtol=1e-9, atol=1e-9)
