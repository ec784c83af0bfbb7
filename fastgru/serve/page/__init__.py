"""The web page that shows what the server is doing."""
