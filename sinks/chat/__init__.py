"""What every chat shares: what is worth saying, said once, in a living message, a thread or a digest."""
