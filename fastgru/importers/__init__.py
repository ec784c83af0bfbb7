"""Reads files into graphs. The conventions of other frameworks are converted here. Nothing here runs a kernel."""
