"""Many draws -> operating characteristics; what would change a conclusion."""
