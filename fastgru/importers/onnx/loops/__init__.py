"""GRUs found in what Loop and Scan repeat."""
