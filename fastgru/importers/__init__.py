"""Reads files into graphs. All other conventions are converted here; nothing here runs a kernel."""
