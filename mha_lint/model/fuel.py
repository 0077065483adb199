"""Every limit of what is computed for one file, counted in steps, states and terms: it always falls the same."""

from __future__ import annotations

FILE_STEPS = 400_000  # expressions, calls and statements of all functions of a file; the longest known takes 165,000
STEPS_OF_ATTENTION = 8_000  # of a function that computes scores, or calls one that does
STEPS_WHILE_TYPING = 5_000  # of the same, where an editor waits for it
STEPS_OF_HOLDERS = 5_000  # of one that holds what computes scores
STEPS_OF_OTHERS = 3_000  # of any other; then its states are widened into one, which goes on to its end
SPARE_STEPS = 1_000  # to come to that end
STEPS_OF_A_PART = 1_500  # in one call of a module that another class holds; it is run on its own as well
STEPS_ABROAD = 100  # in one call of a function of another module
STEPS_LED = 400  # in one that is given a mask, or what else may be wrong there
MAX_TERMS = 256  # of a symbolic size; a product of more is not computed
MAX_DEGREE = 32  # symbols that one term multiplies
MAX_ITEMS = 1_024  # of a tuple or list that is put together from others
MAX_STATES = 16  # at one place; what is beyond is joined into one that knows what they agree on
MAX_OUTCOMES = 6  # of a call
MAX_RETURNS = 64  # of a function that nothing calls here
MAX_INITS = 4  # ways through a constructor with which methods are run
MAX_ENTRIES = 4  # functions of a table, each of which is called where the key is not known
MAX_HANDED = 64  # functions that are read because others hand them rotary tables
MAX_DEPTH = 10  # calls in one another
MOST_SEEN = 64  # paths through one call of an operation that are told apart
MOST_NUMBERS = 4  # that an entry of a mask may be


class OutOfSteps(Exception):
    """A function takes too many paths, or computes with too large a size; nothing is concluded from it."""


class OutOfFuel(Exception):
    """The functions of a file take too many steps together; nothing is concluded from the file."""
