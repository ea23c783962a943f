"""What is in a log: list, follow, count, export."""
