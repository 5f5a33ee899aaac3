"""One module for each page, named as its template."""
