"""One PostgreSQL database for as many receivers and workers as there are."""
