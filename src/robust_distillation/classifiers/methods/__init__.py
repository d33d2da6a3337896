"""Training methods: what a step of training does with a batch."""
