"""What an attacker does: evasion attacks and poisons, as pure functions over arrays and a model."""
