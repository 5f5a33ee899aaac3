"""Public verification over HTTP: the API, and pages for phones."""
