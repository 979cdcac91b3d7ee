"""`mmpipe browse`: a local page to look through the utterances of feature stores, and to mark them."""
