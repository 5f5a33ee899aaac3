"""The JSON of the API: requests and answers, one file for each noun."""
