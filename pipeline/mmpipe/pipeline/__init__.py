"""The flow from a manifest to a feature store, a balanced list, a trained model and a report."""
