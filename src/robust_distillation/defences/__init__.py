"""What a defender does: autoencoder, detector, distillation and abstention."""
