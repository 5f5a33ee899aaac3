"""Public verification: units, checks, failures, reports and alerts."""
