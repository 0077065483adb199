"""The processes that run the user's code, and what they may do."""
