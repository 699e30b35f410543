"""The commands of an installed package. The scripts of a clone call them."""
