"""Fair shares: how much of this process one organisation, one caller or one batch may use at a time."""
