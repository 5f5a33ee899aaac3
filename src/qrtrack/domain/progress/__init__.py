"""Progress of other systems' long work: batches of records and their outcomes."""
