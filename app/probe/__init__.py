"""The recall probe: how far back a memory still finds what it was told."""
