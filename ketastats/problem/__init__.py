"""Data and formula as matrices: X, blocks, covariance basis, reference grid."""
