"""Public verification: checks, failures, reports, alerts and recalls."""
