"""`rportctl`: what an administrator does with a server, by its API alone."""
