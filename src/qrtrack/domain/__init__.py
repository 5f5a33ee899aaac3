"""The rules of the trade, pure: no I/O, no framework, no SQL."""
