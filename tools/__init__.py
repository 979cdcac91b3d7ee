"""Programs for those who work on mmpipe; none of them is installed."""
