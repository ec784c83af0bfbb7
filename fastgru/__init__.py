"""fastgru: trained GRU models on CPUs."""
