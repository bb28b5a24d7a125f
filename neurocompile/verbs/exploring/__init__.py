"""What ``explore`` is made of: the designs, the tasks that compile and run them, what is dropped early, what is mixed,
and what of it a user should take."""
