"""How problems are made and read."""
