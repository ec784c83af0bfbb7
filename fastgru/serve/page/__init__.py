"""The page of a server: what it is doing, for a browser."""
