"""What runs are doing, what they printed, and why they stopped: looked at, never changed."""
