"""One module for each page. It has the name of the page's template."""
