"""Classifiers that attacker and defender build alike: architectures by name, and how to train them."""
