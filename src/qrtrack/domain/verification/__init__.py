"""Public verification: checks, their limits, reports, alerts and recalls."""
