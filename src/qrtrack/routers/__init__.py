"""HTTP: thin functions that read a request, call one use case and shape its answer."""
