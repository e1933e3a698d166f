"""What every other part of the package may use, and what knows none of them."""
