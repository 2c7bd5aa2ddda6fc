"""The JSON API: the listings and the health model for programs."""
