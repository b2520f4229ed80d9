"""The Bayesian school: the same formula and estimands, sampled by NUTS in PyMC."""
