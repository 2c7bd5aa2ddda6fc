"""The dashboard: pages that show what is true now, and let an operator repair it."""
