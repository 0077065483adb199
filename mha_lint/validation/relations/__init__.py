"""What each relation asks of before and after."""
