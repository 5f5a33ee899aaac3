"""One script a bar: what was promised, measured beside its baseline in the same run."""
