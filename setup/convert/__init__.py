"""Readers and writers of checkpoint files for the converters of setup/; none of them runs code out of a file."""


class CheckpointError(Exception):
    """A file is not what it should be; the message says what is wrong and, where there is one, the remedy."""
