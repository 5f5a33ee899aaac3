"""Public verification: checks, their limits, and reports."""
