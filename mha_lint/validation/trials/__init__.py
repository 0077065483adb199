"""One execution of before and after, and what tells two of them apart."""
