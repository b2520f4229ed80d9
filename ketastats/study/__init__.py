"""Declaring a trial: schema, designs, plan, truth, estimands."""
