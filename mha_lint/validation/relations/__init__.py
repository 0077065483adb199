"""Define what each relation asks of before and after."""
