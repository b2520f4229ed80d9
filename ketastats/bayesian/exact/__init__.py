"""The exact posterior of Gaussian mixed models, by quadrature over their SDs."""
