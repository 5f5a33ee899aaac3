"""Symbols and labels: formats, label jobs and their files."""
