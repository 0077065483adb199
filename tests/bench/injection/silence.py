"""The reasons, in the words of the rules' pages, for which a rule is silent about a mistake on purpose.

Each reason stands in docs/rules, on the page of its rule. A site with a reason is counted, in a column of its own.
"""

from __future__ import annotations

ONE_TOKEN_OR_HEAD = "there is one token, or one head"
NO_ATTENTION = "What is viewed is not a projection, or has nothing to do with attention"
RATE_IS_GIVEN = (
    "is not known to be a rate of the class: a parameter of the function,"
    " unless a caller in the file hands it such a rate"
)
RATE_IS_ZERO = "The rate is 0 wherever the class sets it"
CONFIGURED = "The scale is learned, configured, or anything that this rule does not know to be wrong"
NORMALISED = "Queries or keys are normalised (cosine attention, QK-norm), or cast to float32 before the product"
BIASED = "Not scaled: a bias is added to the scores (T5 folds the scale into its initialisation)"
ONE_HEAD = "there is one head"
NOT_LINEAR = "queries and keys are not linear maps, with nothing but a change of layout between"
NORMALISED_AGAIN = "The weights are normalised again afterwards"
KEYS_UNKNOWN = "It is not known which dimension is the keys'"
REGION_UNKNOWN = "It isn't known which region the mask marks: a mask that is given, or a window"
MASKED_BEFORE = (
    "The scores were masked before the softmax as well on every path through the code, or something was added to them,"
    " which may be a mask"
)
SCORES_CAST = "The scores were cast to float32 on the way"
ROUNDED = "these round to minus infinity in float16, and raise nothing"
LENGTHS_ASKED = (
    "The flag, or the path, depends on the lengths, on whether there is a cache, or on the stage of decoding"
)
QUERIES_CACHED = "The queries come from the cache too"
MOVED = "The tensor is moved, by `.to(…)`, `type_as`, `.cuda()`, on every path, or a condition asks for the device"
INDEXED = "The tensor has no dimension, or the code only indexes with it or copies from it"
OWN_MOVE = "the class has a `to`, `cuda` or `_apply` of its own"
MASKED_OTHERWISE = "Scores that are filled with 0 were masked in another way as well, on every path through the code"
NEVER_READ = "A parameter is merely never read: many are there for a common signature"
GOES_ELSEWHERE = (
    "Any part of the value is returned, stored, or handed to other code, or something else masks the scores"
)
NUMBERS_UNKNOWN = "The numbers in it are not known to be 0 and 1: a mask that is given"
NOT_A_TENSOR = "What the method is called on is not known to be a tensor"
SHAPE_UNKNOWN = "The shape of an operand is not known"
ONE_IS_BROADCAST = "One of the sizes is 1 in the code, and is broadcast"
OF_PARTS = "The angles are put together of parts, as those of several axes are, and it is not known how"
FREQUENCIES_UNKNOWN = "The angles are not known to be told by frequencies, a power of a base over an `arange`"
HANDED_ANGLES = "they come from code that is not known, as with a `cos` and `sin` that the module is handed"
AUTOCAST_IS_SET = "The function says where autocast is on"
CAST_UNKNOWN = "It is not known that what is cast are positions or frequencies, or to which type"
POSITIONS_GIVEN = "Positions that a module is given are whatever they are"
POSITIONS_HANDED_IN = "The positions, or the tables, are handed in from outside"
HEADS_UNKNOWN = "It is not known which dimension holds the heads"
ORDER_UNKNOWN = "The order of the sizes on the other side is not known"
ONE_CHANGES_NOTHING = "One of the dimensions that change places is 1"
SIZES_UNKNOWN = "The sizes are not known well enough to tell the order"
TOO_LITTLE_TELLS = "Fewer than two independent things in the file tell that the batch comes first"
UNKNOWN_WHICH_IS_FIRST = "it is not known which comes first"

REASONS: dict[str, tuple[str, ...]] = {
    "MHA101": (ONE_TOKEN_OR_HEAD,),
    "MHA102": (NO_ATTENTION,),
    "MHA103": (RATE_IS_GIVEN, RATE_IS_ZERO),
    "MHA104": (CONFIGURED, NORMALISED, BIASED, ONE_HEAD, NOT_LINEAR),
    "MHA105": (NORMALISED_AGAIN, KEYS_UNKNOWN),
    "MHA106": (REGION_UNKNOWN,),
    "MHA107": (MASKED_BEFORE,),
    "MHA108": (SCORES_CAST, ROUNDED),
    "MHA109": (LENGTHS_ASKED, QUERIES_CACHED),
    "MHA110": (MOVED, INDEXED, OWN_MOVE),
    "MHA111": (MASKED_OTHERWISE,),
    "MHA112": (),
    "MHA113": (NUMBERS_UNKNOWN,),
    "MHA114": (NOT_A_TENSOR,),
    "MHA115": (HEADS_UNKNOWN,),
    "MHA116": (UNKNOWN_WHICH_IS_FIRST,),
    "MHA117": (TOO_LITTLE_TELLS,),
    "MHA118": (ORDER_UNKNOWN,),
    "MHA119": (OF_PARTS, FREQUENCIES_UNKNOWN, HANDED_ANGLES, POSITIONS_HANDED_IN),
    "MHA120": (AUTOCAST_IS_SET, CAST_UNKNOWN, POSITIONS_GIVEN),
    "MHA121": (SIZES_UNKNOWN, ONE_CHANGES_NOTHING),
    "MHA122": (NEVER_READ, GOES_ELSEWHERE),
    "MHA123": (),
    "MHA124": (SHAPE_UNKNOWN, ONE_IS_BROADCAST),
}
