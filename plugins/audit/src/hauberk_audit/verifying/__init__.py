"""Whether logs are what was written."""
