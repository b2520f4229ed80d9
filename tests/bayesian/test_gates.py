import numpy as np
import pytest

from ketastats.bayesian import gates

FINE = {"r_hat": 1.003, "ess_bulk": 900.0, "ess_tail": 800.0, "divergences": 0.0, "e_bfmi": 0.7}
CONTRAST = {"treatment": "B - A"}
FORMULA = "y ~ treatment + period + (1|subject)"


def test_what_keeps_every_threshold_passes():
    assert [g.passed for g in gates.gates_of(FINE)] == [True] * 5


@pytest.mark.parametrize(
    "key, good, bad",
    [
        ("r_hat", 1.01, 1.0101),
        ("ess_bulk", 400.0, 399.0),
        ("ess_tail", 400.0, 399.0),
        ("divergences", 0.0, 1.0),
        ("e_bfmi", 0.3, 0.29),
    ],
)
def test_each_threshold_and_nan_fail_alone(key, good, bad):
    assert all(g.passed for g in gates.gates_of(FINE | {key: good}))
    for value in (bad, float("nan")):
        assert sum(not g.passed for g in gates.gates_of(FINE | {key: value})) == 1


def test_independent_draws_pass_and_answer(made, small):
    post = made(FORMULA, small)
    assert post.status == "ok"
    assert post.contrast(CONTRAST)["status"].item() == "ok"
    assert not any("gate" in w for w in post.warnings)


def chains_apart(made, small):
    gamma = made(FORMULA, small).draws.gamma.copy()
    gamma[0, :, 0] += 2.0  # the intercept of one chain
    return {"gamma": gamma}


def slow_energy(made, small):
    return {"energy": made(FORMULA, small).draws.energy.cumsum(axis=1)}


def one_divergence(made, small):
    diverging = made(FORMULA, small).draws.diverging.copy()
    diverging[2, 7] = True
    return {"diverging": diverging}


def a_stuck_chain(made, small):
    return {"own": np.ones_like(made(FORMULA, small).draws.own)}


@pytest.mark.parametrize(
    "spoil, name",
    [
        (chains_apart, "R-hat"),
        (slow_energy, "E-BFMI"),
        (one_divergence, "divergences"),
        (a_stuck_chain, "R-hat"),
    ],
)
def test_spoilt_draws_fail_their_gate_and_flag_every_answer(made, small, spoil, name):
    post = made(FORMULA, small, **spoil(made, small))
    assert name in [g.name for g in post.gates if not g.passed]
    assert post.status == "unconverged"
    row = post.contrast(CONTRAST).iloc[0]
    assert row["status"] == "unconverged"
    assert name in row["notes"]
    assert np.isfinite(
        row[["estimate", "se", "ci_low", "ci_high", "prob_positive"]].astype(float)
    ).all()
    assert "do not use the numbers" in post.warnings[-1]
    assert "fails" in str(post)


def test_too_few_draws_fail_both_sizes(made, small):
    post = made(FORMULA, small, draws=40, chains=2)  # 80 draws cannot hold 400
    assert {"bulk ESS", "tail ESS"} <= {g.name for g in post.gates if not g.passed}


def test_an_estimand_can_fail_alone(made, small):
    # two coefficients that are fine apart, and whose sum hardly mixes
    formula = "y ~ treatment*period + (1|subject)"
    gamma = made(formula, small).draws.gamma.copy()
    names = made(formula, small).problem.names
    main, both = names.index("treatment[1]"), names.index("treatment[1]:period[1]")
    walk = np.random.default_rng(1).normal(size=gamma.shape[:2]).cumsum(axis=1)
    gamma[:, :, both] = -2 * gamma[:, :, main] + 0.002 * walk
    post = made(formula, small, gamma=gamma)
    assert post.status == "ok"
    assert post.contrast(CONTRAST)["status"].item() == "ok"
    row = post.contrast(CONTRAST, within={"period": "2"}).iloc[0]
    assert row["status"] == "unconverged"
    assert "of its own draws" in row["notes"]
