"""What happens to a log when its process is killed, or its disk fails, at any moment (`python -m tests.crash`)."""
