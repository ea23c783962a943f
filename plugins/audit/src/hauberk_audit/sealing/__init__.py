"""A log that is encrypted at rest, and the keys for it."""
