"""MLflow: runs, lineage, the registry and promotion."""
