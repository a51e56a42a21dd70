"""The server: one model for many users at once, through APIs that existing clients know."""
