"""The loop that claims queued work and the handlers that do it."""
