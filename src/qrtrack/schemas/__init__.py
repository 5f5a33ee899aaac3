"""The JSON of the API: requests in, answers out, one file per noun."""
