"""What an image set is: sources, archives, the generator, pickles, checks and the synthetic signs."""
