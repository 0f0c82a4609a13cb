"""Every error Pairwright raises on purpose, and what each does to a run.

    PairwrightError
    ├── UserError            the command line prints one line and exits 2
    │   ├── RecipeError      the recipe asks for something that cannot be
    │   ├── InputError       a source cannot be read at all
    │   └── OutputError      the output folder is not ours to write to
    ├── RunError             the command line prints one line and exits 1
    │   ├── EngineError      a model cannot be loaded, or its process died too often
    │   │   ├── NotAsked     an engine that only remembers was never asked this
    │   │   └── NeverAnswered a server that has answered nothing yet refused a request
    │   ├── TrainError       a start-up self-check or the training itself failed
    │   ├── StoreError       the media store, the cache or the Hub does not answer
    │   │   └── DamageError  what is stored is not what was written
    │   └── ServerError      the labeling server does not answer, or not as it should
    ├── Waiting              people are not done yet: not a failure, the command line says for what and exits 0
    ├── RowError             one row is bad: it becomes a Rejection and the run goes on
    └── NoVerdict            a judge could not decide: it becomes a Judgement without a value

A foreign error is translated once, at the boundary it crosses.
"""

from schemas.records import Outcome, Reason, one_line
from schemas.redact import clean

_LONGEST = 1000  # characters of a RowError's detail
_WHOLE = (
    10_000  # at each end of one that is cleaned: so little is kept of it that nothing is cut in the midst of an address
)


class PairwrightError(Exception):
    """Base of everything raised on purpose. The message is one line that says what, where and how to mend it, without secrets."""

    exit_code = 1

    def __init__(self, message: object = ""):
        super().__init__(clean(str(message)))

    @property
    def kind(self) -> str:
        """Its name in the tree above, also of a class that a room has made of one."""
        return next(of.__name__ for of in type(self).__mro__ if of.__module__ == __name__)


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
    """`detail`: what to say where others see that the model does answer, and so the refusal is this request's own."""

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
    """The run cannot go on before people did more; called again it looks anew."""

    exit_code = 0


class RowError(PairwrightError):
    """One row cannot go on. `reason` is from the closed list, the message names the mend: one line, cut in its middle where
    a row's own words would make it long."""

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
    """A row that does not say what it should. `detail` says what is wrong with which field, and what to do."""
    return RowError(Reason.BAD_ROW, detail)


class NoVerdict(PairwrightError):
    """A judge could not decide. `outcome` says how, `raw` keeps its words."""

    def __init__(self, outcome: Outcome, raw: str):
        Exception.__init__(self, raw)  # an answer is data
        self.outcome = outcome
        self.raw = raw
