"""QR symbols and labels: formats, label jobs and their files."""
