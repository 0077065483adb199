"""Find how a class or function of the user's is built and called."""
