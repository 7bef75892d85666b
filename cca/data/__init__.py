"""Images, their augmentation, and their codes."""
