"""terminal_test: small tasks that prove a whole stack works."""
