"""How much the sieve catches, and how much it catches that is harmless: a corpus, and what comes of it."""
