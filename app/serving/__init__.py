"""The server: one model for many users at once, by APIs that existing clients know."""
