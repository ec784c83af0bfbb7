"""A server under load: an open or a closed loop of clients, and what they find. See `load` and `outcome`."""
