"""A few tries of every fault; `make faults` makes many and writes the table of docs/operations.md."""

import pytest

from tests.faults.fault import dice, every

pytestmark = pytest.mark.slow

TRIES = [(fault, number) for fault in every() for number in range(fault.sample)]


@pytest.mark.parametrize(("fault", "number"), TRIES, ids=[f"{f.area}: {f.name} {n}" for f, n in TRIES])
def test_a_fault_ends_as_it_should(fault, number, tmp_path):
    fault.trial(dice(fault, number), tmp_path)


def test_the_names_of_faults_are_their_own():
    names = [(fault.area, fault.name) for fault in every()]
    assert len(names) == len(set(names))
