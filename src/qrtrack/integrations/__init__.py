"""The clients of other systems, one module each."""
