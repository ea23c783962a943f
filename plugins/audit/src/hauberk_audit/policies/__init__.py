"""Which policies were in force, to the byte, and who signed them."""
