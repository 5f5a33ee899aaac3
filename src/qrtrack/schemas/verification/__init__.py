"""Public verification: checks and reports."""
