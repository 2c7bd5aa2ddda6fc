"""Who may see and do what: sign-in by password or by a proxy, sessions, and the protection of forms."""
