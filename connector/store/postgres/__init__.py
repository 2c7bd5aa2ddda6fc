"""One PostgreSQL database, shared by any number of receivers and workers."""
