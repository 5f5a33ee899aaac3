"""The rules of packing, payment and accounting events. Pure: no I/O, no framework, no SQL."""
