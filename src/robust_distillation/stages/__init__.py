"""One thin module per DVC stage: read params and inputs, call the rooms, write outputs, log."""
