"""The JSON of the API: the Pydantic models of requests and answers, one file for each subject."""
