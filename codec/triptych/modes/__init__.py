"""The panels: each mode turns images into the body of a frame and back. See `base` for the contract."""
