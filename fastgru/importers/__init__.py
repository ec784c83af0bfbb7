"""Files to graphs. Every foreign convention dies here; nothing here runs a kernel."""
