"""The log as it is written: the chain, its key, its state, its files."""
