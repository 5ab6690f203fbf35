"""What goes wrong, by whose doing: one error for input, one warning class for each kind."""


class InputError(ValueError):
    """A mistake in what the user gave: a file, a column, an argument.

    Its text is one or two sentences: what was expected, what was found and where, what to do.
    The command line prints that text and exits with code 2, without a traceback.
    """


class DataWarning(UserWarning):
    """Data that can be analysed but deserve a look, such as a group level with hardly any rows."""


class SamplingWarning(UserWarning):
    """Posterior draws that may not be trusted; the text says what to do next."""
