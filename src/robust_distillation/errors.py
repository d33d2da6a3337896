"""The one exception that a user meets."""


class InputError(Exception):
    """Something the user gave is wrong: the message says what, where, and what to do, in one line."""
