"""Whether an image is what it claims to be: policies, signatures, and the contents that are here."""
