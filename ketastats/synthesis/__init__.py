"""Drawing outcomes with a declared truth."""
