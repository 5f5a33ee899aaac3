"""The packing line: batches, codes, cases, reverse jobs and linking."""
