"""The frequentist school: REML mixed models with small-sample degrees of freedom."""
