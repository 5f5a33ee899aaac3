"""Settlements paid through the bank gateway Akselgate."""
