"""Recognises GRUs in the bodies of Loop and Scan."""
