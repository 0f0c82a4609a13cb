"""All errors that Pairwright raises on purpose, and their effect on a run.

    PairwrightError
    ├── UserError            the command line prints one line and exits 2
    │   ├── RecipeError      the recipe is invalid
    │   ├── InputError       a source cannot be read at all
    │   └── OutputError      the output folder cannot be used
    ├── RunError             the command line prints one line and exits 1
    │   ├── EngineError      a model cannot be loaded, or its process crashed too often
    │   │   ├── NotAsked     the answer to a request is not cached, and no model is available
    │   │   └── NeverAnswered a server that has answered nothing yet refused a request
    │   ├── TrainError       a start-up self-check or the training itself failed
    │   ├── StoreError       the media store, the cache or the Hub fails
    │   │   └── DamageError  stored data are damaged
    │   └── ServerError      the labeling server does not respond, or not as expected
    ├── Waiting              annotators are not done yet: not a failure; the command line prints what it waits for and exits 0
    ├── RowError             one row is bad: it becomes a Rejection and the run goes on
    └── NoVerdict            a judge gave no verdict: it becomes a Judgement without a value

Errors of libraries are translated once, at the boundary that they cross.
"""

from schemas.records import Outcome, Reason, one_line
from schemas.redact import clean

_LONGEST = 1000  # characters of a RowError's detail
_WHOLE = 10_000  # characters kept at each end before cleaning: far more than remain, so that no secret is cut in two


class PairwrightError(Exception):
    """Base of all errors raised on purpose. The message is one line with place, cause and remedy, without secrets."""

    exit_code = 1

    def __init__(self, message: object = ""):
        super().__init__(clean(str(message)))

    @property
    def kind(self) -> str:
        """Its name in the tree above, also for subclasses in other modules."""
        return next(base.__name__ for base in type(self).__mro__ if base.__module__ == __name__)


class UserError(PairwrightError):
    exit_code = 2


class RecipeError(UserError):
    pass


class InputError(UserError):
    pass


class OutputError(UserError):
    pass


class RunError(PairwrightError):
    exit_code = 1


class EngineError(RunError):
    pass


class NotAsked(EngineError):
    pass


class NeverAnswered(EngineError):
    """`detail`: the message for this request alone, if the model turns out to answer others."""

    def __init__(self, message: str, detail: str):
        super().__init__(message)
        self.detail = detail


class TrainError(RunError):
    pass


class StoreError(RunError):
    pass


class DamageError(StoreError):
    pass


class ServerError(RunError):
    pass


class Waiting(PairwrightError):
    """The run cannot continue until annotators have done more; the same command checks again."""

    exit_code = 0


class RowError(PairwrightError):
    """One row cannot be used. `detail` names the remedy: one line, shortened in the middle to about 1,000 characters, since it may quote
    the row."""

    def __init__(self, reason: Reason, detail: str):
        if len(detail) > _WHOLE:
            detail = detail[:_WHOLE] + detail[-_WHOLE:]
        detail = one_line(clean(detail))
        if len(detail) > _LONGEST:
            detail = f"{detail[: _LONGEST // 2]} ... {detail[-_LONGEST // 2 :]}"
        Exception.__init__(self, detail)
        self.reason = reason
        self.detail = detail


def bad_row(detail: str) -> RowError:
    """A RowError for an invalid row. `detail` names the field, the cause and the remedy."""
    return RowError(Reason.BAD_ROW, detail)


class NoVerdict(PairwrightError):
    """A judge gave no verdict. `outcome` says why, `raw` is its reply."""

    def __init__(self, outcome: Outcome, raw: str):
        Exception.__init__(self, raw)  # not cleaned: a reply is data
        self.outcome = outcome
        self.raw = raw
