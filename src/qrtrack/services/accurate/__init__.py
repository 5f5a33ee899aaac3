"""Accurate's webhooks: taken in, processed and forwarded; its documents."""
