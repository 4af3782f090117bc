"""The scheduler: what it is asked, what it says, and what it is given."""
