"""Analysis + data -> Estimates: the one place that picks an engine by name."""
