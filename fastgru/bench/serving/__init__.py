"""Loads a server with an open or a closed loop of clients, and reports what they find. See `load` and `outcome`."""
