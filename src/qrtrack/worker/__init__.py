"""The loop that claims queued work, and the handlers that execute it."""
