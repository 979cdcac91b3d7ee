"""The semi-supervised multimodal model of Liang, Li and Jin (2020), and its cross-validated training."""
